// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "activation_trace/cuda/ops/softmax_wgmma.cuh"

// The sm_90a kernel for small d (cuda/README.md 1): a tile of H stays in shared memory while W goes by, and two
// warpgroups take the panels of W in turns, so that one multiplies while the other folds.
namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Tiling of that kernel. A block has a consumer warpgroup for every other panel of W, and a producer warpgroup.
template <int positions>
struct ResidentTuning {
  static constexpr int tile_t = positions;           ///< positions of a block, the N of one wgmma
  static constexpr int row_blocks = 2;               ///< 64-row blocks of the vocabulary per panel
  static constexpr int terms = 1;                    ///< of a state
  static constexpr int tile_v = 64 * row_blocks;     ///< rows of W in a panel
  static constexpr int panel_bytes = tile_v * 128;   ///< of 64 columns of d
  static constexpr int hidden_bytes = tile_t * 128;  ///< of 64 columns of d
  static constexpr int most_stages = 8;              ///< of tiles of W

  /// Tiles of W in flight beside all tiles of H, and no more than those are: a stage is filled when everything up to so
  /// many tiles back is done, also the products of the panel before with the same tile of H: it may be replaced.
  [[nodiscard]] static constexpr int stages(int k_tiles) {
    return std::min({(wgmma_block_bytes - 1024 - k_tiles * hidden_bytes) / panel_bytes, k_tiles, most_stages});
  }
  /// Whether rows of d columns are for it: a panel's products take longer than its fold (about 1900 clocks at 128
  /// positions) from four tiles of d on, 64 columns each, and fewer stages than four do not hide the way from memory.
  [[nodiscard]] static constexpr bool takes(Index d) { return d < 4096 && stages(static_cast<int>(d + 63) / 64) >= 4; }
};

namespace detail {

struct ResidentWork : WgmmaWork {
  int cluster;  // blocks with neighbouring tiles of T, which share tiles of W
  int ranges;   // of panels: a cluster takes its tiles of T through one range after the other
  int stages;
};

struct ResidentBlock {
  hopper::Barrier* full;   // [stages]
  hopper::Barrier* empty;  // [stages]
  hopper::Barrier* turn;   // [2]: a consumer's turn to multiply
  std::byte* hidden;       // k_tiles tiles of H
  std::byte* panels;       // [stages] tiles of W
  int rank;                // of the block in its cluster
};

/// Calls `f(t_tile, first, end)` for each tile of T that the block takes through panels [first, end). Clusters on the
/// same range run together, so that W is read from memory once.
template <class F>
__device__ void visit_ranges(const ResidentBlock& block, const ResidentWork& work, const F& f) {
  const int groups = work.t_tiles / work.cluster;
  const int step = static_cast<int>(gridDim.x) / work.cluster;
  for (int i = static_cast<int>(blockIdx.x) / work.cluster; i < groups * work.ranges; i += step) {
    const int range = i / groups;
    f(i % groups * work.cluster + block.rank, range * work.v_groups / work.ranges,
      (range + 1) * work.v_groups / work.ranges);
  }
}

/// The producer: one thread that fills the stages. What the first panel of a range needs of H comes with it.
template <class Tuning>
__device__ void fill_stages(const ResidentBlock& block, const ResidentWork& work, const CUtensorMap& w_map,
                            const CUtensorMap& h_map) {
  using namespace hopper;
  const int slice = Tuning::tile_v / work.cluster;  // rows of the panel that this block fetches for the whole cluster
  StageCursor cursor(work.stages, 1);               // the first round finds every stage empty
  visit_ranges(block, work, [&](int t_tile, int first, int end) {
    for (int panel = first; panel < end; ++panel)
      for (int k = 0; k < work.k_tiles; ++k) {
        Barrier& full = block.full[cursor.stage];
        std::byte* const target = block.panels + cursor.stage * Tuning::panel_bytes + block.rank * slice * 128;
        const int row = panel * Tuning::tile_v + block.rank * slice;
        wait(block.empty[cursor.stage], cursor.parity);
        arrive_expect_bytes(full, Tuning::panel_bytes + (panel == first ? Tuning::hidden_bytes : 0));
        if (work.cluster > 1)
          load_box_multicast(target, &w_map, k * 64, row, full, static_cast<std::uint16_t>((1 << work.cluster) - 1));
        else
          load_box(target, &w_map, k * 64, row, full);
        if (panel == first)
          load_box(block.hidden + k * Tuning::hidden_bytes, &h_map, k * 64,
                   first_position<Tuning::tile_t>(work, t_tile), full);
        cursor.advance();
      }
  });
}

/// A consumer: a warpgroup that takes every other panel. It begins when the other has begun the last products of the
/// panel before: all stages up to there have been full then, and the parity of the next one means what it says.
template <class T, class Tuning>
__device__ void multiply_in_turns(const ResidentBlock& block, const ResidentWork& work, const SoftmaxOutput& out,
                                  int consumer) {
  using namespace hopper;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto release = [&](int stage) {
    if (lane < work.cluster) arrive_at(block.empty[stage], static_cast<std::uint32_t>(lane));
  };
  StageCursor cursor(work.stages, 0);
  int next = 0;                                                   // whose panel is the next one
  std::uint32_t turn = static_cast<std::uint32_t>(1 - consumer);  // the first turn of the first consumer is free
  visit_ranges(block, work, [&](int t_tile, int first, int end) {
    for (int panel = first; panel < end; ++panel) {
      const bool mine = next == consumer;
      next = 1 - next;
      if (!mine) {
        for (int k = 0; k < work.k_tiles; ++k) cursor.advance();
        continue;
      }
      float acc[1][Tuning::row_blocks][Tuning::tile_t / 2];
      wait(block.turn[consumer], turn);
      turn ^= 1;
      for (int k = 0; k < work.k_tiles; ++k) {
        wait(block.full[cursor.stage], cursor.parity);
        wgmma_fence();
        multiply_boxes<T, Tuning>(acc, block.panels + cursor.stage * Tuning::panel_bytes,
                                  block.hidden + k * Tuning::hidden_bytes, k);
        wgmma_commit();
        wgmma_wait<1>();  // the previous stage's products are done: its memory may be refilled
        if (k > 0) release(cursor.previous());
        cursor.advance();
      }
      if (lane == 0) arrive(block.turn[1 - consumer]);
      wgmma_wait<0>();
#pragma unroll
      for (int m = 0; m < Tuning::row_blocks; ++m) read_after_wait(acc[0][m]);
      release(cursor.previous());
      fold_rows_of_w<Tuning>(work, out, t_tile, panel * Tuning::tile_v, acc[0]);
    }
  });
}

/// Logits in tiles of tile_v x tile_t as softmax_wgmma_kernel has them.
template <class T, class Tuning>
__global__ void __launch_bounds__(384, 1)
    softmax_resident_kernel(const __grid_constant__ CUtensorMap w_map, const __grid_constant__ CUtensorMap h_map,
                            ResidentWork work, SoftmaxOutput out) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using namespace hopper;
  __shared__ Barrier full[Tuning::most_stages];
  __shared__ Barrier empty[Tuning::most_stages];
  __shared__ Barrier turn[2];
  std::byte* const dynamic = ptx::dynamic_shared();
  std::byte* const hidden = dynamic + (1024 - shared_address(dynamic) % 1024) % 1024;
  const ResidentBlock block{.full = full,
                            .empty = empty,
                            .turn = turn,
                            .hidden = hidden,
                            .panels = hidden + work.k_tiles * Tuning::hidden_bytes,
                            .rank = static_cast<int>(cluster_rank())};
  if (threadIdx.x == 0) {
    for (int s = 0; s < work.stages; ++s) {
      init(full[s], 1);
      init(empty[s], 4 * work.cluster);  // the warps that a stage is for, of every block
    }
    for (Barrier& one : turn) init(one, 4);
    fence_barrier_init();
  }
  __syncthreads();
  cluster_arrive();
  cluster_wait();

