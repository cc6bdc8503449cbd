// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/isa.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// y = x / sqrt(mean(x^2) + eps) * weight, row by row; x and y [n, d], weight [d]. y may be x.
/// Runs on the calling thread. Throws ShapeError.
void rms_norm(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y,
              Isa isa = best_isa());

inline void rms_norm(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y,
                     Isa isa) {
  const Index d = x.extent(1);
  detail::check_extent("rms_norm: length of weight", static_cast<Index>(weight.size()), d);
  detail::check_extent("rms_norm: rows of y", y.extent(0), x.extent(0));
  detail::check_extent("rms_norm: columns of y", y.extent(1), d);
  detail::check_contiguous_rows("rms_norm: x", x);
  detail::check_contiguous_rows("rms_norm: y", y);
  const detail::Kernels& kernels = detail::kernels(isa);
  for (Index i = 0; i < x.extent(0); ++i)
    kernels.rms_norm(x.data() + i * x.stride(0), weight.data(), d, eps, y.data() + i * y.stride(0));
}

}  // namespace v0
}  // namespace activation_trace
