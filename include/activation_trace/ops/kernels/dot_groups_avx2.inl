// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Dots of the types whose blocks are 256 elements in groups of 16 or 32, whose scales lie in the block.

/// totals[r] += scale * (quanta of v times 32 arranged values of row r of x).
template <Index n>
[[gnu::always_inline]] inline void add_bytes(__m256i v, int mask, F scale, const float* x, Index stride,
                                             F (&totals)[n]) {
  F w[4];
  unpack_bytes(v, mask, w);
#pragma GCC unroll 8
  for (Index r = 0; r < n; ++r) totals[r] = multiply_add(dot32(w, x + r * stride), scale, totals[r]);
}

template <>
struct Dot<Q2_KBlock> : ByteGroups<2> {
  template <Index n>
  [[gnu::always_inline]] static void row(const std::byte* w, Index cols, const float* x, Index stride, F (&totals)[n]) {
    const float* sums = x + cols;
    for (Index i = 0; i < cols; i += 256, w += sizeof(Q2_KBlock), sums += 16) {
      std::uint32_t header;  // d, dmin
      std::memcpy(&header, w + offsetof(Q2_KBlock, d), sizeof(header));
      const F d = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(header & 0xffffu))));
      const F dmin = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(header >> 16))));
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const I packed = load_u8(quanta(w, offsetof(Q2_KBlock, scales)) + half * 8);
        const F scales = masked(packed, 15) * d;
        const F minima = to_float(shift_right(packed, 4)) * dmin;
#pragma GCC unroll 8
        for (Index r = 0; r < n; ++r)
          totals[r] = _mm256_fnmadd_ps(minima, load(sums + r * stride + half * 8), totals[r]);
        const __m256i v = load_bytes(w + offsetof(Q2_KBlock, q) + half * 32);
#pragma GCC unroll 4
        for (int quarter = 0; quarter < 4; ++quarter)
          add_bytes(_mm256_srli_epi32(v, 2 * quarter), 3, lanes_of_pair(scales, 2 * quarter, 2 * quarter + 1),
                    x + i + half * 128 + quarter * 32, stride, totals);
      }
    }
  }
};

template <>
struct Dot<Q3_KBlock> : ByteGroups<2> {
  template <Index n>
  [[gnu::always_inline]] static void row(const std::byte* w, Index cols, const float* x, Index stride, F (&totals)[n]) {
    const float* sums = x + cols;
    const __m256i lower = _mm256_set1_epi8(3);
    const __m256i third = _mm256_set1_epi8(4);
    for (Index i = 0; i < cols; i += 256, w += sizeof(Q3_KBlock), sums += 16) {
      F scales[2];
      unpack_scales(w, scales);
      const __m256i high = load_bytes(w + offsetof(Q3_KBlock, high));
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {  // quanta are 0..7 for -4..3
        const F offsets = scales[half] * set(-4.0f);
#pragma GCC unroll 8
        for (Index r = 0; r < n; ++r) totals[r] = multiply_add(offsets, load(sums + r * stride + half * 8), totals[r]);
        const __m256i v = load_bytes(w + offsetof(Q3_KBlock, q) + half * 32);
#pragma GCC unroll 4
        for (int quarter = 0; quarter < 4; ++quarter) {
          const int bit = half * 4 + quarter;  // of every byte of `high`; it moves to bit 2
          const __m256i shifted = bit < 2 ? _mm256_slli_epi32(high, 2 - bit) : _mm256_srli_epi32(high, bit - 2);
          const __m256i quanta = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(v, 2 * quarter), lower),
                                                 _mm256_and_si256(shifted, third));
          add_bytes(quanta, 7, lanes_of_pair(scales[half], 2 * quarter, 2 * quarter + 1),
                    x + i + half * 128 + quarter * 32, stride, totals);
        }
      }
    }
  }

 private:
  /// d * (scale - 32) of the sixteen groups: Q3_KBlock::unpack_scale, four at a time in 32-bit words.
  [[gnu::always_inline]] static void unpack_scales(const std::byte* w, F (&scales)[2]) {
    Half d;
    std::memcpy(&d, w + offsetof(Q3_KBlock, d), sizeof(d));
    std::uint32_t a, b, c;
    std::memcpy(&a, w + offsetof(Q3_KBlock, scales), 4);
    std::memcpy(&b, w + offsetof(Q3_KBlock, scales) + 4, 4);
    std::memcpy(&c, w + offsetof(Q3_KBlock, scales) + 8, 4);
    constexpr std::uint32_t four = 0x0f0f0f0fu;
    constexpr std::uint32_t two = 0x30303030u;
    const std::uint32_t packed[4] = {(a & four) | ((c << 4) & two), (b & four) | ((c << 2) & two),
                                     ((a >> 4) & four) | (c & two), ((b >> 4) & four) | ((c >> 2) & two)};
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const I unpacked = load_u8(reinterpret_cast<const std::uint8_t*>(packed + 2 * half));
      scales[half] = to_float(subtract(unpacked, set(32))) * set(widen(d));
    }
  }
};

