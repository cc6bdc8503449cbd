// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// A few rows of x times rows of w, dequantised in registers with 256-bit vectors. A row of w is decoded once for up to
// dot_group rows of x, and each of them is summed in the same order as alone, whatever the group. Quanta of less than
// eight bits meet x as arrange_avx2.inl has brought it: dot_pairs_avx2.inl has the types of blocks of 32,
// dot_groups_avx2.inl those of 256.

/// Rows of x that share a row of w in registers, measured. With more the compiler keeps sums in memory: three rows of
/// bf16, with four sums each, make 63 % of the multiply-add peak and five 51 %. f32 waits for w, not for registers.
template <class T>
constexpr Index dot_group = 5;
template <>
inline constexpr Index dot_group<Half> = 3;
template <>
inline constexpr Index dot_group<BFloat16> = 3;
template <>
inline constexpr Index dot_group<Q8_0Block> = 9;

/// Floats of x that stay near while rows of w pass: a first-level cache of 32 KiB and a little more, as rows take
/// turns. Longer rows go in smaller groups: from the second level they come at 45 % of the peak, whatever the type.
constexpr Index near_floats = 9216;
/// The smallest of them; up to four rows of x share a load among rows of Q8_0.
template <class T>
constexpr Index least_group = 3;
template <>
inline constexpr Index least_group<Q8_0Block> = 4;

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
  const Index most = n == 1 ? 1 : std::clamp(near_floats / x_stride, least_group<T>, dot_group<T>);
  const Index groups = (n + most - 1) / most;
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
