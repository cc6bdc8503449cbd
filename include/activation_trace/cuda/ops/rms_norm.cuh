// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/cuda/execution.cuh"
#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/ops/rms_norm.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

namespace cuda::detail {

struct NormRows {
  const float* x;
  float* sum;  ///< where x + y goes: x itself, or null where nothing is added
  Index x_stride;
  float* y;
  Index y_stride;
  const float* weight;
  Index d;
  float eps;
};

/// The order of a row's sum depends on `threads` and nothing else. A thread has the same elements both times.
template <int threads>
__global__ void __launch_bounds__(threads) rms_norm_kernel(NormRows rows) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const Index row = blockIdx.x;
  const float* const x = rows.x + row * rows.x_stride;
  float* const y = rows.y + row * rows.y_stride;
  float* const sum = rows.sum == nullptr ? nullptr : rows.sum + row * rows.x_stride;
  float squares = 0;
  for (Index i = threadIdx.x; i < rows.d; i += threads) {
    float value = x[i];
    if (sum != nullptr) {
      value += y[i];
      sum[i] = value;
    }
    squares = fmaf(value, value, squares);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, distance);
  if constexpr (threads > 32) {
    __shared__ float parts[threads / 32];
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = squares;
    __syncthreads();
    squares = 0;
#pragma unroll
    for (int w = 0; w < threads / 32; ++w) squares += parts[w];
  }
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(rows.d) + rows.eps);
  for (Index i = threadIdx.x; i < rows.d; i += threads) y[i] = x[i] * scale * rows.weight[i];
}

template <int = 0>
void launch_rms_norm(Execution<Cuda> execution, Index n, const NormRows& rows) {
  if (n == 0) return;
  if (rows.d <= 256)  // heads
    launch_dependent(execution, "rms_norm_kernel", {blocks(n), 32}, rms_norm_kernel<32>, rows);
  else
    launch_dependent(execution, "rms_norm_kernel", {blocks(n), 512}, rms_norm_kernel<512>, rows);
}

}  // namespace cuda::detail

/// As on the host: a block or a warp per row.
template <int = 0>
void rms_norm(Execution<Cuda> execution, MatrixView<const float, Cuda> x, VectorView<const float, Cuda> weight,
              float eps, MatrixView<float, Cuda> y) {
  detail::check_rms_norm<Cuda>(x, weight, y);
  cuda::detail::launch_rms_norm(
      execution, x.extent(0), {x.data(), nullptr, x.stride(0), y.data(), y.stride(0), weight.data(), x.extent(1), eps});
}

/// As on the host, in one pass over x and y.
template <int = 0>
void add_rms_norm(Execution<Cuda> execution, MatrixView<float, Cuda> x, MatrixView<float, Cuda> y,
                  VectorView<const float, Cuda> weight, float eps) {
  detail::check_rms_norm<Cuda>(x, weight, y);
  cuda::detail::launch_rms_norm(
      execution, x.extent(0),
      {x.data(), x.data(), x.stride(0), y.data(), y.stride(0), weight.data(), x.extent(1), eps});
}

}  // namespace v0
}  // namespace activation_trace
