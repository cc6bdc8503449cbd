// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Vectors of 4 floats by the compilers' vector extension, SSE2 or NEON, or of 8 where the flags allow AVX2.
// Every simd_*.inl offers these names; kernels.hpp includes it, and the kernels written with it, once per
// instruction set inside that set's namespace. Functions are forced inline: a vector never crosses a call.

#if defined(__AVX2__)
constexpr Index lanes = 8;
#else
constexpr Index lanes = 4;
#endif

using F = float __attribute__((vector_size(4 * lanes)));
using I = std::int32_t __attribute__((vector_size(4 * lanes)));
using U = std::uint32_t __attribute__((vector_size(4 * lanes)));

[[gnu::always_inline]] inline F set(float x) { return x - F{}; }  // -0 - 0 is -0
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
/// p 2^n for whole -126 <= n <= 127.
[[gnu::always_inline]] inline F times_power_of_two(F p, F n) {
  return p * reinterpret_cast<F>((__builtin_convertvector(n, I) + 127) << 23);
}

// Four lanes, of which a vector is one or two.
using F4 = float __attribute__((vector_size(16)));
using I4 = std::int32_t __attribute__((vector_size(16)));
using Words8 = std::uint16_t __attribute__((vector_size(16)));
using Bytes16 = std::uint8_t __attribute__((vector_size(16)));

[[gnu::always_inline]] inline float sum(F v) {
  F4 s;
  std::memcpy(&s, &v, sizeof(s));
  if constexpr (lanes == 8) {
    F4 rest;
    std::memcpy(&rest, reinterpret_cast<const char*>(&v) + sizeof(s), sizeof(rest));
    s = s + rest;
  }
  return (s[0] + s[2]) + (s[1] + s[3]);
}
[[gnu::always_inline]] inline float largest(F v) {
  float result = v[0];
  for (Index i = 1; i < lanes; ++i) result = v[i] > result ? v[i] : result;
  return result;
}

/// The four lanes at `first`, where there are 8, and the four behind them.
[[gnu::always_inline]] inline I whole(I4 first, [[maybe_unused]] I4 second) {
#if defined(__AVX2__)
  return __builtin_shufflevector(first, second, 0, 1, 2, 3, 4, 5, 6, 7);
#else
  return first;
#endif
}

// Integers of a block format, widened to one lane each: by what SSE2 and NEON have an instruction for. Conversions of
// such short vectors, which GCC 12 takes apart, are three times as many.

/// Four bytes as lanes: alone, or each in all four bytes of its own.
[[gnu::always_inline]] inline I4 bytes_to_lanes(const void* p, bool fill) {
  std::uint32_t four;
  std::memcpy(&four, p, sizeof(four));
  const auto v = reinterpret_cast<Bytes16>(I4{static_cast<std::int32_t>(four), 0, 0, 0});
  const Bytes16 other = fill ? v : Bytes16{};
  const auto words = reinterpret_cast<Words8>(
      __builtin_shufflevector(v, other, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
  const Words8 rest = fill ? words : Words8{};
  return reinterpret_cast<I4>(__builtin_shufflevector(words, rest, 0, 8, 1, 9, 2, 10, 3, 11));
}
/// Four words as lanes.
[[gnu::always_inline]] inline I4 words_to_lanes(const std::byte* p) {
  std::uint64_t four;
  std::memcpy(&four, p, sizeof(four));
  using Two = std::uint64_t __attribute__((vector_size(16)));
  return reinterpret_cast<I4>(
      __builtin_shufflevector(reinterpret_cast<Words8>(Two{four, 0}), Words8{}, 0, 8, 1, 9, 2, 10, 3, 11));
}
[[gnu::always_inline]] inline I load_u8(const std::uint8_t* p) {
  return whole(bytes_to_lanes(p, false), bytes_to_lanes(p + lanes - 4, false));
}
[[gnu::always_inline]] inline I load_i8(const std::int8_t* p) {  // the byte in all four of its lane, then shifted
  return whole(bytes_to_lanes(p, true), bytes_to_lanes(p + lanes - 4, true)) >> 24;
}
[[gnu::always_inline]] inline I load_u16(const std::byte* p) {
  return whole(words_to_lanes(p), words_to_lanes(p + 2 * (lanes - 4)));
}
[[gnu::always_inline]] inline I set(std::int32_t x) { return x - I{}; }
[[gnu::always_inline]] inline I bits_and(I a, I b) { return a & b; }
[[gnu::always_inline]] inline I bits_or(I a, I b) { return a | b; }
[[gnu::always_inline]] inline I subtract(I a, I b) { return a - b; }
[[gnu::always_inline]] inline I shift_left(I a, int n) { return a << n; }
[[gnu::always_inline]] inline I shift_right(I a, int n) { return a >> n; }
/// Lane by lane; where `a` is negative, the vacated bits are any.
[[gnu::always_inline]] inline I shift_right(I a, I n) { return a >> n; }
/// 0, 1, 2, ...
[[gnu::always_inline]] inline I lane_numbers() { return whole(I4{0, 1, 2, 3}, I4{4, 5, 6, 7}); }
[[gnu::always_inline]] inline F to_float(I v) { return __builtin_convertvector(v, F); }
/// table[index & 15], lane by lane.
[[gnu::always_inline]] inline F lookup(const float (&table)[16], I index) {
  F v{};
  for (Index i = 0; i < lanes; ++i) v[i] = table[index[i] & 15];
  return v;
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
  const I h = load_u16(p);
  const I sign = (h & 0x8000) << 16;
  const I bits = (h & 0x7fff) << 13;  // exponent and fraction where those of a float are
  const I exponent = bits & (0x7c00 << 13);
  // Another bias, twice for infinities and NaNs; without an exponent the fraction is what is more than 2^-14.
  const I number = bits + (112 << 23) + ((exponent == set(0x7c00 << 13)) & (112 << 23));
  const I small = reinterpret_cast<I>(reinterpret_cast<F>(bits + (113 << 23)) - set(0x1p-14f));
  const I is_small = exponent == I{};
  return reinterpret_cast<F>((is_small & small) | (~is_small & number) | sign);
}
[[gnu::always_inline]] inline F load_bf16(const std::byte* p) { return reinterpret_cast<F>(load_u16(p) << 16); }

/// Square blocks of this size are transposed at once: columns from c on of so many rows. Tile widths are multiples.
constexpr Index transpose_size = 4;
[[gnu::always_inline]] inline void transpose(const float* const* in, Index c, float* out, Index out_stride) {
  F4 rows[4];
  for (Index r = 0; r < 4; ++r) std::memcpy(&rows[r], in[r] + c, sizeof(F4));
  const F4 low01 = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
  const F4 high01 = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
  const F4 low23 = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
  const F4 high23 = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
  const F4 columns[4] = {
      __builtin_shufflevector(low01, low23, 0, 1, 4, 5), __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
      __builtin_shufflevector(high01, high23, 0, 1, 4, 5), __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
  for (Index j = 0; j < 4; ++j) std::memcpy(out + j * out_stride, &columns[j], sizeof(F4));
}

// Register tile of the matrix product: rows x vectors accumulators out of 16 registers.
constexpr Index tile_rows = 6;
constexpr Index tile_vectors = 2;
constexpr Index dot_group = 3;  // rows of x by two of w, two sums each: 12
constexpr Index sum_heads = 3;  // heads by four vectors of values: 12 of 16 registers