  ptx::launch_dependents();
  const int consumer = static_cast<int>(threadIdx.x) / 128;  // 2: the producer
  if (consumer == 2) {
    release_registers<40>();
    if (threadIdx.x == 256) fill_stages<Tuning>(block, work, w_map, h_map);
  } else {
    claim_registers<232>();
    multiply_in_turns<T, Tuning>(block, work, out, consumer);
  }
  // A block must not go while the others of its cluster write to its memory or arrive at its barriers.
  __syncwarp();
  cluster_arrive();
  cluster_wait();
#endif
}

/// Into how many ranges to cut the panels of W, that so many clusters end soonest: a range costs its panels, and about
/// one more for the tiles of H that are changed.
[[nodiscard]] inline int count_ranges(int groups, int panels, int clusters) {
  const auto cost = [&](int ranges) {
    return static_cast<Index>((groups * Index{ranges} + clusters - 1) / clusters) *
           ((panels + ranges - 1) / ranges + 1);
  };
  int best = 1;
  for (int ranges = 2; ranges <= std::min(clusters, panels); ++ranges)
    if (cost(ranges) < cost(best)) best = ranges;
  return best;
}

template <class T, class Tuning>
void launch_softmax_resident(Execution<Cuda> stream, int multiprocessors, const MatrixView<const T, Cuda>& hidden,
                             const MatrixView<const T, Cuda>& w, const SoftmaxOutput& out) {
  const auto tiles = [](Index extent, Index tile) { return static_cast<int>((extent + tile - 1) / tile); };
  ResidentWork work{};
  work.positions = static_cast<int>(hidden.extent(0));
  work.t_tiles = tiles(hidden.extent(0), Tuning::tile_t);
  work.v_groups = tiles(w.extent(0), Tuning::tile_v);
  work.k_tiles = tiles(hidden.extent(1), 64);
  work.cluster = work.t_tiles % 2 == 0 ? 2 : 1;
  work.stages = Tuning::stages(work.k_tiles);
  const int groups = work.t_tiles / work.cluster;
  const int clusters = std::max(multiprocessors / work.cluster, 1);
  work.ranges = count_ranges(groups, work.v_groups, clusters);
  const CUtensorMap w_map = tensor_map(w, Tuning::tile_v / work.cluster);
  const CUtensorMap h_map = tensor_map(hidden, Tuning::tile_t);
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(work.cluster), 1, 1};
  start(stream, "softmax_resident_kernel",
        {blocks(std::min(Index{clusters}, Index{groups} * work.ranges) * work.cluster), 384,
         work.k_tiles * Tuning::hidden_bytes + work.stages * Tuning::panel_bytes + 1024},
        attribute, 1, softmax_resident_kernel<T, Tuning>, w_map, h_map, work, out);
}

}  // namespace detail
}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
