// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/multiply_rows.cuh"
#include "activation_trace/cuda/ops/planes.cuh"
#include "activation_trace/cuda/ops/softmax_mma.cuh"
#include "activation_trace/cuda/ops/split_octet.cuh"
#include "activation_trace/cuda/ops/stored_octets.cuh"

// Few rows of x and weights in blocks: the whole numbers of a block become f16 in registers, which is exact, and go to
// tensor cores beside x as two terms of f16; what scales them multiplies the sum of a group once. So an instruction or
// two do for a weight, and reading w is what it takes.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// How the work is cut: a thread block has 32 rows of w, its warps take tiles of d in turns, and so a sum's order is
/// that of d alone. x is split for all of them, a panel of d at a time.
template <class T>
struct BlocksTuning {
  static constexpr int v_tiles = 2;
  static constexpr int rows = 16 * v_tiles;  ///< of w
  static constexpr int warps = 8;
  static constexpr int bits = parts_of<T>.low_bits + parts_of<T>.high_bits;
  /// Tiles of a warp that are under way together, and blocks on a multiprocessor: with more, registers were spilled.
  static constexpr int loads = T::elements == 32 && bits <= 4 ? 2 : 1;
  static constexpr int blocks = T::elements == 32 || (bits <= 4 && group_elements<T> == 32) ? 2 : 1;
  static constexpr int most = 4;  ///< rows of x: two columns each of mma.sync's eight
  template <int x_rows>
  static constexpr int panel_tiles = 64 / x_rows;  ///< a multiple of `warps`: so every warp has the same tiles of d
};

/// A panel of `x_rows` rows of x.
template <class T, int x_rows>
struct SplitPanel {
  static constexpr int tiles = BlocksTuning<T>::template panel_tiles<x_rows>;
  static constexpr int chunks = 4 * tiles;               ///< of 32 elements
  static constexpr int sums = 32 / group_elements<T>;    ///< of groups
  uint4 terms[chunks][x_rows][2][4];                     ///< octets: large ones and small ones
  float backs[chunks][x_rows];                           ///< what products are multiplied by
  float of_x[is_shifted<T> ? chunks : 1][x_rows][sums];  ///< sums of the elements of a group

  /// Tiles [first, first + count) of rows [x0, x0 + used) of x, by all threads.
  __device__ void fill(const StoredRows& x, Index x0, int used, int first, int count) {
    const int row_octets = 16 * count;
    const int octets = used * row_octets;
    // Whole warps, which shuffle.
    for (int i = static_cast<int>(threadIdx.x); i / 32 * 32 < octets; i += static_cast<int>(blockDim.x)) {
      const int r = x_rows == 1 ? 0 : min(i / row_octets, used - 1);
      const int octet = i - r * row_octets;
      float y[8];
      widen_octet<float>(x, x0 + r, 16 * first + octet, y);
      float sum = 0.0f;
      if constexpr (is_shifted<T>) sum = sum_group(y);
      uint4 term[2];
      const float back = split_octet<Half>(y, term);
      if (i >= octets) continue;
      const int chunk = octet / 4;
      const int q = octet % 4;
#pragma unroll
      for (int t = 0; t < 2; ++t) terms[chunk][r][t][q] = term[t];
      if (q == 0) backs[chunk][r] = back;
      if constexpr (is_shifted<T>)
        if (q % (4 / sums) == 0) of_x[chunk][r][q / (4 / sums)] = sum;
    }
  }

 private:
  /// Of an octet and those of its neighbours that have the same scale.
  static __device__ float sum_group(const float (&y)[8]) {
    float sum = ((y[0] + y[1]) + (y[2] + y[3])) + ((y[4] + y[5]) + (y[6] + y[7]));
#pragma unroll
    for (int distance = 1; distance < group_elements<T> / 8; distance *= 2)
      sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
  }
};

/// The whole numbers that a lane has of a tile of a row.
template <class T>
struct LaneQuanta {
  static constexpr BlockParts parts = parts_of<T>;
  std::uint32_t low[parts.low_bits], high[parts.high_bits + 1];

  __device__ LaneQuanta(const Planes<T>& planes, int tile, int q) {
    if constexpr (parts.low_bits == 2) {
      const auto both = load_word<uint2>(planes.row + Planes<T>::low_at(tile, q, 0));
      low[0] = both.x, low[1] = both.y;
    } else {
#pragma unroll
      for (int i = 0; i < parts.low_bits; i += 4) {
        const auto all = load_word<uint4>(planes.row + Planes<T>::low_at(tile, q, i));
        low[i] = all.x, low[i + 1] = all.y, low[i + 2] = all.z, low[i + 3] = all.w;
      }
    }
    const std::byte* const second = planes.row + planes.high + Planes<T>::high_at(tile, q, 0);
    if constexpr (parts.high_bits == 1) high[0] = load_word<std::uint32_t>(second);
    if constexpr (parts.high_bits == 2) {
      const auto both = load_word<uint2>(second);
      high[0] = both.x, high[1] = both.y;
    }
  }

