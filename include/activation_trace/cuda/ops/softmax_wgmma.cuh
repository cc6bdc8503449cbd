// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "activation_trace/cuda/hopper.cuh"
#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/softmax_fold.cuh"
#include "activation_trace/cuda/stream.cuh"
#include "activation_trace/cuda/tensor_map.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Shared memory of a block on sm_90, dynamic and with room for a kernel's barriers.
inline constexpr int wgmma_block_bytes = (227 << 10) - 1024;

/// Tiling of the sm_90a kernel, a type because nvcc 13.0 does not take a class value as a kernel's template
/// argument. A block has two consumer warpgroups and a producer warpgroup.
template <int positions, int v_blocks, int stage_count, int cluster_blocks, int state_terms = 1>
struct WgmmaTuning {
  static constexpr int tile_t = positions;        ///< positions per tile, the N of one wgmma (hopper.cuh has the sizes)
  static constexpr int row_blocks = v_blocks;     ///< 64-row blocks of the vocabulary per consumer warpgroup
  static constexpr int stages = stage_count;      ///< tiles of 64 columns of d in flight
  static constexpr int cluster = cluster_blocks;  ///< blocks on neighbouring panels of W that share tiles of H
  static constexpr int terms = state_terms;  ///< tiles of H in a stage, whose products are summed (state_terms.cuh)
  static constexpr int tile_v = 128 * row_blocks;                      ///< rows of W in a tile
  static constexpr int stage_bytes = (tile_v + terms * tile_t) * 128;  ///< of shared memory
  static constexpr int shared_bytes = stages * stage_bytes + 1024;     ///< the swizzle repeats every 1024 bytes
};

namespace detail {

struct WgmmaWork {
  int positions;  // T
  int t_tiles;
  int v_groups;                   // panels of the vocabulary, in groups of one per block of a cluster
  int k_tiles;                    // tiles of 64 columns of d
  const float* scales = nullptr;  // of positions, or null
};

/// Where a tile of T begins: the last one is moved back so that it ends with T, and masks what it shares with
/// the tile before. Boxes that reach beyond the matrix are slow to fill (tiles of 256 at T = 300: 296 us, moved
/// back 205).
template <int tile_t>
__device__ int first_position(const WgmmaWork& work, int t_tile) {
  return max(0, min(t_tile * tile_t, work.positions - tile_t));
}

/// What the warpgroups of a block share: stages in shared memory, and which units of the work are the block's.
template <class Tuning>
struct WgmmaBlock {
  hopper::Barrier* full;   // [stages]
  hopper::Barrier* empty;  // [stages]
  std::byte* tiles;
  int rank;  // of the block in its cluster
  int first;
  int step;
  int units;

  /// Panel of the vocabulary of a unit.
  __device__ int v_row(const WgmmaWork& work, int unit) const {
    return (unit / work.t_tiles * Tuning::cluster + rank) * Tuning::tile_v;
  }
};

/// The stage that comes next, and which of its rounds.
struct StageCursor {
  int stages;
  int stage = 0;
  std::uint32_t parity;