/// The eight 6-bit scales and minima of a Q4_K or Q5_K block, four at a time in 32-bit words.
[[gnu::always_inline]] inline void unpack_scales(const std::uint8_t (&packed)[12], F& scales, F& minima) {
  std::uint32_t a, b, c;
  std::memcpy(&a, packed, 4);
  std::memcpy(&b, packed + 4, 4);
  std::memcpy(&c, packed + 8, 4);
  const std::uint32_t s[2] = {a & 0x3f3f3f3fu, (c & 0x0f0f0f0fu) | ((a >> 2) & 0x30303030u)};
  const std::uint32_t m[2] = {b & 0x3f3f3f3fu, ((c >> 4) & 0x0f0f0f0fu) | ((b >> 2) & 0x30303030u)};
  scales = to_float(load_u8(reinterpret_cast<const std::uint8_t*>(s)));
  minima = to_float(load_u8(reinterpret_cast<const std::uint8_t*>(m)));
}

template <>
struct Dot<Q4_KBlock> : ByteGroups<1> {
  template <Index n>
  [[gnu::always_inline]] static void row(const std::byte* w, Index cols, const float* x, Index stride, F (&totals)[n]) {
    const float* sums = x + cols;
    for (Index i = 0; i < cols; i += 256, w += sizeof(Q4_KBlock), sums += 8) {
      Q4_KBlock block;
      std::memcpy(static_cast<void*>(&block), w, sizeof(block));
      F scales, minima;
      unpack_scales(block.scales, scales, minima);
      scales = scales * set(widen(block.d));
      const F offsets = minima * set(-widen(block.dmin));
#pragma GCC unroll 8
      for (Index r = 0; r < n; ++r) totals[r] = multiply_add(offsets, load(sums + r * stride), totals[r]);
#pragma GCC unroll 4
      for (int pair = 0; pair < 4; ++pair) {
        const __m256i v = load_bytes(w + offsetof(Q4_KBlock, q) + pair * 32);
        const float* group = x + i + pair * 64;
        add_bytes(v, 15, broadcast_lane(scales, 2 * pair), group, stride, totals);
        add_bytes(_mm256_srli_epi32(v, 4), 15, broadcast_lane(scales, 2 * pair + 1), group + 32, stride, totals);
      }
    }
  }
};

