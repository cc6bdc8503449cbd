// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/thread_pool.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// y = x w^T with x [n, d], w [m, d] in any stored form, y [n, m]. Weights are widened to float exactly and
/// everything is accumulated in float; activations are never quantised. y must not overlap x.
/// The result of a row of x does not depend on the number of threads. Throws ShapeError.
void matmul(ThreadPool& pool, MatrixView<const float> x, const StoredMatrix& w, MatrixView<float> y);

/// One product of several that share their x.
struct MatmulTarget {
  StoredMatrix w;       ///< [m, d]
  MatrixView<float> y;  ///< [n, m]
};

/// y_i = x w_i^T for every target, in one parallel region: q, k and v of a layer, or gate and up.
void matmul(ThreadPool& pool, MatrixView<const float> x, std::span<const MatmulTarget> targets);

namespace detail {

inline float dot(const float* a, const float* b, Index n) {
  float sums[16] = {};
  Index i = 0;
  for (; i + 16 <= n; i += 16)
    for (Index j = 0; j < 16; ++j) sums[j] += a[i + j] * b[i + j];
  for (; i < n; ++i) sums[i % 16] += a[i] * b[i];
  for (int width = 8; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) sums[j] += sums[j + width];
  return sums[0];
}

}  // namespace detail

inline void matmul(ThreadPool& pool, MatrixView<const float> x, std::span<const MatmulTarget> targets) {
  const Index d = x.extent(1);
  detail::check_contiguous_rows("matmul: x", x);
  for (const auto& [w, y] : targets) {
    detail::check_extent("matmul: columns of w", w.cols(), d);
    detail::check_extent("matmul: rows of y", y.extent(0), x.extent(0));
    detail::check_extent("matmul: columns of y", y.extent(1), w.rows());
    detail::check_contiguous_rows("matmul: y", y);
  }
  for (const auto& target : targets) {
    const StoredMatrix& w = target.w;
    const MatrixView<float> y = target.y;
    pool.for_each_range(w.rows(), 1, [&](Index begin, Index end, int worker) {
      const std::span<float> row = pool.scratch(worker, d);
      for (Index r = begin; r < end; ++r) {
        w.decode_row(r, row);
        for (Index i = 0; i < x.extent(0); ++i)
          y.data()[i * y.stride(0) + r] = detail::dot(x.data() + i * x.stride(0), row.data(), d);
      }
    });
  }
}

inline void matmul(ThreadPool& pool, MatrixView<const float> x, const StoredMatrix& w, MatrixView<float> y) {
  const MatmulTarget target{w, y};
  matmul(pool, x, std::span(&target, 1));
}

}  // namespace v0
}  // namespace activation_trace
