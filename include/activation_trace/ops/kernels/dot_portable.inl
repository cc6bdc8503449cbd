// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// A few rows of x times rows of w of any type, by the names of simd_*.inl alone: the portable set's and NEON's. A few
// rows of w at a time become floats in the first-level cache, once for all rows of x, and a register tile multiplies
// them by a group of these. Scalar types that one group has to itself are widened where they are multiplied. A product
// of two rows is summed in the same order, whatever tile it is in. x is used as it is. (The faster forms of x86 are in
// dot_avx2.inl and dot_avx512.inl.)

constexpr Index dot_depth = 768;  // elements: four rows of them are 12 KiB
constexpr Index dot_chains = 2;   // sums of a product, that an addition's latency is hidden among

template <class T>
inline Index arranged_size(Index) {
  return 0;
}
template <class T>
inline void arrange(const float*, Index, float*) {}

/// y[i][r] = or += row r of w, elements of the scalar type T, times row i of x.
template <class T, Index n, Index m>
inline void dot_tile(const std::byte* const (&w)[m], Index count, Index depth, const float* x, Index x_stride, float* y,
                     Index y_stride, Into into) {
  constexpr auto size = static_cast<Index>(sizeof(T));
  F sums[n][m][dot_chains];
#pragma GCC unroll 4
  for (Index i = 0; i < n; ++i)
#pragma GCC unroll 4
    for (Index r = 0; r < m; ++r)
#pragma GCC unroll 2
      for (Index j = 0; j < dot_chains; ++j) sums[i][r][j] = set(0.0f);
  Index k = 0;
  for (; k + dot_chains * lanes <= depth; k += dot_chains * lanes) {
#pragma GCC unroll 2
    for (Index j = 0; j < dot_chains; ++j) {
      F v[m];
#pragma GCC unroll 4
      for (Index r = 0; r < m; ++r) v[r] = load_vector<T>(w[r] + (k + j * lanes) * size);
#pragma GCC unroll 4
      for (Index i = 0; i < n; ++i) {
        const F x_i = load(x + i * x_stride + k + j * lanes);
#pragma GCC unroll 4
        for (Index r = 0; r < m; ++r) sums[i][r][j] = multiply_add(v[r], x_i, sums[i][r][j]);
      }
    }
  }
#pragma GCC unroll 4
  for (Index i = 0; i < n; ++i) {
#pragma GCC unroll 4
    for (Index r = 0; r < m; ++r) {
      float total = sum(sums[i][r][0] + sums[i][r][1]);
      for (Index c = k; c < depth; ++c) total += load_scalar<T>(w[r] + c * size) * x[i * x_stride + c];
      float* to = y + i * y_stride + r;
      if (r < count) *to = into == Into::add ? *to + total : total;
    }
  }
}

/// The same for any number of rows of x up to n.
template <class T, Index n, Index m>
inline void dot_tile_of(Index rows, const std::byte* const (&w)[m], Index count, Index depth, const float* x,
                        Index x_stride, float* y, Index y_stride, Into into) {
  if (rows == n) return dot_tile<T, n>(w, count, depth, x, x_stride, y, y_stride, into);
  if constexpr (n > 1) dot_tile_of<T, n - 1>(rows, w, count, depth, x, x_stride, y, y_stride, into);
}

/// y[i][r] = row r of w times row i < n of x, m rows of w by `group` of x at a time.
template <class T, Index m, Index group>
inline void dot_rows_by(const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x, Index x_stride,
                        Index n, float* y, Index y_stride) {
  static_assert(dot_depth % elements_per_unit<T> == 0, "rows are decoded dot_depth elements at a time: whole blocks");
  const bool as_stored = std::is_same_v<T, float> || (!QuantizedBlock<T> && n <= group);
  float decoded[m][dot_depth];
  for (Index r = 0; r < rows; r += m, w += m * row_bytes, y += m) {
    const Index count = std::min(m, rows - r);
    for (Index k = 0; k < cols; k += dot_depth) {
      const Index depth = std::min(dot_depth, cols - k);
      const std::byte* floats[m];
      for (Index j = 0; j < m; ++j) {  // those that are missing are the last once more
        const std::byte* at =
            w + std::min(j, count - 1) * row_bytes + k / elements_per_unit<T> * static_cast<Index>(sizeof(T));
        if (!as_stored && j < count) decode<T>(at, depth, decoded[j]);
        floats[j] = as_stored ? at : reinterpret_cast<const std::byte*>(decoded[std::min(j, count - 1)]);
      }
      const Into into = k == 0 ? Into::set : Into::add;
      for (Index i = 0; i < n; i += group) {
        const Index size = std::min(group, n - i);
        const float* x_i = x + i * x_stride + k;
        float* to = y + i * y_stride;
        if constexpr (!QuantizedBlock<T>)
          if (as_stored) {
            dot_tile_of<T, group>(size, floats, count, depth, x_i, x_stride, to, y_stride, into);
            continue;
          }
        dot_tile_of<float, group>(size, floats, count, depth, x_i, x_stride, to, y_stride, into);
      }
    }
  }
}

template <class T>
inline void dot_rows(const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x, Index x_stride,
                     Index n, float* y, Index y_stride) {
  if (n == 1)
    dot_rows_by<T, 4, 1>(w, row_bytes, rows, cols, x, x_stride, n, y, y_stride);
  else
    dot_rows_by<T, 2, dot_group>(w, row_bytes, rows, cols, x, x_stride, n, y, y_stride);
}
