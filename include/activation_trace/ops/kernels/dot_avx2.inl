// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// A few rows of x times rows of w, dequantised in registers with 256-bit vectors. Also used on processors with
// AVX-512: at these rates memory is the limit, not the width. A row of w is decoded once for up to dot_group rows of
// x, and each of them is summed in the same order as alone. Four- to six-bit quanta meet x as arrange_avx2.inl has
// brought it.

/// Rows of x that share a row of w in registers.
template <class T>
constexpr Index dot_group = 5;
template <>
inline constexpr Index dot_group<Q8_0Block> = 9;

[[gnu::always_inline]] inline __m256i load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
[[gnu::always_inline]] inline __m256i load_bytes(const void* low, const void* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(low))),
                                 _mm_loadu_si128(static_cast<const __m128i*>(high)), 1);
}
[[gnu::always_inline]] inline F masked(__m256i v, int mask) {
  return _mm256_cvtepi32_ps(_mm256_and_si256(v, _mm256_set1_epi32(mask)));
}
[[gnu::always_inline]] inline F broadcast_lane(F v, int lane) {
  return _mm256_permutevar8x32_ps(v, _mm256_set1_epi32(lane));
}

/// The quanta in the low bits of the bytes of v, as they lie: byte b of every lane is w[b] = quantum * 2^(8 b).
[[gnu::always_inline]] inline void unpack_bytes(__m256i v, int mask, F (&w)[4]) {
#pragma GCC unroll 4
  for (int b = 0; b < 4; ++b) w[b] = masked(v, mask << (8 * b));
}

/// Eight partial sums of 32 products.
[[gnu::always_inline]] inline F dot32(const F (&w)[4], const float* x) {
  F even = w[0] * load(x);
  F odd = w[1] * load(x + 8);
  even = multiply_add(w[2], load(x + 16), even);
  odd = multiply_add(w[3], load(x + 24), odd);
  return even + odd;
}

/// A row of w times n rows of x, which lie in the order that Dot<T> derives from: row() leaves in totals[i], 0 before,
/// 8 partial sums of the products with row i.
template <class T>
struct Dot : AsItIs {
  static_assert(elements_per_unit<T> == 1, "this weight type has no kernel: specialise Dot for it in dot_avx2.inl");

  template <Index n>
  [[gnu::always_inline]] static void row(const std::byte* w, Index cols, const float* x, Index stride, F (&totals)[n]) {
    constexpr Index size = static_cast<Index>(sizeof(T));
    F sums[n][4];
#pragma GCC unroll 8
    for (Index r = 0; r < n; ++r)
      for (Index j = 0; j < 4; ++j) sums[r][j] = set(0.0f);
    Index i = 0;
    for (; i + 32 <= cols; i += 32) {
#pragma GCC unroll 4
      for (Index j = 0; j < 4; ++j) {
        const F v = load_vector<T>(w + (i + j * 8) * size);
#pragma GCC unroll 8
        for (Index r = 0; r < n; ++r) sums[r][j] = multiply_add(v, load(x + r * stride + i + j * 8), sums[r][j]);
      }
    }
    for (; i + 8 <= cols; i += 8) {
      const F v = load_vector<T>(w + i * size);
#pragma GCC unroll 8
      for (Index r = 0; r < n; ++r) sums[r][0] = multiply_add(v, load(x + r * stride + i), sums[r][0]);
    }
#pragma GCC unroll 8
    for (Index r = 0; r < n; ++r) {
      float rest = 0.0f;
      for (Index c = i; c < cols; ++c) rest += load_scalar<T>(w + c * size) * x[r * stride + c];
      totals[r] = (sums[r][0] + sums[r][1]) + (sums[r][2] + sums[r][3]) +
                  _mm256_insertf128_ps(_mm256_setzero_ps(), _mm_set_ss(rest), 0);
    }
  }
};

/// Rows of Q8_0 share more: dot_q8_0_avx2.inl.
template <>
struct Dot<Q8_0Block> : AsItIs {};