  __device__ StageCursor(int count, std::uint32_t first_parity) : stages(count), parity(first_parity) {}
  __device__ int previous() const { return stage == 0 ? stages - 1 : stage - 1; }
  __device__ void advance() {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

/// The producer: one thread that fills the stages.
template <class Tuning>
__device__ void fill_stages(const WgmmaBlock<Tuning>& block, const WgmmaWork& work, const CUtensorMap& w_map,
                            const CUtensorMap& h_map) {
  using namespace hopper;
  constexpr int cluster = Tuning::cluster;
  constexpr int slice = Tuning::tile_t / cluster;  // rows of the T tile that this block fetches for the whole cluster
  static_assert(slice % 8 == 0, "a slice is made of whole swizzle atoms");
  StageCursor cursor(Tuning::stages, 1);  // the first round finds every stage empty
  for (int unit = block.first; unit < block.units; unit += block.step) {
    const int t_row = first_position<Tuning::tile_t>(work, unit % work.t_tiles) + block.rank * slice;
    const int v_row = block.v_row(work, unit);
    for (int k = 0; k < work.k_tiles; ++k) {
      std::byte* const w_tile = block.tiles + cursor.stage * Tuning::stage_bytes;
      std::byte* const h_tile = w_tile + Tuning::tile_v * 128 + block.rank * slice * 128;
      wait(block.empty[cursor.stage], cursor.parity);
      arrive_expect_bytes(block.full[cursor.stage], Tuning::stage_bytes);
      load_box(w_tile, &w_map, k * 64, v_row, block.full[cursor.stage]);
      for (int term = 0; term < Tuning::terms; ++term) {
        std::byte* const tile = h_tile + term * Tuning::tile_t * 128;
        const int row = term * work.positions + t_row;
        if constexpr (cluster > 1)
          load_box_multicast(tile, &h_map, k * 64, row, block.full[cursor.stage], (1 << cluster) - 1);
        else
          load_box(tile, &h_map, k * 64, row, block.full[cursor.stage]);
      }
      cursor.advance();
    }
  }
}

/// Folds a warpgroup's logits of rows from `first_row` on and of a tile of T, and stores the states.
template <class Tuning, int N>
__device__ void fold_rows_of_w(const WgmmaWork& work, const SoftmaxOutput& out, int t_tile, int first_row,
                               float (&acc)[Tuning::row_blocks][N]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const int begin = t_tile * Tuning::tile_t - first_position<Tuning::tile_t>(work, t_tile);
  const int end = min(Tuning::tile_t, work.positions);
#pragma unroll
  for (int m = 0; m < Tuning::row_blocks; ++m) {
    if constexpr (Tuning::terms > 1)
      if (work.scales != nullptr)
        scale_columns(acc[m], lane, work.scales, first_position<Tuning::tile_t>(work, t_tile), work.positions);
    if (begin > 0 || end < Tuning::tile_t) mask_columns(acc[m], lane, begin, end);
    SoftmaxState states[2];
    fold_rows(acc[m], states);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Index row = first_row + m * 64 + warp * 16 + r * 8 + lane / 4;
      if (lane % 4 == 0 && row < out.rows) store(out, t_tile, row, states[r]);
    }
  }
}

/// Begins a warpgroup's products of a tile of d: 64 row_blocks rows at `w`, by tiles of H at `h`, one for each term.
template <class T, class Tuning, int sums, int N>
__device__ void multiply_boxes(float (&acc)[sums][Tuning::row_blocks][N], const std::byte* w, const std::byte* h,
                               int k) {
  using namespace hopper;
#pragma unroll
  for (int step_k = 0; step_k < 4; ++step_k)
#pragma unroll
    for (int term = 0; term < Tuning::terms; ++term)
#pragma unroll
      for (int m = 0; m < Tuning::row_blocks; ++m)
        Wgmma<T, Tuning::tile_t>::multiply(
            acc[term == 0 ? 0 : 1][m], descriptor(w + m * 64 * 128) + static_cast<unsigned>(2 * step_k),
            descriptor(h + term * Tuning::tile_t * 128) + static_cast<unsigned>(2 * step_k),
            k + step_k + (term > 1 ? 1 : 0));
}

/// A consumer: a warpgroup that multiplies what is in the stages.
template <class T, class Tuning>
__device__ void multiply_units(const WgmmaBlock<Tuning>& block, const WgmmaWork& work, const SoftmaxOutput& out,
                               int consumer) {
  using namespace hopper;
  const auto release = [&](int stage) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (lane < Tuning::cluster) arrive_at(block.empty[stage], static_cast<std::uint32_t>(lane));
  };
  StageCursor cursor(Tuning::stages, 0);
  for (int unit = block.first; unit < block.units; unit += block.step) {
    // First terms and what corrects them have sums of their own: tensor cores cut off what is small beside a sum.
    constexpr int sums = Tuning::terms == 1 ? 1 : 2;
    float acc[sums][Tuning::row_blocks][Tuning::tile_t / 2];
#pragma unroll 1
    for (int k = 0; k < work.k_tiles; ++k) {
      const std::byte* const w_tile = block.tiles + cursor.stage * Tuning::stage_bytes;
      const std::byte* const h_tile = w_tile + Tuning::tile_v * 128;
      wait(block.full[cursor.stage], cursor.parity);
      wgmma_fence();
      multiply_boxes<T, Tuning>(acc, w_tile + consumer * Tuning::row_blocks * 64 * 128, h_tile, k);
      wgmma_commit();
      wgmma_wait<1>();  // the previous stage's products are done: its memory may be refilled
      if (k > 0) release(cursor.previous());
      cursor.advance();
    }
    wgmma_wait<0>();
#pragma unroll
    for (int s = 0; s < sums; ++s)
#pragma unroll
      for (int m = 0; m < Tuning::row_blocks; ++m) read_after_wait(acc[s][m]);
    release(cursor.previous());
    if constexpr (sums > 1)
#pragma unroll
      for (int m = 0; m < Tuning::row_blocks; ++m)
#pragma unroll
        for (int i = 0; i < Tuning::tile_t / 2; ++i) acc[0][m][i] += acc[1][m][i];
    fold_rows_of_w<Tuning>(work, out, unit % work.t_tiles, block.v_row(work, unit) + consumer * Tuning::row_blocks * 64,
                           acc[0]);
  }
}

/// Logits S^T = W H^T in tiles of tile_v x tile_t that never leave the registers: the vocabulary lies on the M
/// side of wgmma, so that a row's positions lie within a quad of lanes and the fold needs no shared memory
/// (cuda/README.md 1). Persistent; T tiles run fastest, so that a panel of W is read from memory once.
template <class T, class Tuning>
__global__ void __launch_bounds__(384, 1)
    softmax_wgmma_kernel(const __grid_constant__ CUtensorMap w_map, const __grid_constant__ CUtensorMap h_map,
                         WgmmaWork work, SoftmaxOutput out) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using namespace hopper;
  constexpr int stages = Tuning::stages;
  constexpr int cluster = Tuning::cluster;
  // Static, so that the host can tell this body from the empty one of other architectures by its size.
  __shared__ Barrier full[stages];
  __shared__ Barrier empty[stages];
  std::byte* const dynamic = ptx::dynamic_shared();
  const WgmmaBlock<Tuning> block{.full = full,
                                 .empty = empty,
                                 .tiles = dynamic + (1024 - shared_address(dynamic) % 1024) % 1024,
                                 .rank = cluster > 1 ? static_cast<int>(cluster_rank()) : 0,
                                 .first = static_cast<int>(blockIdx.x) / cluster,
                                 .step = static_cast<int>(gridDim.x) / cluster,
                                 .units = work.t_tiles * work.v_groups};
  if (threadIdx.x == 0) {
    for (int s = 0; s < stages; ++s) {
      init(full[s], 1);
      init(empty[s], 8 * cluster);  // every consumer warp of the cluster
    }
    fence_barrier_init();
  }
  __syncthreads();
  if constexpr (cluster > 1) {
    cluster_arrive();
    cluster_wait();
  }