  /// Its octet of the tile's elements 32 c to 32 c + 31.
  [[nodiscard]] __device__ uint4 octet(int c) const {
    const int low_bit = 4 * c * parts.low_bits;
    const int high_bit = 4 * c * parts.high_bits;
    return quanta<T>(low[low_bit / 16] >> (low_bit % 16), parts.low_bits == 8 ? low[low_bit / 16 + 1] : 0u,
                     parts.high_bits > 0 ? high[high_bit / 16] >> (high_bit % 16) : 0u);
  }
};

/// acc += a tile of d of `v_tiles` times 16 rows of w, those of `rows`, and the rows of a panel: of a lane's rows of w,
/// lane / 4 and every eighth after it, its row of x, lane % 4.
template <class T, int x_rows, int v_tiles>
__device__ void multiply_tile(const LaneQuanta<T> (&rows)[2 * v_tiles], const TileHead<T> (&heads)[2 * v_tiles],
                              int tile, const SplitPanel<T, x_rows>& panel, int chunk, float (&acc)[2 * v_tiles]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int q = lane % 4;
  constexpr int groups = SplitPanel<T, x_rows>::sums;  // of a chunk
  const TileSteps<T> steps[2 * v_tiles] = {{heads[0], tile}, {heads[1], tile}, {heads[2], tile}, {heads[3], tile}};
  static_assert(v_tiles == 2);
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    uint4 x{};  // columns without a row are 0
    if (lane < 8 * x_rows) x = (&panel.terms[chunk + c][0][0][0])[lane];
    const int row = min(q, x_rows - 1);
    const float back = panel.backs[chunk + c][row];
    uint4 a[2 * v_tiles];
#pragma unroll
    for (int i = 0; i < 2 * v_tiles; ++i) a[i] = rows[i].octet(c);
#pragma unroll
    for (int g = 0; g < groups; ++g) {
      const bool counts = groups == 1 || q / 2 == g;  // others' elements of this octet are of the other group
      const std::uint32_t head[2] = {counts ? x.x : 0u, counts ? x.y : 0u};
      const std::uint32_t tail[2] = {counts ? x.z : 0u, counts ? x.w : 0u};
#pragma unroll
      for (int v = 0; v < v_tiles; ++v) {
        const uint4 &first = a[2 * v], &second = a[2 * v + 1];
        const std::uint32_t w_head[4] = {first.x, second.x, first.y, second.y};
        const std::uint32_t w_tail[4] = {first.z, second.z, first.w, second.w};
        float part[4] = {};
        multiply(Half{}, part, w_head, head);
        multiply(Half{}, part, w_tail, tail);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const Step step = steps[2 * v + i].of(groups * c + g);
          float& sum = acc[2 * v + i];
          sum = fmaf(step.scale, (part[2 * i] + part[2 * i + 1]) * back, sum);
          if constexpr (is_shifted<T>) sum = fmaf(step.shift, panel.of_x[chunk + c][row][g], sum);
        }
      }
    }
  }
}

/// acc += the products of a warp's share of a panel's tiles, the first of which is tile `first` of the row.
template <class T, int x_rows, int row_count>
__device__ void multiply_share(const Planes<T> (&rows)[row_count], int first, int count,
                               const SplitPanel<T, x_rows>& panel, float (&acc)[row_count]) {
  using Tuning = BlocksTuning<T>;
  static_assert(row_count == 4);
  const int q = static_cast<int>(threadIdx.x) % 4;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const auto load = [&](int i, int tile) { return LaneQuanta<T>(rows[i], first + tile, q); };
  const auto load_head = [&](int i, int tile) { return TileHead<T>(rows[i], first + tile); };
#pragma unroll 1
  for (int at = warp; at < count; at += Tuning::loads * Tuning::warps) {
    const LaneQuanta<T> now[4] = {load(0, at), load(1, at), load(2, at), load(3, at)};
    const TileHead<T> heads[4] = {load_head(0, at), load_head(1, at), load_head(2, at), load_head(3, at)};
    if constexpr (Tuning::loads == 1) {
      multiply_tile<T, x_rows, Tuning::v_tiles>(now, heads, first + at, panel, 4 * at, acc);
    } else {
      const int after = at + Tuning::warps;
      const int exists = min(after, count - 1);
      const LaneQuanta<T> next[4] = {load(0, exists), load(1, exists), load(2, exists), load(3, exists)};
      const TileHead<T> next_heads[4] = {load_head(0, exists), load_head(1, exists), load_head(2, exists),
                                         load_head(3, exists)};
      multiply_tile<T, x_rows, Tuning::v_tiles>(now, heads, first + at, panel, 4 * at, acc);
      if (after < count)
        multiply_tile<T, x_rows, Tuning::v_tiles>(next, next_heads, first + after, panel, 4 * after, acc);
    }
  }
}

