// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Vectors of 4 floats: ARM's Advanced SIMD as every 64-bit processor has it (armv8-a). The names are explained in
// simd_portable.inl.

using F = float32x4_t;
using I = int32x4_t;

constexpr Index lanes = 4;

[[gnu::always_inline]] inline F set(float x) { return vdupq_n_f32(x); }
[[gnu::always_inline]] inline F load(const float* p) { return vld1q_f32(p); }
[[gnu::always_inline]] inline void store(float* p, F v) { vst1q_f32(p, v); }

[[gnu::always_inline]] inline F multiply_add(F a, F b, F c) { return vfmaq_f32(c, a, b); }
// vmaxq and vminq would return NaN if either is one.
[[gnu::always_inline]] inline F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
[[gnu::always_inline]] inline F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
[[gnu::always_inline]] inline F zero_where_less(F x, F bound, F result) {
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(result), vcltq_f32(x, bound)));
}
[[gnu::always_inline]] inline F round(F x) { return vrndnq_f32(x); }
[[gnu::always_inline]] inline F times_power_of_two(F p, F n) {
  return p * vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}

[[gnu::always_inline]] inline float sum(F v) { return vaddvq_f32(v); }
[[gnu::always_inline]] inline float largest(F v) { return vmaxvq_f32(v); }

/// Four bytes in the first lane.
[[gnu::always_inline]] inline uint32x2_t four_bytes(const void* p) {
  std::uint32_t bytes;
  std::memcpy(&bytes, p, sizeof(bytes));
  return vdup_n_u32(bytes);
}
[[gnu::always_inline]] inline I load_u8(const std::uint8_t* p) {
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(four_bytes(p))))));
}
[[gnu::always_inline]] inline I load_i8(const std::int8_t* p) {
  return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(four_bytes(p)))));
}
[[gnu::always_inline]] inline I set(std::int32_t x) { return vdupq_n_s32(x); }
[[gnu::always_inline]] inline I bits_and(I a, I b) { return vandq_s32(a, b); }
[[gnu::always_inline]] inline I bits_or(I a, I b) { return vorrq_s32(a, b); }
[[gnu::always_inline]] inline I subtract(I a, I b) { return vsubq_s32(a, b); }
[[gnu::always_inline]] inline I shift_left(I a, int n) { return a << n; }
[[gnu::always_inline]] inline I shift_right(I a, int n) {
  return vreinterpretq_s32_u32(vreinterpretq_u32_s32(a) >> static_cast<unsigned>(n));
}
[[gnu::always_inline]] inline I shift_right(I a, I n) {
  return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vnegq_s32(n)));
}
[[gnu::always_inline]] inline I lane_numbers() {
  constexpr std::int32_t numbers[4] = {0, 1, 2, 3};
  return vld1q_s32(numbers);
}
[[gnu::always_inline]] inline F to_float(I v) { return vcvtq_f32_s32(v); }
[[gnu::always_inline]] inline F lookup(const float (&table)[16], I index) {  // by bytes: 4 index + 0, 1, 2, 3
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(table);
  const uint8x16x4_t all = {{vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
  const I first = vmulq_n_s32(vandq_s32(index, vdupq_n_s32(15)), 0x04040404);
  const I own = vaddq_s32(first, vdupq_n_s32(0x03020100));
  return vreinterpretq_f32_u8(vqtbl4q_u8(all, vreinterpretq_u8_s32(own)));
}

struct Nibbles {
  F step;
  F offset;

  [[gnu::always_inline]] Nibbles(F with_step, F and_offset) : step(with_step), offset(and_offset) {}
  [[gnu::always_inline]] static Nibbles centred(F step, int zero) {
    return {step, vmulq_n_f32(step, static_cast<float>(-zero))};
  }
  [[gnu::always_inline]] F low(I bytes) const { return multiply_add(to_float(bits_and(bytes, set(15))), step, offset); }
  [[gnu::always_inline]] F high(I bytes) const { return multiply_add(to_float(shift_right(bytes, 4)), step, offset); }
};
[[gnu::always_inline]] inline I or_where(I v, std::uint32_t bits, std::int32_t value) {
  constexpr std::int32_t own[4] = {1, 2, 4, 8};
  const uint32x4_t set_there = vtstq_s32(vdupq_n_s32(static_cast<std::int32_t>(bits)), vld1q_s32(own));
  return vorrq_s32(v, vandq_s32(vreinterpretq_s32_u32(set_there), vdupq_n_s32(value)));
}

[[gnu::always_inline]] inline F load_f16(const std::byte* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(p))));
}
[[gnu::always_inline]] inline F load_bf16(const std::byte* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(p)), 16));
}
[[gnu::always_inline]] inline float widen(Half h) {
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h.bits))), 0);
}
constexpr Index header_floats = 4;  // one conversion, and blocks are longer
[[gnu::always_inline]] inline void widen_halves(const std::byte* p, float* out) { store(out, load_f16(p)); }

constexpr Index transpose_size = 4;
[[gnu::always_inline]] inline void transpose(const float* const* in, Index c, float* out, Index out_stride) {
  const float32x4x2_t r01 = vtrnq_f32(load(in[0] + c), load(in[1] + c));
  const float32x4x2_t r23 = vtrnq_f32(load(in[2] + c), load(in[3] + c));
  store(out, vcombine_f32(vget_low_f32(r01.val[0]), vget_low_f32(r23.val[0])));
  store(out + out_stride, vcombine_f32(vget_low_f32(r01.val[1]), vget_low_f32(r23.val[1])));
  store(out + 2 * out_stride, vcombine_f32(vget_high_f32(r01.val[0]), vget_high_f32(r23.val[0])));
  store(out + 3 * out_stride, vcombine_f32(vget_high_f32(r01.val[1]), vget_high_f32(r23.val[1])));
}

constexpr Index tile_rows = 6;  // 24 accumulators, 4 of w, 1 broadcast of x: 29 of 32 registers
constexpr Index tile_vectors = 4;
constexpr Index dot_group = 4;  // rows of x by two of w, two sums each: 16, with w and x 19
constexpr Index sum_heads = 6;  // heads by four vectors of values: 24 sums, with a value and weights 31 registers
