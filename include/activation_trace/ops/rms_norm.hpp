// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/isa.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// y = x / sqrt(mean(x^2) + eps) * weight, row by row; x and y [n, d], weight [d]. y may be x.
/// Runs on the calling thread. Throws ShapeError.
void rms_norm(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y,
              Isa isa = best_isa());

inline void rms_norm(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y,
                     Isa /*isa*/) {
  const Index d = x.extent(1);
  detail::check_extent("rms_norm: length of weight", static_cast<Index>(weight.size()), d);
  detail::check_extent("rms_norm: rows of y", y.extent(0), x.extent(0));
  detail::check_extent("rms_norm: columns of y", y.extent(1), d);
  detail::check_contiguous_rows("rms_norm: x", x);
  detail::check_contiguous_rows("rms_norm: y", y);
  for (Index i = 0; i < x.extent(0); ++i) {
    const float* in = x.data() + i * x.stride(0);
    float* out = y.data() + i * y.stride(0);
    double sum = 0;
    for (Index c = 0; c < d; ++c) sum += static_cast<double>(in[c]) * static_cast<double>(in[c]);
    const auto scale = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(d) + static_cast<double>(eps)));
    for (Index c = 0; c < d; ++c) out[c] = in[c] * scale * weight[static_cast<std::size_t>(c)];
  }
}

}  // namespace v0
}  // namespace activation_trace
