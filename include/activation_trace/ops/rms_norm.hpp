// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// y = x / sqrt(mean(x^2) + eps) * weight, row by row; x and y [n, d], weight [d]. y may be x. Throws ShapeError.
void rms_norm(Execution<Host>& execution, MatrixView<const float> x, VectorView<const float> weight, float eps,
              MatrixView<float> y);

/// x <- x + y, then y <- rms_norm(x), in one pass: the end of one half of a decoder block and the start of the next.
void add_rms_norm(Execution<Host>& execution, MatrixView<float> x, MatrixView<float> y, VectorView<const float> weight,
                  float eps);

namespace detail {

/// Of views in any space.
template <class Space>
void check_rms_norm(const MatrixView<const float, Space>& x, const VectorView<const float, Space>& weight,
                    const std::type_identity_t<MatrixView<const float, Space>>& y) {
  check_extent("rms_norm: length of weight", weight.size(), x.extent(1));
  check_extent("rms_norm: rows of y", y.extent(0), x.extent(0));
  check_extent("rms_norm: columns of y", y.extent(1), x.extent(1));
  check_contiguous_rows("rms_norm: weight", weight);
  check_contiguous_rows("rms_norm: x", x);
  check_contiguous_rows("rms_norm: y", y);
}

}  // namespace detail

inline void rms_norm(Execution<Host>& execution, MatrixView<const float> x, VectorView<const float> weight, float eps,
                     MatrixView<float> y) {
  detail::check_rms_norm(x, weight, y);
  const detail::Kernels& kernels = detail::kernels(execution.isa());
  execution.for_each_rows(x.extent(0), x.extent(1), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      kernels.rms_norm(x.data() + i * x.stride(0), weight.data(), x.extent(1), eps, y.data() + i * y.stride(0));
  });
}

inline void add_rms_norm(Execution<Host>& execution, MatrixView<float> x, MatrixView<float> y,
                         VectorView<const float> weight, float eps) {
  detail::check_rms_norm<Host>(x, weight, y);
  const detail::Kernels& kernels = detail::kernels(execution.isa());
  execution.for_each_rows(x.extent(0), x.extent(1), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      float* to = x.data() + i * x.stride(0);
      float* term = y.data() + i * y.stride(0);
      for (Index c = 0; c < x.extent(1); ++c) to[c] += term[c];
      kernels.rms_norm(to, weight.data(), x.extent(1), eps, term);
    }
  });
}

}  // namespace v0
}  // namespace activation_trace
