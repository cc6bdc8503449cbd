// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Vectors of 8 floats: AVX2, FMA and F16C. The names are explained in simd_portable.inl.

using F = __m256;
using I = __m256i;

constexpr Index lanes = 8;

[[gnu::always_inline]] inline F set(float x) { return _mm256_set1_ps(x); }
[[gnu::always_inline]] inline F load(const float* p) { return _mm256_loadu_ps(p); }
[[gnu::always_inline]] inline void store(float* p, F v) { _mm256_storeu_ps(p, v); }

[[gnu::always_inline]] inline F multiply_add(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
[[gnu::always_inline]] inline F max(F a, F b) { return _mm256_max_ps(a, b); }
[[gnu::always_inline]] inline F min(F a, F b) { return _mm256_min_ps(a, b); }
[[gnu::always_inline]] inline F zero_where_less(F x, F bound, F result) {
  return _mm256_andnot_ps(_mm256_cmp_ps(x, bound, _CMP_LT_OQ), result);
}
[[gnu::always_inline]] inline F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
[[gnu::always_inline]] inline F times_power_of_two(F p, F n) {
  return p *
         _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

[[gnu::always_inline]] inline float sum(F v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
[[gnu::always_inline]] inline float largest(F v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

[[gnu::always_inline]] inline I load_u8(const std::uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
[[gnu::always_inline]] inline I load_i8(const std::int8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
[[gnu::always_inline]] inline I set(std::int32_t x) { return _mm256_set1_epi32(x); }
[[gnu::always_inline]] inline I bits_and(I a, I b) { return _mm256_and_si256(a, b); }
[[gnu::always_inline]] inline I bits_or(I a, I b) { return _mm256_or_si256(a, b); }
[[gnu::always_inline]] inline I subtract(I a, I b) { return _mm256_sub_epi32(a, b); }
[[gnu::always_inline]] inline I shift_left(I a, int n) { return _mm256_slli_epi32(a, n); }
[[gnu::always_inline]] inline I shift_right(I a, int n) { return _mm256_srli_epi32(a, n); }
[[gnu::always_inline]] inline I shift_right(I a, I n) { return _mm256_srlv_epi32(a, n); }
[[gnu::always_inline]] inline I lane_numbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
[[gnu::always_inline]] inline F to_float(I v) { return _mm256_cvtepi32_ps(v); }
[[gnu::always_inline]] inline F lookup(const float (&table)[16],
                                       I index) {  // the fourth bit, as a sign, says which half
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(load(table), index),
                          _mm256_permutevar8x32_ps(load(table + 8), index),
                          _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}

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
[[gnu::always_inline]] inline I or_where(I v, std::uint32_t bits, std::int32_t value) {
  const I bit = bits_and(shift_right(set(static_cast<std::int32_t>(bits)), lane_numbers()), set(1));
  return bits_or(v, bits_and(subtract(set(0), bit), set(value)));
}

[[gnu::always_inline]] inline float widen(Half h) { return _cvtsh_ss(h.bits); }
constexpr Index header_floats = 8;  // from memory that is cheaper than two, and blocks are longer
[[gnu::always_inline]] inline void widen_halves(const std::byte* p, float* out) {
  store(out, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
[[gnu::always_inline]] inline F load_f16(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
[[gnu::always_inline]] inline F load_bf16(const std::byte* p) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}

constexpr Index transpose_size = 8;
/// Four columns of rows r and r + 4 in one register: everything after these loads stays within 128-bit halves.
[[gnu::always_inline]] inline F load_row_pair(const float* const* rows, Index c) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(rows[0] + c)), _mm_loadu_ps(rows[4] + c), 1);
}
[[gnu::always_inline]] inline void transpose(const float* const* in, Index begin, float* out, Index out_stride) {
  for (Index c = 0; c < 8; c += 4) {
    const F r0 = load_row_pair(in, begin + c);
    const F r1 = load_row_pair(in + 1, begin + c);
    const F r2 = load_row_pair(in + 2, begin + c);
    const F r3 = load_row_pair(in + 3, begin + c);
    const F low01 = _mm256_unpacklo_ps(r0, r1);
    const F high01 = _mm256_unpackhi_ps(r0, r1);
    const F low23 = _mm256_unpacklo_ps(r2, r3);
    const F high23 = _mm256_unpackhi_ps(r2, r3);
    store(out + (c + 0) * out_stride, _mm256_shuffle_ps(low01, low23, 0x44));
    store(out + (c + 1) * out_stride, _mm256_shuffle_ps(low01, low23, 0xee));
    store(out + (c + 2) * out_stride, _mm256_shuffle_ps(high01, high23, 0x44));
    store(out + (c + 3) * out_stride, _mm256_shuffle_ps(high01, high23, 0xee));
  }
}

constexpr Index tile_rows = 6;  // 12 accumulators, 2 of w, 1 broadcast of x: 15 of 16 registers
constexpr Index tile_vectors = 2;
constexpr Index sum_heads = 3;  // heads by four vectors of values: 12 sums, with a value and weights 16 registers