/// The quanta in bits 4 i to 4 i + 3 of every lane, times 2^(4 i); the last are shifted down, their sign bit is in use.
[[gnu::always_inline]] inline F unpack_nibbles(__m256i v, int i) {
  return i < 7 ? masked(v, 0xf << (4 * i)) : to_float(_mm256_srli_epi32(v, 28));
}

/// The same, unpacked beforehand for several rows of x. One row alone unpacks where it multiplies: all at once, GCC
/// runs out of registers and is 6 % slower.
template <Index n>
[[gnu::always_inline]] inline F nibbles(const F (&unpacked)[8], __m256i v, int i) {
  return n == 1 ? unpack_nibbles(v, i) : unpacked[i];
}

/// Adds the products of two blocks of 16 bytes, one in each half, and those of their offsets. `x` is the arranged
/// values' first, `sums` the distance from there to the offsets' factors.
template <class T, Index n>
[[gnu::always_inline]] inline void add_nibble_blocks(const std::byte* first, const std::byte* second, const float* x,
                                                     Index sums, Index stride, F (&totals)[n], __m128 (&offsets)[n]) {
  using Header = std::conditional_t<std::is_same_v<T, Q4_1Block>, std::uint32_t, std::uint16_t>;  // (d, m) or d
  Header h0;
  Header h1;
  std::memcpy(&h0, first, sizeof(h0));
  std::memcpy(&h1, second, sizeof(h1));
  const auto both = static_cast<std::int64_t>(static_cast<std::uint64_t>(h1) << 32 | h0);
  const __m128 header = _mm_cvtph_ps(_mm_cvtsi64_si128(both));  // d0, m0, d1, m1
  const F scale = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(header), _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2));
  const __m256i v = load_bytes(first + sizeof(Header), second + sizeof(Header));
  F w[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) w[i] = unpack_nibbles(v, i);
#pragma GCC unroll 8
  for (Index r = 0; r < n; ++r, x += stride) {
    F even = nibbles<n>(w, v, 0) * load(x);
    F odd = nibbles<n>(w, v, 1) * load(x + 8);
    even = multiply_add(nibbles<n>(w, v, 2), load(x + 16), even);
    odd = multiply_add(nibbles<n>(w, v, 3), load(x + 24), odd);
    even = multiply_add(nibbles<n>(w, v, 4), load(x + 32), even);
    odd = multiply_add(nibbles<n>(w, v, 5), load(x + 40), odd);
    even = multiply_add(nibbles<n>(w, v, 6), load(x + 48), even);
    odd = multiply_add(nibbles<n>(w, v, 7), load(x + 56), odd);
    totals[r] = multiply_add(even + odd, scale, totals[r]);
    offsets[r] = _mm_fmadd_ps(header, _mm_loadu_ps(x + sums), offsets[r]);
  }
}

template <class T>
struct NibbleDot : NibblePairs<std::is_same_v<T, Q4_1Block>> {
  template <Index n>
  [[gnu::always_inline]] static void row(const std::byte* w, Index cols, const float* x, Index stride, F (&totals)[n]) {
    constexpr Index size = static_cast<Index>(sizeof(T));
    const Index pairs = (cols + 63) / 64;
    __m128 offsets[n];
#pragma GCC unroll 8
    for (Index r = 0; r < n; ++r) offsets[r] = _mm_setzero_ps();
    for (Index p = 0; p < cols / 64; ++p)
      add_nibble_blocks<T, n>(w + p * 2 * size, w + (p * 2 + 1) * size, x + p * 64, pairs * 64 - p * 60, stride, totals,
                              offsets);
    if (cols % 64 != 0) {
      constexpr T nothing{};
      const Index p = pairs - 1;
      add_nibble_blocks<T, n>(w + p * 2 * size, reinterpret_cast<const std::byte*>(&nothing), x + p * 64,
                              pairs * 64 - p * 60, stride, totals, offsets);
    }
#pragma GCC unroll 8
    for (Index r = 0; r < n; ++r) totals[r] = totals[r] + _mm256_insertf128_ps(_mm256_setzero_ps(), offsets[r], 0);
  }
};
template <>
struct Dot<Q4_0Block> : NibbleDot<Q4_0Block> {};
template <>
struct Dot<Q4_1Block> : NibbleDot<Q4_1Block> {};

