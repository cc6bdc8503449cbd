// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "activation_trace/cuda/execution.cuh"
#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/ffn_activation.hpp"
#include "activation_trace/ops/gated_multiply.hpp"
#include "activation_trace/tensor/view.hpp"

// What the forward pass does to matrices element by element, by one kernel. As the ops of the same names on the host
// (ops/*.hpp), queued in the order of the execution's stream. Templates only so that their kernels are compiled where
// somebody calls them; so are the others of the forward pass.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// A matrix whose rows have no gaps.
template <class T>
struct ElementRows {
  T* data;
  Index stride;

  template <class U>
  explicit ElementRows(const MatrixView<U, Cuda>& m) : data(m.data()), stride(m.stride(0)) {}
  [[nodiscard]] __device__ T& at(Index row, Index column) const { return data[row * stride + column]; }
};

constexpr int element_threads = 256;

template <class Function>
__global__ void __launch_bounds__(element_threads) each_element_kernel(Index rows, Index columns, Function function) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const Index column = static_cast<Index>(blockIdx.x) * element_threads + threadIdx.x;
  if (column >= columns) return;
  for (Index row = blockIdx.y; row < rows; row += gridDim.y) function(row, column);
}

/// function(row, column) for all of [rows, columns], in no order.
template <class Function>
void each_element(Execution<Cuda> execution, Index rows, Index columns, const Function& function) {
  if (rows == 0 || columns == 0) return;
  constexpr Index most_rows = 65535;  // of a grid
  launch_dependent(
      execution, "each_element_kernel",
      {blocks((columns + element_threads - 1) / element_threads, std::min(rows, most_rows)), element_threads},
      each_element_kernel<Function>, rows, columns, function);
}

struct Scaled {
  ElementRows<float> x;
  float factor;
  __device__ void operator()(Index row, Index column) const { x.at(row, column) *= factor; }
};

struct SoftCapped {
  ElementRows<float> x;
  float cap;
  __device__ void operator()(Index row, Index column) const {
    float& v = x.at(row, column);
    v = cap * tanhf(v / cap);
  }
};

struct Biased {
  ElementRows<float> x;
  const float* bias;
  __device__ void operator()(Index row, Index column) const { x.at(row, column) += bias[column]; }
};

struct Gated {
  ElementRows<const float> gate, up;
  ElementRows<float> y;
  FfnActivation activation;
  __device__ void operator()(Index row, Index column) const {
    const float g = gate.at(row, column);
    float activated;
    if (activation == FfnActivation::silu) {
      activated = g / (1.0f + expf(-g));
    } else {
      constexpr float sqrt_2_over_pi = 0.797884560802865f;
      activated = 0.5f * g * (1.0f + tanhf(sqrt_2_over_pi * (g + 0.044715f * g * g * g)));
    }
    y.at(row, column) = activated * up.at(row, column);
  }
};

struct Copied {
  ElementRows<const float> from;
  ElementRows<float> to;
  __device__ void operator()(Index row, Index column) const { to.at(row, column) = from.at(row, column); }
};

/// One block goes over the rows in order: `to` may begin before `from` and overlap it.
template <int threads>
__global__ void __launch_bounds__(threads) copy_in_order_kernel(Index rows, Index columns, Copied copied) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  for (Index row = 0; row < rows; ++row)
    for (Index begin = 0; begin < columns; begin += threads) {
      const Index column = begin + threadIdx.x;
      const float value = column < columns ? copied.from.at(row, column) : 0.0f;
      __syncthreads();  // all have read what others write over
      if (column < columns) copied.to.at(row, column) = value;
    }
}

}  // namespace cuda::detail

/// As on the host.
template <int = 0>
void scale(Execution<Cuda> execution, MatrixView<float, Cuda> x, float factor) {
  detail::check_contiguous_rows("scale: x", x);
  cuda::detail::each_element(execution, x.extent(0), x.extent(1),
                             cuda::detail::Scaled{cuda::detail::ElementRows<float>(x), factor});
}

/// As on the host.
template <int = 0>
void soft_cap(Execution<Cuda> execution, MatrixView<float, Cuda> x, float cap) {
  if (!(cap > 0) || std::isinf(cap))
    throw ArgumentError("soft_cap: cap must be positive and finite, got " + std::to_string(cap));
  detail::check_contiguous_rows("soft_cap: x", x);
  cuda::detail::each_element(execution, x.extent(0), x.extent(1),
                             cuda::detail::SoftCapped{cuda::detail::ElementRows<float>(x), cap});
}

/// As on the host.
template <int = 0>
void add_bias(Execution<Cuda> execution, MatrixView<float, Cuda> x, VectorView<const float, Cuda> bias) {
  detail::check_extent("add_bias: length of bias", bias.size(), x.extent(1));
  detail::check_contiguous_rows("add_bias: bias", bias);
  detail::check_contiguous_rows("add_bias: x", x);
  cuda::detail::each_element(execution, x.extent(0), x.extent(1),
                             cuda::detail::Biased{cuda::detail::ElementRows<float>(x), bias.data()});
}

/// As on the host.
template <int = 0>
void gated_multiply(Execution<Cuda> execution, FfnActivation activation, MatrixView<const float, Cuda> gate,
                    MatrixView<const float, Cuda> up, MatrixView<float, Cuda> y) {
  using cuda::detail::ElementRows;
  detail::check_gated_multiply(gate, up, y);
  cuda::detail::each_element(execution, gate.extent(0), gate.extent(1),
                             cuda::detail::Gated{ElementRows<const float>(gate), ElementRows<const float>(up),
                                                 ElementRows<float>(y), activation});
}

/// As on the host.
template <int = 0>
void copy(Execution<Cuda> execution, MatrixView<const float, Cuda> from, MatrixView<float, Cuda> to) {
  const Index rows = from.extent(0);
  const Index columns = from.extent(1);
  detail::check_extent("copy: rows of to", to.extent(0), rows);
  detail::check_extent("copy: columns of to", to.extent(1), columns);
  detail::check_contiguous_rows("copy: from", from);
  detail::check_contiguous_rows("copy: to", to);
  if (rows == 0 || columns == 0) return;
  const cuda::detail::Copied copied{cuda::detail::ElementRows<const float>(from), cuda::detail::ElementRows<float>(to)};
  const auto end_of = [&](MatrixView<const float, Cuda> m) { return m.data() + (rows - 1) * m.stride(0) + columns; };
  const std::less_equal<> before;  // also of pointers into different memory
  if (before(end_of(to), from.data()) || before(end_of(from), to.data())) {
    cuda::detail::each_element(execution, rows, columns, copied);
    return;
  }
  constexpr int threads = 512;
  cuda::detail::launch_dependent(execution, "copy_in_order_kernel", {cuda::detail::blocks(1), threads},
                                 cuda::detail::copy_in_order_kernel<threads>, rows, columns, copied);
}

}  // namespace v0
}  // namespace activation_trace
