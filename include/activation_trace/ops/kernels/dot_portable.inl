// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// A few rows of x times rows of w, plainly: blocks are decoded to a buffer in the first-level cache. x is used as it
// is. (The faster form of x86 is in dot_avx2.inl.)

template <class T>
inline Index arranged_size(Index) {
  return 0;
}
template <class T>
inline void arrange(const float*, Index, float*) {}

template <class T>
inline float dot_row(const std::byte* w, Index cols, const float* x) {
  constexpr Index elements = elements_per_unit<T>;
  constexpr Index chunk = 256;
  static_assert(chunk % elements == 0, "rows are decoded a chunk at a time: whole blocks");
  float buffer[chunk];
  F sums[4] = {set(0.0f), set(0.0f), set(0.0f), set(0.0f)};
  float rest = 0.0f;
  for (Index begin = 0; begin < cols; begin += chunk) {
    const Index n = std::min(chunk, cols - begin);
    decode<T>(w + begin / elements * static_cast<Index>(sizeof(T)), n, buffer);
    Index i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
      for (Index j = 0; j < 4; ++j)
        sums[j] = multiply_add(load(buffer + i + j * lanes), load(x + begin + i + j * lanes), sums[j]);
    for (; i < n; ++i) rest += buffer[i] * x[begin + i];
  }
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

/// y[i][r] = row r of w times row i < n of x.
template <class T>
inline void dot_rows(const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x, Index x_stride,
                     Index n, float* y, Index y_stride) {
  for (Index r = 0; r < rows; ++r)
    for (Index i = 0; i < n; ++i) y[i * y_stride + r] = dot_row<T>(w + r * row_bytes, cols, x + i * x_stride);
}
