// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/softmax_fold.cuh"
#include "activation_trace/cuda/ops/widen.cuh"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// A matrix of any strides, as kernels take it.
template <class T>
struct Strided {
  const T* data;
  Index rows, cols, row_stride, col_stride;

  explicit Strided(const MatrixView<const T, Cuda>& m)
      : data(m.data()), rows(m.extent(0)), cols(m.extent(1)), row_stride(m.stride(0)), col_stride(m.stride(1)) {}
  /// 0 outside the matrix.
  __device__ float operator()(Index r, Index c) const {
    return r < rows && c < cols ? widen(data[r * row_stride + c * col_stride]) : 0.0f;
  }
};

inline constexpr int simt_tile = 64;
inline constexpr int simt_split = 512;  // positions per block, a multiple of the tile

/// The states of items v0 .. v0 + 63 over positions [t_begin, t_end), by 256 threads: store(item, state) for those
/// that exist. fp32 products and sums in the order of k; 64 x 64 tiles of S^T, 4 x 4 per thread, with the states in
/// registers while the block walks its positions.
template <class T, class W, class Store>
__device__ void simt_states(const Strided<T>& hidden, const W& w, Index v0, Index t_begin, Index t_end, Store&& store) {
  constexpr int tile = simt_tile;
  constexpr int depth = 16;
  __shared__ float w_tile[depth][tile + 1];
  __shared__ float h_tile[depth][tile + 1];
  __shared__ SoftmaxState parts[16][tile];

  const int tx = static_cast<int>(threadIdx.x) % 16;  // positions tx, tx + 16, ...
  const int ty = static_cast<int>(threadIdx.x) / 16;  // vocabulary items ty, ty + 16, ...

  SoftmaxState states[4];
  for (Index t0 = t_begin; t0 < t_end; t0 += tile) {
    float acc[4][4] = {};
    for (Index k0 = 0; k0 < w.cols; k0 += depth) {
      for (int i = static_cast<int>(threadIdx.x); i < tile * depth; i += 256) {
        w_tile[i % depth][i / depth] = w(v0 + i / depth, k0 + i % depth);
        h_tile[i % depth][i / depth] = hidden(t0 + i / depth, k0 + i % depth);
      }
      __syncthreads();
#pragma unroll
      for (int k = 0; k < depth; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j) acc[i][j] += w_tile[k][ty + 16 * i] * h_tile[k][tx + 16 * j];
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (t0 + tx + 16 * j < t_end) states[i].push(acc[i][j]);
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) parts[tx][ty + 16 * i] = states[i];
  __syncthreads();
  const Index row = v0 + threadIdx.x;
  if (threadIdx.x >= tile || row >= w.rows) return;
  SoftmaxState state;
  for (int x = 0; x < 16; ++x) state.merge(parts[x][threadIdx.x]);
  store(row, state);
}

/// The anchor: any architecture, strides and type.
template <class T>
__global__ void __launch_bounds__(256) softmax_simt_kernel(Strided<T> hidden, Strided<T> w, SoftmaxOutput out) {
  const Index t_begin = static_cast<Index>(blockIdx.y) * simt_split;
  const Index t_end = t_begin + simt_split < hidden.rows ? t_begin + simt_split : hidden.rows;
  simt_states(hidden, w, static_cast<Index>(blockIdx.x) * simt_tile, t_begin, t_end,
              [&](Index row, const SoftmaxState& state) { store(out, blockIdx.y, row, state); });
}

template <class T>
void launch_softmax_simt(Execution<Cuda> stream, const MatrixView<const T, Cuda>& hidden,
                         const MatrixView<const T, Cuda>& w, const SoftmaxOutput& out) {
  launch(stream, "softmax_simt_kernel", {blocks((w.extent(0) + simt_tile - 1) / simt_tile, out.splits), 256},
         softmax_simt_kernel<T>, Strided<T>(hidden), Strided<T>(w), out);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
