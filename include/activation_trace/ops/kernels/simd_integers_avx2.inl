// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The names of simd_integers_portable.inl with AVX2.

constexpr Index integer_rows = 4;  // four sums of integers, four of floats: eight of sixteen registers

[[gnu::always_inline]] inline __m256i load_two(const std::byte* p, Index distance) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
                                 _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + distance)), 1);
}
[[gnu::always_inline]] inline void load_columns(const std::byte* p, Index stride, I (&v)[4]) {
  const I a = load_two(p, 4 * stride);
  const I b = load_two(p + stride, 4 * stride);
  const I c = load_two(p + 2 * stride, 4 * stride);
  const I d = load_two(p + 3 * stride, 4 * stride);
  const I low_ab = _mm256_unpacklo_epi32(a, b);
  const I high_ab = _mm256_unpackhi_epi32(a, b);
  const I low_cd = _mm256_unpacklo_epi32(c, d);
  const I high_cd = _mm256_unpackhi_epi32(c, d);
  v[0] = _mm256_unpacklo_epi64(low_ab, low_cd);
  v[1] = _mm256_unpackhi_epi64(low_ab, low_cd);
  v[2] = _mm256_unpacklo_epi64(high_ab, high_cd);
  v[3] = _mm256_unpackhi_epi64(high_ab, high_cd);
}
[[gnu::always_inline]] inline I load_words(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
[[gnu::always_inline]] inline void store_words(std::byte* p, I v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}
[[gnu::always_inline]] inline I bits_xor(I a, I b) { return _mm256_xor_si256(a, b); }
[[gnu::always_inline]] inline I multiply(I a, I b) { return _mm256_mullo_epi32(a, b); }
[[gnu::always_inline]] inline F widen_lower_halves(I v) {
  const I words = _mm256_packus_epi32(_mm256_and_si256(v, set(0xffff)), _mm256_setzero_si256());
  return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(words, 0x08)));
}
[[gnu::always_inline]] inline I lookup_bytes(const std::uint8_t (&values)[16], I v) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values))), v);
}

/// Products of quanta of few bits with activations are added two at once in 16 bits, a few times. Of eight bits that
/// would overflow: there quanta are centred again, and their signs go to the activations.
template <int bits>
struct IntegerSum {
  static constexpr int held = bits >= 7 ? 1 : 32767 / (2 * 127 * ((1 << bits) - 1));

  I total;
  I words;

  [[gnu::always_inline]] void start(std::int32_t at) {
    total = bits == 8 ? _mm256_setzero_si256() : set(at);
    words = _mm256_setzero_si256();
  }
  [[gnu::always_inline]] void add(I quanta, const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof(four));
    if constexpr (bits == 8) {
      const I centred = bits_xor(quanta, _mm256_set1_epi8(-128));
      words = _mm256_maddubs_epi16(_mm256_abs_epi8(centred), _mm256_sign_epi8(set(four), centred));
    } else {
      words = _mm256_add_epi16(words, _mm256_maddubs_epi16(quanta, set(four)));
    }
  }
  [[gnu::always_inline]] void collect() {
    total = _mm256_add_epi32(total, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
    words = _mm256_setzero_si256();
  }
};

[[gnu::always_inline]] inline void store_rounded(const float* x, float factor, std::int8_t* q) {
  const F f = set(factor);
  const I low = _mm256_packs_epi32(_mm256_cvtps_epi32(load(x) * f), _mm256_cvtps_epi32(load(x + 8) * f));
  const I high = _mm256_packs_epi32(_mm256_cvtps_epi32(load(x + 16) * f), _mm256_cvtps_epi32(load(x + 24) * f));
  const I order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packing works within halves
  const I bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), bytes);
}
