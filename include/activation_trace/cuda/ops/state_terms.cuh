// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/widen.cuh"
#include "activation_trace/tensor/view.hpp"

// f32 states as sums of 16-bit numbers, which tensor cores multiply by a 16-bit head.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// The first terms of all rows, then the second ones, ...
template <class T>
struct StateTerms {
  MatrixView<const T, Cuda> rows;  ///< [terms T, d], rows of 16-byte multiples
  const float* scales = nullptr;   ///< [T] powers of two that products are multiplied by; null: 1
};

/// x = y[0] + y[1] + ..., by f16 of a row that was scaled. What is not finite has no second term: it is y[0].
template <class T>
__device__ void split(float x, T (&y)[exact_terms<T>]) {
  const bool finite = (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;
#pragma unroll
  for (int i = 0; i < exact_terms<T>; ++i) {
    if constexpr (is_scaled<T>) {
      y[i] = ptx::narrow<Half>(x);
    } else {
      // Cut off, not rounded: eight bits each, and the largest float does not become infinite.
      y[i].bits = finite ? static_cast<std::uint16_t>(__float_as_uint(x) >> 16) : ptx::narrow<BFloat16>(x).bits;
    }
    x = finite ? x - widen(y[i]) : 0.0f;
  }
}

/// The power of two that brings the largest finite number of a row to [2^14, 2^15), by a block.
template <int threads>
__device__ float power_for_half(const float* row, Index cols) {
  __shared__ unsigned parts[threads / 32];
  unsigned exponent = 0;
  for (Index k = threadIdx.x; k < cols; k += threads) {
    const unsigned e = __float_as_uint(row[k]) >> 23 & 0xffu;
    if (e != 0xffu && e > exponent) exponent = e;
  }
  for (int distance = 16; distance > 0; distance /= 2)
    exponent = max(exponent, __shfl_xor_sync(0xffffffffu, exponent, distance));
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = exponent;
  __syncthreads();
  for (int w = 0; w < threads / 32; ++w) exponent = max(exponent, parts[w]);
  return __uint_as_float(min(254u - exponent + 14u, 253u) << 23);  // whose inverse is a normal number, too
}

/// A block per row.
template <class T, int threads>
__global__ void __launch_bounds__(threads) split_states_kernel(const float* hidden, Index stride, Index rows,
                                                               Index cols, T* out, Index out_stride, float* scales) {
  const Index t = blockIdx.x;
  const float* const row = hidden + t * stride;
  float power = 1.0f;
  if constexpr (is_scaled<T>) {
    power = power_for_half<threads>(row, cols);
    if (threadIdx.x == 0) scales[t] = 1.0f / power;
  }
  for (Index k = threadIdx.x; k < cols; k += threads) {
    T terms[exact_terms<T>];
    split(row[k] * power, terms);
#pragma unroll
    for (int i = 0; i < exact_terms<T>; ++i) out[(i * rows + t) * out_stride + k] = terms[i];
  }
}

/// Terms of `hidden`, whose columns are contiguous, in the stream's scratch memory: the next op's.
template <class T>
[[nodiscard]] StateTerms<T> split_states(Execution<Cuda> stream, const MatrixView<const float, Cuda>& hidden) {
  constexpr int terms = exact_terms<T>;
  const Index rows = hidden.extent(0);
  const Index cols = hidden.extent(1);
  const Index stride = (cols + 7) / 8 * 8;
  const Index scale_bytes = (rows * 4 + 255) / 256 * 256;
  std::byte* const memory = stream.scratch<std::byte>(scale_bytes + terms * rows * stride * 2).data();
  auto* const scales = reinterpret_cast<float*>(memory);
  T* const out = reinterpret_cast<T*>(memory + scale_bytes);
  launch(stream, "split_states_kernel", {blocks(rows), 128}, split_states_kernel<T, 128>, hidden.data(),
         hidden.stride(0), rows, cols, out, stride, scales);
  return {{out, {terms * rows, cols}, {stride, 1}}, is_scaled<T> ? scales : nullptr};
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