  ptx::launch_dependents();
  const int consumer = static_cast<int>(threadIdx.x) / 128;  // 2: the producer
  if (consumer == 2) {
    release_registers<40>();
    if (threadIdx.x == 256) fill_stages(block, work, w_map, h_map);
  } else {
    claim_registers<232>();
    multiply_units<T>(block, work, out, consumer);
  }
  // A block must not go while the others of its cluster write to its memory or arrive at its barriers.
  if constexpr (cluster > 1) {
    __syncwarp();
    cluster_arrive();
    cluster_wait();
  }
#endif
}

/// `hidden` holds the terms of states one after another, Tuning::terms of them, and `scales` what theirs are.
template <class T, class Tuning>
void launch_softmax_wgmma(Execution<Cuda> stream, int multiprocessors, const MatrixView<const T, Cuda>& hidden,
                          const MatrixView<const T, Cuda>& w, const SoftmaxOutput& out, const float* scales = nullptr) {
  const auto tiles = [](Index extent, Index tile) { return static_cast<int>((extent + tile - 1) / tile); };
  const Index positions = hidden.extent(0) / Tuning::terms;
  const WgmmaWork work{static_cast<int>(positions), tiles(positions, Tuning::tile_t),
                       tiles(w.extent(0), Tuning::tile_v * Tuning::cluster), tiles(hidden.extent(1), 64), scales};
  const CUtensorMap w_map = tensor_map(w, Tuning::tile_v);
  const CUtensorMap h_map = tensor_map(hidden, Tuning::tile_t / Tuning::cluster);

  const int resident = multiprocessors / Tuning::cluster;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(Tuning::cluster), 1, 1};
  start(stream, "softmax_wgmma_kernel",
        {blocks(std::min(resident, work.t_tiles * work.v_groups) * Tuning::cluster), 384, Tuning::shared_bytes},
        attribute, 1, softmax_wgmma_kernel<T, Tuning>, w_map, h_map, work, out);
}

}  // namespace detail
}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
