// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/ffn_activation.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// y = activation(gate) * up element by element. All [n, F]; any of the three may be the same memory. Throws
/// ShapeError.
void gated_multiply(Execution<Host>& execution, FfnActivation activation, MatrixView<const float> gate,
                    MatrixView<const float> up, MatrixView<float> y);

namespace detail {

/// Throws as gated_multiply.
template <class Space>
void check_gated_multiply(MatrixView<const float, Space> gate, MatrixView<const float, Space> up,
                          MatrixView<float, Space> y) {
  for (int dim = 0; dim < 2; ++dim) {
    check_extent("gated_multiply: extent of up", up.extent(dim), gate.extent(dim));
    check_extent("gated_multiply: extent of y", y.extent(dim), gate.extent(dim));
  }
  check_contiguous_rows("gated_multiply: gate", gate);
  check_contiguous_rows("gated_multiply: up", up);
  check_contiguous_rows("gated_multiply: y", y);
}

/// The kernel of `activation`.
inline auto gated_multiply_of(const Kernels& kernels, FfnActivation activation) {
  switch (activation) {
    case FfnActivation::silu: break;
    case FfnActivation::gelu_tanh: return kernels.gelu_tanh_multiply;
  }
  return kernels.silu_multiply;
}

}  // namespace detail

inline void gated_multiply(Execution<Host>& execution, FfnActivation activation, MatrixView<const float> gate,
                           MatrixView<const float> up, MatrixView<float> y) {
  detail::check_gated_multiply(gate, up, y);
  const auto multiply = detail::gated_multiply_of(detail::kernels(execution.isa()), activation);
  execution.for_each_rows(gate.extent(0), gate.extent(1), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      multiply(gate.data() + i * gate.stride(0), up.data() + i * up.stride(0), gate.extent(1),
               y.data() + i * y.stride(0));
  });
}

}  // namespace v0
}  // namespace activation_trace
