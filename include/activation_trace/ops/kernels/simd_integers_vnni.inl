// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The names of simd_integers_portable.inl with AVX-512 and VNNI.

constexpr Index integer_rows = 8;  // eight sums of integers and eight of floats: half of the registers

[[gnu::always_inline]] inline __m128i load_row(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
[[gnu::always_inline]] inline I load_four(const std::byte* p, Index distance) {
  I v = _mm512_zextsi128_si512(load_row(p));
  v = _mm512_maskz_inserti32x4(all, v, load_row(p + distance), 1);
  v = _mm512_maskz_inserti32x4(all, v, load_row(p + 2 * distance), 2);
  return _mm512_maskz_inserti32x4(all, v, load_row(p + 3 * distance), 3);
}
[[gnu::always_inline]] inline void load_columns(const std::byte* p, Index stride, I (&v)[4]) {
  const I a = load_four(p, 4 * stride);
  const I b = load_four(p + stride, 4 * stride);
  const I c = load_four(p + 2 * stride, 4 * stride);
  const I d = load_four(p + 3 * stride, 4 * stride);
  const I low_ab = _mm512_maskz_unpacklo_epi32(all, a, b);
  const I high_ab = _mm512_maskz_unpackhi_epi32(all, a, b);
  const I low_cd = _mm512_maskz_unpacklo_epi32(all, c, d);
  const I high_cd = _mm512_maskz_unpackhi_epi32(all, c, d);
  v[0] = _mm512_maskz_unpacklo_epi64(0xff, low_ab, low_cd);
  v[1] = _mm512_maskz_unpackhi_epi64(0xff, low_ab, low_cd);
  v[2] = _mm512_maskz_unpacklo_epi64(0xff, high_ab, high_cd);
  v[3] = _mm512_maskz_unpackhi_epi64(0xff, high_ab, high_cd);
}
[[gnu::always_inline]] inline I load_words(const std::byte* p) { return _mm512_loadu_si512(p); }
[[gnu::always_inline]] inline void store_words(std::byte* p, I v) { _mm512_storeu_si512(p, v); }
[[gnu::always_inline]] inline I bits_xor(I a, I b) { return _mm512_xor_si512(a, b); }
[[gnu::always_inline]] inline I multiply(I a, I b) { return _mm512_mullo_epi32(a, b); }
[[gnu::always_inline]] inline F widen_lower_halves(I v) {
  return _mm512_maskz_cvtph_ps(all, _mm512_maskz_cvtepi32_epi16(all, v));
}
[[gnu::always_inline]] inline I lookup_bytes(const std::uint8_t (&values)[16], I v) {
  const __m128i row = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
  return _mm512_shuffle_epi8(_mm512_maskz_broadcast_i32x4(all, row), v);
}

template <int bits>
struct IntegerSum {
  static constexpr int held = 8;

  I total;

  [[gnu::always_inline]] void start(std::int32_t at) { total = set(at); }
  [[gnu::always_inline]] void add(I quanta, const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof(four));
    total = _mm512_dpbusd_epi32(total, quanta, set(four));
  }
  [[gnu::always_inline]] void collect() {}
};

using avx2::store_rounded;
