// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Vectors of 4 floats by the compilers' vector extension: SSE2, NEON or whatever the flags allow.
// Every simd_*.inl offers these names; kernels.hpp includes it, and the kernels written with it, once per
// instruction set inside that set's namespace. Functions are forced inline: a vector never crosses a call.

using F = float __attribute__((vector_size(16)));
using I = std::int32_t __attribute__((vector_size(16)));

constexpr Index lanes = 4;

[[gnu::always_inline]] inline F set(float x) { return F{x, x, x, x}; }
[[gnu::always_inline]] inline F load(const float* p) {
  F v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
[[gnu::always_inline]] inline void store(float* p, F v) { std::memcpy(p, &v, sizeof(v)); }

/// a * b + c, in one rounding or two.
[[gnu::always_inline]] inline F multiply_add(F a, F b, F c) { return a * b + c; }
/// The larger; b if either is NaN.
[[gnu::always_inline]] inline F max(F a, F b) {
  const I larger = a > b;
  return reinterpret_cast<F>((larger & reinterpret_cast<I>(a)) | (~larger & reinterpret_cast<I>(b)));
}
/// The smaller; b if either is NaN.
[[gnu::always_inline]] inline F min(F a, F b) {
  const I smaller = a < b;
  return reinterpret_cast<F>((smaller & reinterpret_cast<I>(a)) | (~smaller & reinterpret_cast<I>(b)));
}
/// x < bound ? 0 : x_result, lane by lane; NaN is not less.
[[gnu::always_inline]] inline F zero_where_less(F x, F bound, F result) {
  const I less = x < bound;
  return reinterpret_cast<F>(~less & reinterpret_cast<I>(result));
}
/// Nearest whole number, for |x| < 2^22.
[[gnu::always_inline]] inline F round(F x) { return (x + set(12582912.0f)) - set(12582912.0f); }
/// 2^n for whole -126 <= n <= 127.
[[gnu::always_inline]] inline F power_of_two(F n) {
  return reinterpret_cast<F>((__builtin_convertvector(n, I) + 127) << 23);
}

[[gnu::always_inline]] inline float sum(F v) { return (v[0] + v[2]) + (v[1] + v[3]); }
[[gnu::always_inline]] inline float largest(F v) {
  const float a = v[0] > v[2] ? v[0] : v[2];
  const float b = v[1] > v[3] ? v[1] : v[3];
  return a > b ? a : b;
}

// Integers of a block format, widened to one lane each.
[[gnu::always_inline]] inline I load_u8(const std::uint8_t* p) { return I{p[0], p[1], p[2], p[3]}; }
[[gnu::always_inline]] inline I load_i8(const std::int8_t* p) { return I{p[0], p[1], p[2], p[3]}; }
[[gnu::always_inline]] inline I set(std::int32_t x) { return I{x, x, x, x}; }
[[gnu::always_inline]] inline I bits_and(I a, I b) { return a & b; }
[[gnu::always_inline]] inline I bits_or(I a, I b) { return a | b; }
[[gnu::always_inline]] inline I subtract(I a, I b) { return a - b; }
[[gnu::always_inline]] inline I shift_left(I a, int n) { return a << n; }
[[gnu::always_inline]] inline I shift_right(I a, int n) { return a >> n; }
/// Lane by lane; where `a` is negative, the vacated bits are any.
[[gnu::always_inline]] inline I shift_right(I a, I n) { return a >> n; }
/// 0, 1, 2, ...
[[gnu::always_inline]] inline I lane_numbers() { return I{0, 1, 2, 3}; }
[[gnu::always_inline]] inline F to_float(I v) { return __builtin_convertvector(v, F); }
/// table[index & 15], lane by lane.
[[gnu::always_inline]] inline F lookup(const float (&table)[16], I index) {
  return F{table[index[0] & 15], table[index[1] & 15], table[index[2] & 15], table[index[3] & 15]};
}

/// step * q + offset for the nibbles of bytes in 32-bit lanes.
struct Nibbles {
  F step;
  F offset;

  [[gnu::always_inline]] Nibbles(F with_step, F and_offset) : step(with_step), offset(and_offset) {}
  [[gnu::always_inline]] static Nibbles centred(F step, int zero) {
    return {step, step * set(static_cast<float>(-zero))};
  }
  [[gnu::always_inline]] F low(I bytes) const { return multiply_add(to_float(bits_and(bytes, set(15))), step, offset); }
  [[gnu::always_inline]] F high(I bytes) const { return multiply_add(to_float(shift_right(bytes, 4)), step, offset); }
};
/// v, with the bits of `value` in the lanes whose bit of `bits` is set.
[[gnu::always_inline]] inline I or_where(I v, std::uint32_t bits, std::int32_t value) {
  const I bit = bits_and(shift_right(set(static_cast<std::int32_t>(bits)), lane_numbers()), set(1));
  return bits_or(v, bits_and(subtract(set(0), bit), set(value)));
}

[[gnu::always_inline]] inline float widen(Half h) { return h; }
/// The two halves that blocks of 32 begin with, of which some have the first alone.
constexpr Index header_floats = 2;
[[gnu::always_inline]] inline void widen_halves(const std::byte* p, float* out) {
  Half h[2];
  std::memcpy(h, p, sizeof(h));
  out[0] = h[0];
  out[1] = h[1];
}
[[gnu::always_inline]] inline F load_f16(const std::byte* p) {
  Half h[4];
  std::memcpy(h, p, sizeof(h));
  return F{h[0], h[1], h[2], h[3]};
}
[[gnu::always_inline]] inline F load_bf16(const std::byte* p) {
  BFloat16 b[4];
  std::memcpy(b, p, sizeof(b));
  return F{b[0], b[1], b[2], b[3]};
}

/// Square blocks of this size are transposed at once; tile widths are multiples of it.
constexpr Index transpose_size = 4;
[[gnu::always_inline]] inline void transpose(const float* in, Index in_stride, float* out, Index out_stride) {
  for (Index r = 0; r < 4; ++r)
    for (Index c = 0; c < 4; ++c) out[c * out_stride + r] = in[r * in_stride + c];
}

// Register tile of the matrix product: rows x vectors accumulators out of 16 registers.
constexpr Index tile_rows = 6;
constexpr Index tile_vectors = 2;