template <>
struct Dot<Q5_KBlock> : ByteGroups<1> {
  template <Index n>
  [[gnu::always_inline]] static void row(const std::byte* w, Index cols, const float* x, Index stride, F (&totals)[n]) {
    const float* sums = x + cols;
    const __m256i nibbles = _mm256_set1_epi8(15);
    const __m256i fifth = _mm256_set1_epi8(16);
    for (Index i = 0; i < cols; i += 256, w += sizeof(Q5_KBlock), sums += 8) {
      Q5_KBlock block;
      std::memcpy(static_cast<void*>(&block), w, sizeof(block));
      F scales, minima;
      unpack_scales(block.scales, scales, minima);
      scales = scales * set(widen(block.d));
      const F offsets = minima * set(-widen(block.dmin));
#pragma GCC unroll 8
      for (Index r = 0; r < n; ++r) totals[r] = multiply_add(offsets, load(sums + r * stride), totals[r]);
      const __m256i high = load_bytes(w + offsetof(Q5_KBlock, high));
#pragma GCC unroll 4
      for (int pair = 0; pair < 4; ++pair) {
        const __m256i v = load_bytes(w + offsetof(Q5_KBlock, q) + pair * 32);
        const float* group = x + i + pair * 64;
        // Bits 2 pair and 2 pair + 1 of every byte of `high` move to bit 4.
        const __m256i bit0 = pair < 2 ? _mm256_slli_epi32(high, 4 - 2 * pair) : _mm256_srli_epi32(high, 2 * pair - 4);
        const __m256i bit1 = pair < 2 ? _mm256_slli_epi32(high, 3 - 2 * pair) : _mm256_srli_epi32(high, 2 * pair - 3);
        const __m256i low_quanta = _mm256_or_si256(_mm256_and_si256(v, nibbles), _mm256_and_si256(bit0, fifth));
        const __m256i high_quanta =
            _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(v, 4), nibbles), _mm256_and_si256(bit1, fifth));
        add_bytes(low_quanta, 31, broadcast_lane(scales, 2 * pair), group, stride, totals);
        add_bytes(high_quanta, 31, broadcast_lane(scales, 2 * pair + 1), group + 32, stride, totals);
      }
    }
  }
};

template <>
struct Dot<Q6_KBlock> : ByteGroups<2> {
  template <Index n>
  [[gnu::always_inline]] static void row(const std::byte* w, Index cols, const float* x, Index stride, F (&totals)[n]) {
    const float* sums = x + cols;
    const __m256i nibbles = _mm256_set1_epi8(15);
    const __m256i top = _mm256_set1_epi8(48);
    for (Index i = 0; i < cols; i += 256, w += sizeof(Q6_KBlock), sums += 16) {
      Half d;
      std::memcpy(&d, w + offsetof(Q6_KBlock, d), sizeof(d));
      const auto* packed = reinterpret_cast<const std::int8_t*>(w + offsetof(Q6_KBlock, scales));
      const F scales[2] = {to_float(load_i8(packed)) * set(widen(d)), to_float(load_i8(packed + 8)) * set(widen(d))};
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {  // quanta are 0..63 for -32..31
        const F offsets = scales[half] * set(-32.0f);
#pragma GCC unroll 8
        for (Index r = 0; r < n; ++r) totals[r] = multiply_add(offsets, load(sums + r * stride + half * 8), totals[r]);
        const __m256i high = load_bytes(w + offsetof(Q6_KBlock, high) + half * 32);
#pragma GCC unroll 4
        for (int quarter = 0; quarter < 4; ++quarter) {
          const __m256i low = load_bytes(w + offsetof(Q6_KBlock, low) + half * 64 + quarter % 2 * 32);
          const __m256i low_bits = _mm256_and_si256(_mm256_srli_epi32(low, quarter / 2 * 4), nibbles);
          // Bits 2 quarter and 2 quarter + 1 of every byte move to bits 4 and 5.
          const __m256i shifted =
              quarter < 2 ? _mm256_slli_epi32(high, 4 - 2 * quarter) : _mm256_srli_epi32(high, 2 * quarter - 4);
          const __m256i quanta = _mm256_or_si256(low_bits, _mm256_and_si256(shifted, top));
          add_bytes(quanta, 63, lanes_of_pair(scales[half], 2 * quarter, 2 * quarter + 1),
                    x + i + half * 128 + quarter * 32, stride, totals);
        }
      }
    }
  }
};
