// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Vectors of 16 floats: AVX-512 F, BW, DQ and VL. The names are explained in simd_portable.inl.

using F = __m512;
using I = __m512i;

constexpr Index lanes = 16;

// Zero-masked forms with all lanes chosen: g++ 12 warns of an uninitialised value inside the plain ones (PR 105593).
constexpr __mmask16 all = 0xffff;

[[gnu::always_inline]] inline F set(float x) { return _mm512_set1_ps(x); }
[[gnu::always_inline]] inline F load(const float* p) { return _mm512_loadu_ps(p); }
[[gnu::always_inline]] inline void store(float* p, F v) { _mm512_storeu_ps(p, v); }

[[gnu::always_inline]] inline F multiply_add(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
[[gnu::always_inline]] inline F max(F a, F b) { return _mm512_maskz_max_ps(all, a, b); }
[[gnu::always_inline]] inline F min(F a, F b) { return _mm512_maskz_min_ps(all, a, b); }
[[gnu::always_inline]] inline F zero_where_less(F x, F bound, F result) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_NLT_UQ), result);
}
[[gnu::always_inline]] inline F round(F x) {
  return _mm512_maskz_roundscale_ps(all, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
[[gnu::always_inline]] inline F times_power_of_two(F p, F n) { return _mm512_maskz_scalef_ps(all, p, n); }

[[gnu::always_inline]] inline float sum(F v) {
  return avx2::sum(_mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, v, 0), _mm512_maskz_extractf32x8_ps(0xff, v, 1)));
}
[[gnu::always_inline]] inline float largest(F v) {
  return avx2::largest(
      _mm256_max_ps(_mm512_maskz_extractf32x8_ps(0xff, v, 0), _mm512_maskz_extractf32x8_ps(0xff, v, 1)));
}

[[gnu::always_inline]] inline I load_u8(const std::uint8_t* p) {
  return _mm512_maskz_cvtepu8_epi32(all, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
[[gnu::always_inline]] inline I load_i8(const std::int8_t* p) {
  return _mm512_maskz_cvtepi8_epi32(all, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
[[gnu::always_inline]] inline I set(std::int32_t x) { return _mm512_set1_epi32(x); }
[[gnu::always_inline]] inline I bits_and(I a, I b) { return _mm512_and_si512(a, b); }
[[gnu::always_inline]] inline I bits_or(I a, I b) { return _mm512_or_si512(a, b); }
[[gnu::always_inline]] inline I subtract(I a, I b) { return _mm512_sub_epi32(a, b); }
[[gnu::always_inline]] inline I shift_left(I a, int n) {
  return _mm512_maskz_slli_epi32(all, a, static_cast<unsigned>(n));
}
[[gnu::always_inline]] inline I shift_right(I a, int n) {
  return _mm512_maskz_srli_epi32(all, a, static_cast<unsigned>(n));
}
[[gnu::always_inline]] inline I shift_right(I a, I n) { return _mm512_maskz_srlv_epi32(all, a, n); }
[[gnu::always_inline]] inline I lane_numbers() {
  return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
[[gnu::always_inline]] inline F to_float(I v) { return _mm512_maskz_cvtepi32_ps(all, v); }
[[gnu::always_inline]] inline F lookup(const float (&table)[16], I index) {
  return _mm512_maskz_permutexvar_ps(all, index, load(table));
}

struct Nibbles {  // all sixteen values at once, then one instruction each
  F values;

  [[gnu::always_inline]] explicit Nibbles(F all_values) : values(all_values) {}
  [[gnu::always_inline]] Nibbles(F step, F offset) : values(multiply_add(to_float(lane_numbers()), step, offset)) {}
  [[gnu::always_inline]] static Nibbles centred(F step, int zero) {
    return Nibbles(to_float(subtract(lane_numbers(), set(zero))) * step);
  }
  [[gnu::always_inline]] F low(I bytes) const { return _mm512_maskz_permutexvar_ps(all, bytes, values); }
  [[gnu::always_inline]] F high(I bytes) const { return low(shift_right(bytes, 4)); }
};
[[gnu::always_inline]] inline I or_where(I v, std::uint32_t bits, std::int32_t value) {
  return _mm512_mask_or_epi32(v, static_cast<__mmask16>(bits), v, set(value));
}

[[gnu::always_inline]] inline float widen(Half h) { return _cvtsh_ss(h.bits); }
using avx2::header_floats;
using avx2::widen_halves;
[[gnu::always_inline]] inline F load_f16(const std::byte* p) {
  return _mm512_maskz_cvtph_ps(all, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
[[gnu::always_inline]] inline F load_bf16(const std::byte* p) {
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(
      all, _mm512_maskz_cvtepu16_epi32(all, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}

constexpr Index transpose_size = avx2::transpose_size;
using avx2::transpose;

constexpr Index tile_rows = 12;  // 24 accumulators, 2 of w, 1 broadcast of x: 27 of 32 registers
constexpr Index tile_vectors = 2;
constexpr Index sum_heads =
    6;  // heads by four vectors of values: 24 sums, with values and weights at most 31 registers
