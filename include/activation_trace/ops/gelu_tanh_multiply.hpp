// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// y = gelu(gate) * up element by element, gelu(g) = g / 2 (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3))), the
/// approximation by tanh: GeGLU's activation. All [n, F]; any of the three may be the same memory. Throws ShapeError.
void gelu_tanh_multiply(Execution<Host>& execution, MatrixView<const float> gate, MatrixView<const float> up,
                        MatrixView<float> y);

inline void gelu_tanh_multiply(Execution<Host>& execution, MatrixView<const float> gate, MatrixView<const float> up,
                               MatrixView<float> y) {
  for (int dim = 0; dim < 2; ++dim) {
    detail::check_extent("gelu_tanh_multiply: extent of up", up.extent(dim), gate.extent(dim));
    detail::check_extent("gelu_tanh_multiply: extent of y", y.extent(dim), gate.extent(dim));
  }
  detail::check_contiguous_rows("gelu_tanh_multiply: gate", gate);
  detail::check_contiguous_rows("gelu_tanh_multiply: up", up);
  detail::check_contiguous_rows("gelu_tanh_multiply: y", y);
  const detail::Kernels& kernels = detail::kernels(execution.isa());
  execution.for_each_rows(gate.extent(0), gate.extent(1), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      kernels.gelu_tanh_multiply(gate.data() + i * gate.stride(0), up.data() + i * up.stride(0), gate.extent(1),
                                 y.data() + i * y.stride(0));
  });
}

}  // namespace v0
}  // namespace activation_trace