/// Up to `x_rows` rows of x and 32 rows of w at a time per block, so that x is split once for all of them where it is
/// no more than a panel. An element of y has the same bits whatever `x_rows` is, and however many rows there are.
template <class T, int x_rows>
__global__ void __launch_bounds__(32 * BlocksTuning<T>::warps, BlocksTuning<T>::blocks)
    multiply_blocks_kernel(const __grid_constant__ Products products, StoredRows x, int x_groups) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Tuning = BlocksTuning<T>;
  ptx::wait_for_previous();
  __shared__ SplitPanel<T, x_rows> panel;
  __shared__ float sums[Tuning::warps][Tuning::rows][x_rows];
  const int x0 = static_cast<int>(blockIdx.x) % x_groups * x_rows;  // who read the same of w run together
  const int used = static_cast<int>(min(static_cast<Index>(x_rows), x.rows - x0));
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int tiles = static_cast<int>(Planes<T>::tiles(x.cols));
  bool split = false;
#pragma unroll 1
  for (int item = static_cast<int>(blockIdx.x);; item += static_cast<int>(gridDim.x)) {
    Index group = item / x_groups;
    const Product* const product = products.find(group, Tuning::rows);
    if (product == nullptr) return;
    const int w0 = static_cast<int>(group) * Tuning::rows;
    const auto planes_of = [&](int i) {  // what does not exist is read as the last row, and not written
      const StoredRows& w = product->w;
      return Planes<T>(w.row(min(static_cast<Index>(w0 + 8 * i + lane / 4), w.rows - 1)), w.cols);
    };
    const Planes<T> planes[4] = {planes_of(0), planes_of(1), planes_of(2), planes_of(3)};
    float acc[4] = {};
#pragma unroll 1
    for (int first = 0; first < tiles; first += panel.tiles) {
      const int count = min(panel.tiles, tiles - first);
      if (!split) {
        panel.fill(x, x0, used, first, count);
        __syncthreads();  // the panel is there
      }
      multiply_share<T, x_rows>(planes, first, count, panel, acc);
      split = tiles <= panel.tiles;
      if (!split) __syncthreads();  // the panel is done with
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (lane % 4 < x_rows) sums[warp][8 * i + lane / 4][lane % 4] = acc[i];
    __syncthreads();  // all warps' sums are there
    const int row = static_cast<int>(threadIdx.x) / x_rows;
    const int r = static_cast<int>(threadIdx.x) % x_rows;
    if (row < Tuning::rows && w0 + row < product->w.rows && r < used) {
      float sum = sums[0][row][r];
#pragma unroll
      for (int other = 1; other < Tuning::warps; ++other) sum += sums[other][row][r];
      product->y[(x0 + r) * product->y_stride + w0 + row] = sum;
    }
    __syncthreads();  // sums are done with
  }
#endif
}

/// Whether this program holds the kernel for the device of `execution`.
template <class T>
[[nodiscard]] bool has_multiply_blocks(Execution<Cuda> execution) {
  return compiled_for_device(execution, multiply_blocks_kernel<T, 1>);
}

/// Every row of x for itself.
template <class T>
void multiply_blocks(Execution<Cuda> execution, const Products& products, const StoredRows& x) {
  using Tuning = BlocksTuning<T>;
  const auto run = [&](auto kernel, int x_rows) {
    const Index x_groups = (x.rows + x_rows - 1) / x_rows;
    const Index at_once = Index{Tuning::blocks} * device_attribute(execution, cudaDevAttrMultiProcessorCount);
    const Index w_blocks = std::min(products.groups(Tuning::rows), std::max(at_once / x_groups, Index{1}));
    launch_dependent(execution, "multiply_blocks_kernel", {blocks(w_blocks * x_groups), 32 * Tuning::warps}, kernel,
                     products, x, static_cast<int>(x_groups));
  };
  if (x.rows == 1)
    run(multiply_blocks_kernel<T, 1>, 1);
  else
    run(multiply_blocks_kernel<T, Tuning::most>, Tuning::most);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
