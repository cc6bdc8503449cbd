// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <type_traits>

#include "activation_trace/cuda/execution.cuh"
#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/widen.cuh"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/ffn_activation.hpp"
#include "activation_trace/ops/gated_multiply.hpp"
#include "activation_trace/tensor/half.hpp"
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

/// Rounded to the nearest, ties to even, where To is shorter.
template <class To, class From>
__device__ To converted(From x) {
  if constexpr (std::is_same_v<To, From>)
    return x;
  else
    return ptx::narrow<To>(widen(x));
}

template <class From, class To>
struct Copied {
  ElementRows<const From> from;
  ElementRows<To> to;
  __device__ void operator()(Index row, Index column) const {
    to.at(row, column) = converted<To>(from.at(row, column));
  }
};

/// One block goes over the rows in order: `to` may begin before `from` and overlap it.
template <int threads, class From, class To>
__global__ void __launch_bounds__(threads) copy_in_order_kernel(Index rows, Index columns, Copied<From, To> copied) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  for (Index row = 0; row < rows; ++row)
    for (Index begin = 0; begin < columns; begin += threads) {
      const Index column = begin + threadIdx.x;
      const To value = column < columns ? converted<To>(copied.from.at(row, column)) : To{};
      __syncthreads();  // all have read what others write over
      if (column < columns) copied.to.at(row, column) = value;
    }
}

template <class From, class To>
void copy_matrix(Execution<Cuda> execution, MatrixView<const From, Cuda> from, MatrixView<To, Cuda> to) {
  using activation_trace::detail::check_contiguous_rows;
  using activation_trace::detail::check_extent;
  const Index rows = from.extent(0);
  const Index columns = from.extent(1);
  check_extent("copy: rows of to", to.extent(0), rows);
  check_extent("copy: columns of to", to.extent(1), columns);
  check_contiguous_rows("copy: from", from);
  check_contiguous_rows("copy: to", to);
  if (rows == 0 || columns == 0) return;
  const Copied<From, To> copied{ElementRows<const From>(from), ElementRows<To>(to)};
  const auto end_of = [&](const auto& m) -> const void* { return m.data() + (rows - 1) * m.stride(0) + columns; };
  const std::less_equal<> before;  // also of pointers into different memory
  if (before(end_of(to), static_cast<const void*>(from.data())) ||
      before(end_of(from), static_cast<const void*>(to.data()))) {
    each_element(execution, rows, columns, copied);
    return;
  }
  constexpr int threads = 512;
  launch_dependent(execution, "copy_in_order_kernel", {blocks(1), threads}, copy_in_order_kernel<threads, From, To>,
                   rows, columns, copied);
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
  cuda::detail::copy_matrix(execution, from, to);
}
/// As on the host.
template <int = 0>
void copy(Execution<Cuda> execution, MatrixView<const float, Cuda> from, MatrixView<Half, Cuda> to) {
  cuda::detail::copy_matrix(execution, from, to);
}
/// As on the host.
template <int = 0>
void copy(Execution<Cuda> execution, MatrixView<const Half, Cuda> from, MatrixView<Half, Cuda> to) {
  cuda::detail::copy_matrix(execution, from, to);
}

}  // namespace v0
}  // namespace activation_trace