/// totals[r] += scale * (quanta of v times 32 arranged values of row r of x).
template <Index n>
[[gnu::always_inline]] inline void add_bytes(__m256i v, int mask, F scale, const float* x, Index stride,
                                             F (&totals)[n]) {
  F w[4];
  unpack_bytes(v, mask, w);
#pragma GCC unroll 8
  for (Index r = 0; r < n; ++r) totals[r] = multiply_add(dot32(w, x + r * stride), scale, totals[r]);
}

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
          const __m256i lanes_of_groups =
              _mm256_setr_epi32(2 * quarter, 2 * quarter, 2 * quarter, 2 * quarter, 2 * quarter + 1, 2 * quarter + 1,
                                2 * quarter + 1, 2 * quarter + 1);
          add_bytes(quanta, 63, _mm256_permutevar8x32_ps(scales[half], lanes_of_groups),
                    x + i + half * 128 + quarter * 32, stride, totals);
        }
      }
    }
  }
};

/// Rows of w times n rows of x, n known to the compiler.
template <class T, Index n>
inline void dot_group_rows(const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x, Index x_stride,
                           float* y, Index y_stride) {
  for (Index r = 0; r < rows; r += 4, w += 4 * row_bytes) {
    const Index count = std::min<Index>(4, rows - r);
    F sums[4][n];
    for (Index j = 0; j < 4; ++j) {
      F totals[n];  // not sums[j] itself, which would not stay in registers
#pragma GCC unroll 8
      for (Index i = 0; i < n; ++i) totals[i] = set(0.0f);
      if (j < count) Dot<T>::row(w + j * row_bytes, cols, x, x_stride, totals);
#pragma GCC unroll 8
      for (Index i = 0; i < n; ++i) sums[j][i] = totals[i];
    }
    for (Index i = 0; i < n; ++i) {  // four sums across lanes for the price of two
      const F pairs = _mm256_hadd_ps(_mm256_hadd_ps(sums[0][i], sums[1][i]), _mm256_hadd_ps(sums[2][i], sums[3][i]));
      float totals[4];
      _mm_storeu_ps(totals, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
      std::copy(totals, totals + count, y + i * y_stride + r);
    }
  }
}

/// The same for any count <= dot_group.
template <class T, Index n = dot_group<T>>
inline void dot_some_rows(Index count, const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x,
                          Index x_stride, float* y, Index y_stride) {
  if (count == n) {
    if constexpr (std::is_same_v<T, Q8_0Block>)
      dot_q8_0_rows<n>(w, row_bytes, rows, cols, x, x_stride, y, y_stride);
    else
      dot_group_rows<T, n>(w, row_bytes, rows, cols, x, x_stride, y, y_stride);
    return;
  }
  if constexpr (n > 1) dot_some_rows<T, n - 1>(count, w, row_bytes, rows, cols, x, x_stride, y, y_stride);
}

/// y[i][r] = row r of w times row i < n of x, which is what `arrange` made of it where arranged_size is not 0.
template <class T>
inline void dot_rows(const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x, Index x_stride,
                     Index n, float* y, Index y_stride) {
  const Index groups = (n + dot_group<T> - 1) / dot_group<T>;
  const Index block = groups <= 1 ? rows : 16;  // rows of w that stay in the first-level cache from group to group
  for (Index r = 0; r < rows; r += block) {
    const Index count = std::min(block, rows - r);
    for (Index g = 0, i = 0; g < groups; ++g) {  // of equal size: nine rows in groups of five are five and four
      const Index size = (n - i + groups - g - 1) / (groups - g);
      dot_some_rows<T>(size, w + r * row_bytes, row_bytes, count, cols, x + i * x_stride, x_stride,
                       y + i * y_stride + r, y_stride);
      i += size;
    }
  }
}

template <class T>
inline Index arranged_size(Index cols) {
  return Dot<T>::size(cols);
}
template <class T>
inline void arrange(const float* x, Index cols, float* out) {
  Dot<T>::arrange(x, cols, out);
}
