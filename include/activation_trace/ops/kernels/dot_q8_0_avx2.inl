// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Q8_0 rows of w times a few rows of x; the other types are in dot_avx2.inl.

/// m rows of w times n rows of x. A quantum times its scale is exact in a float: one multiplication a weight for all
/// rows of x, instead of one for every 32 of each row. Rows of w side by side defeat the processor's own prefetching
/// (without it one row of x took 6.5 ms for [49152, 576] on one core, with it 2.4).
template <Index m, Index n>
inline void dot_q8_0(const std::byte* w, Index row_bytes, Index cols, const float* x, Index x_stride, float* y,
                     Index y_stride) {
  constexpr Index block = static_cast<Index>(sizeof(Q8_0Block));
  const std::byte* next = w + m * row_bytes;
  F sums[m][n];
#pragma GCC unroll 4
  for (Index r = 0; r < m; ++r)
#pragma GCC unroll 9
    for (Index i = 0; i < n; ++i) sums[r][i] = set(0.0f);
  for (Index c = 0; c < cols; c += 32, w += block, next += m * block) {
    if constexpr (m > 1)
#pragma GCC unroll 3
      for (Index line = 0; line < m * block; line += 64)
        _mm_prefetch(reinterpret_cast<const char*>(next + line), _MM_HINT_T0);
    F scales[m];
#pragma GCC unroll 4
    for (Index r = 0; r < m; ++r) {
      Half d;
      std::memcpy(&d, w + r * row_bytes, sizeof(d));
      scales[r] = set(widen(d));
    }
#pragma GCC unroll 4
    for (Index j = 0; j < 32; j += 8) {
      F v[m];
#pragma GCC unroll 4
      for (Index r = 0; r < m; ++r) {
        const std::byte* q = w + r * row_bytes + offsetof(Q8_0Block, q);
        v[r] = to_float(load_i8(reinterpret_cast<const std::int8_t*>(q) + j)) * scales[r];
      }
#pragma GCC unroll 9
      for (Index i = 0; i < n; ++i) {
        const F x_i = load(x + i * x_stride + c + j);
#pragma GCC unroll 4
        for (Index r = 0; r < m; ++r) sums[r][i] = multiply_add(v[r], x_i, sums[r][i]);
      }
    }
  }
#pragma GCC unroll 9
  for (Index i = 0; i < n; ++i)
#pragma GCC unroll 4
    for (Index r = 0; r < m; ++r) y[i * y_stride + r] = sum(sums[r][i]);
}

template <Index n>
inline void dot_q8_0_rows(const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x, Index x_stride,
                          float* y, Index y_stride) {
  constexpr Index m = n <= 2 ? 4 : n <= 4 ? 2 : 1;  // enough sums to hide the latency of an addition
  Index r = 0;
  for (; r + m <= rows; r += m) dot_q8_0<m, n>(w + r * row_bytes, row_bytes, cols, x, x_stride, y + r, y_stride);
  for (; r < rows; ++r) dot_q8_0<1, n>(w + r * row_bytes, row_bytes, cols, x, x_stride, y + r, y_stride);
}
