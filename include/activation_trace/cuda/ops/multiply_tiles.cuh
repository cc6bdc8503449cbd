// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/multiply_rows.cuh"
#include "activation_trace/cuda/ops/softmax_mma.cuh"
#include "activation_trace/cuda/ops/stored_octets.cuh"

// Many rows of x: tiles on tensor cores, to which both factors are floats of more than one term.
namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Tiling of the products of many rows: the 8 warps of softmax_mma.cuh, 32 elements of d at a time.
struct ProductTuning {
  static constexpr int tile_v = 128;                           ///< rows of w in a tile
  static constexpr int tile_t = 64;                            ///< rows of x in a tile
  static constexpr int stages = 2;                             ///< one is filled while the other is multiplied
  static constexpr int stage_bytes = (tile_v + tile_t) * 128;  ///< of shared memory
};

namespace detail {

/// Where this thread's octet of a row of 32 elements goes: four threads fetch a row of a tile, 256 every 64th.
struct TileOctet {
  int row = static_cast<int>(threadIdx.x) / 4;
  int octet = static_cast<int>(threadIdx.x) % 4;
};

/// Widens `rows` rows of m, from row `first` on, into rows `target` and on of a stage. What does not exist is 0.
template <class T, int rows>
__device__ void widen_tile(const StoredRows& m, Index first, int k_tile, std::byte* stage, int target) {
  static_assert(rows % 64 == 0);
  const TileOctet place;
#pragma unroll
  for (int i = 0; i < rows / 64; ++i) {
    float y[8] = {};
    const Index row = first + place.row + 64 * i;
    if (row < m.rows) widen_octet<T>(m, row, 4 * k_tile + place.octet, y);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float* const v = y + 4 * half;
      const std::uint32_t at = swizzled(target + place.row + 64 * i, 2 * place.octet + half);
      *reinterpret_cast<float4*>(stage + at) = float4{v[0], v[1], v[2], v[3]};
    }
  }
}

/// The same of 64 rows of floats that begin at multiples of 16 bytes; there when the copies are waited for.
inline __device__ void fetch_tile(const StoredRows& m, Index first, int k_tile, std::uint32_t stage, int target) {
  const TileOctet place;
  const Index row = first + place.row;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int column = 32 * k_tile + 8 * place.octet + 4 * half;
    const int left = row < m.rows ? max(0, min(4, m.cols - column)) : 0;
    const std::byte* const source = left > 0 ? m.row(row) + 4 * static_cast<Index>(column) : m.data;
    ptx::copy_async(stage + swizzled(target + place.row, 2 * place.octet + half), source, 4 * left);
  }
}

/// One tile of w x^T per block. Weights are widened on their way to shared memory. The sum of an element of y is the
/// same wherever it lies in its tile, by eights of d in their order, and so does not depend on the other rows of x.
template <class T, class Tuning>
__global__ void __launch_bounds__(256, 2)
    multiply_tiles_kernel(const __grid_constant__ Products products, StoredRows x, int x_tiles) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  ptx::wait_for_previous();
  using Part = WarpTile<Tuning>;
  Index tile = static_cast<Index>(blockIdx.x) / x_tiles;  // those that read the same of w run together
  const Product* const found = products.find(tile, Tuning::tile_v);
  if (found == nullptr) return;
  const Product& product = *found;
  const Index w0 = tile * Tuning::tile_v;
  const Index x0 = static_cast<Index>(blockIdx.x) % x_tiles * Tuning::tile_t;
  const int k_tiles = (x.cols + 31) / 32;
  std::byte* const stages = ptx::dynamic_shared();
  const std::uint32_t base = ptx::shared_address(stages);
  const Part part;

  const auto fill = [&](int k_tile) {
    const int stage = k_tile % Tuning::stages * Tuning::stage_bytes;
    if (x.wide)
      fetch_tile(x, x0, k_tile, base + static_cast<std::uint32_t>(stage), Tuning::tile_v);
    else
      widen_tile<float, Tuning::tile_t>(x, x0, k_tile, stages + stage, Tuning::tile_v);
    ptx::commit_copies();
    widen_tile<T, Tuning::tile_v>(product.w, w0, k_tile, stages + stage, 0);
  };

  const bool multiplies = w0 + part.v < product.w.rows && x0 + part.t < x.rows;  // a whole warp, or none of it
  float acc[2][Part::columns / 2] = {};
  fill(0);
#pragma unroll 1
  for (int k = 0; k < k_tiles; ++k) {
    ptx::wait_copies<0>();
    __syncthreads();  // tile k is there, and everyone has left tile k - 1, whose place is filled next
    if (k + 1 < k_tiles) fill(k + 1);
    if (multiplies)
      multiply_stage<float>(base + static_cast<std::uint32_t>(k % Tuning::stages * Tuning::stage_bytes), part, acc);
  }

#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int i = 0; i < Part::columns / 2; ++i) {
      const Index w_row = w0 + part.v + m * 16 + part.lane / 4 + i % 4 / 2 * 8;
      const Index x_row = x0 + part.t + i / 4 * 8 + part.lane % 4 * 2 + i % 2;
      if (w_row < product.w.rows && x_row < x.rows) product.y[x_row * product.y_stride + w_row] = acc[m][i];
    }
#endif
}

/// Whether this program holds the kernel for the device of `execution`.
template <class T>
[[nodiscard]] bool has_multiply_tiles(Execution<Cuda> execution) {
  return attributes_of(execution, multiply_tiles_kernel<T, ProductTuning>).ptxVersion >= 80;
}

template <class T>
void multiply_tiles(Execution<Cuda> execution, const Products& products, const StoredRows& x) {
  using Tuning = ProductTuning;
  const Index w_tiles = products.groups(Tuning::tile_v);
  const Index x_tiles = (x.rows + Tuning::tile_t - 1) / Tuning::tile_t;
  launch_dependent(execution, "multiply_tiles_kernel",
                   {blocks(w_tiles * x_tiles), 256, Tuning::stages * Tuning::stage_bytes},
                   multiply_tiles_kernel<T, Tuning>, products, x, static_cast<int>(x_tiles));
}

}  // namespace detail
}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
