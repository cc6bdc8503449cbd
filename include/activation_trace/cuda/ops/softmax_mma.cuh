// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/softmax_fold.cuh"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Tiling of the mma.sync kernel for sm_80 and later: 8 warps, 4 along the vocabulary and 2 along the positions.
struct MmaTuning {
  static constexpr int tile_v = 128;                           ///< rows of W in a tile
  static constexpr int tile_t = 128;                           ///< positions in a tile
  static constexpr int stages = 3;                             ///< tiles of 128 bytes of d in flight
  static constexpr int stage_bytes = (tile_v + tile_t) * 128;  ///< of shared memory
  static constexpr int terms = 1;                              ///< of a state, whose products are summed
};
/// The same for f32 states that are sums (state_terms.cuh): a tile of W meets one term after the other, and comes from
/// the L2 cache for all but the first.
template <int state_terms>
struct MmaTermsTuning : MmaTuning {
  static constexpr int terms = state_terms;  ///< of a state
};

namespace detail {

/// Rows of a matrix with contiguous columns and 16-byte aligned rows.
struct RowBytes {
  const std::byte* data;
  Index rows, row_bytes, stride_bytes;

  template <class T>
  explicit RowBytes(const MatrixView<const T, Cuda>& m)
      : data(reinterpret_cast<const std::byte*>(m.data())),
        rows(m.extent(0)),
        row_bytes(m.extent(1) * static_cast<Index>(sizeof(T))),
        stride_bytes(m.stride(0) * static_cast<Index>(sizeof(T))) {}

  [[nodiscard]] __device__ const std::byte* row(Index r) const { return data + r * stride_bytes; }
};

/// c[16 x 8] += a b^T over 32 bytes of k: 16 halves at once, or, below, 8 floats.
using ptx::multiply;
/// A float as head + tail of 11 bits each. What is not finite has no tail, and meets only heads: its product
/// with the tail 0 of a number like 1 would be NaN.
struct SplitFloat {
  std::uint32_t head, finite_head, tail;

  explicit __device__ SplitFloat(std::uint32_t x) {
    const bool finite = (x & 0x7f800000u) != 0x7f800000u;
    head = finite ? x & 0xffffe000u : x | (x & 0x1fffu) << 10;  // NaN stays NaN
    finite_head = finite ? head : 0u;
    tail = finite ? __float_as_uint(__uint_as_float(x) - __uint_as_float(head)) : 0u;
  }
};
/// Three tf32 products, small ones first, keep 21 bits of each factor; tf32 alone would be wrong by 3e-4. They
/// are summed from 0 and added to c by a rounded addition: the tensor core's own sum cuts off, and over 4096
/// columns that alone was 2e-4.
inline __device__ void multiply(float, float* c, const std::uint32_t* a, const std::uint32_t* b) {
  const SplitFloat a_split[4] = {SplitFloat(a[0]), SplitFloat(a[1]), SplitFloat(a[2]), SplitFloat(a[3])};
  const SplitFloat b_split[2] = {SplitFloat(b[0]), SplitFloat(b[1])};
  const std::uint32_t a_head[4] = {a_split[0].head, a_split[1].head, a_split[2].head, a_split[3].head};
  const std::uint32_t a_finite[4] = {a_split[0].finite_head, a_split[1].finite_head, a_split[2].finite_head,
                                     a_split[3].finite_head};
  const std::uint32_t a_tail[4] = {a_split[0].tail, a_split[1].tail, a_split[2].tail, a_split[3].tail};
  const std::uint32_t b_head[2] = {b_split[0].head, b_split[1].head};
  const std::uint32_t b_finite[2] = {b_split[0].finite_head, b_split[1].finite_head};
  const std::uint32_t b_tail[2] = {b_split[0].tail, b_split[1].tail};
  float part[4] = {};
  ptx::multiply_tf32(part, a_tail, b_finite);
  ptx::multiply_tf32(part, a_finite, b_tail);
  ptx::multiply_tf32(part, a_head, b_head);
#pragma unroll
  for (int i = 0; i < 4; ++i) c[i] += part[i];
}

/// What corrects a sum of products of T: added to it by a rounded addition, as above.
template <class T>
struct Correction {};
template <class T>
__device__ void multiply(Correction<T>, float* c, const std::uint32_t* a, const std::uint32_t* b) {
  float part[4] = {};
  ptx::multiply(T{}, part, a, b);
#pragma unroll
  for (int i = 0; i < 4; ++i) c[i] += part[i];
}

/// Place of 16-byte chunk `chunk` of row `row` in a tile with rows of 128 bytes: eight rows' chunks of one
/// column fall into different banks.
inline __device__ std::uint32_t swizzled(int row, int chunk) {
  return static_cast<std::uint32_t>(row * 128 + ((chunk ^ (row & 7)) << 4));
}

/// Where a warp's part of a tile lies: 4 warps along the vocabulary, 2 along the positions.
template <class Tuning>
struct WarpTile {
  static constexpr int warps_t = 2;
  static constexpr int rows = Tuning::tile_v / 4;           ///< of W
  static constexpr int columns = Tuning::tile_t / warps_t;  ///< positions
  static_assert(rows == 32 && columns % 16 == 0);

  int lane = static_cast<int>(threadIdx.x) % 32;
  int warp = static_cast<int>(threadIdx.x) / 32;
  int v = warp / warps_t * rows;
  int t = warp % warps_t * columns;
};

/// Begins to copy 128 bytes of `rows` rows from row `first` on to `target`, where this thread's first chunk goes: each
/// copies one 16-byte column of every 32nd row. What is not there becomes 0.
inline __device__ void fetch_rows(const RowBytes& m, Index first, int rows, int k_tile, std::uint32_t target) {
  const int row = static_cast<int>(threadIdx.x) / 8;
  const int chunk = static_cast<int>(threadIdx.x) % 8;
  const std::byte* source = m.data + (first + row) * m.stride_bytes + static_cast<Index>(k_tile) * 128 + chunk * 16;
  const int left = static_cast<int>(m.row_bytes) - k_tile * 128 - chunk * 16;
  const int bytes = left < 0 ? 0 : left < 16 ? left : 16;  // the rest of 16 becomes 0
#pragma unroll
  for (int i = 0; i < rows; i += 32) {
    const bool valid = bytes > 0 && first + row + i < m.rows;
    ptx::copy_async(target + static_cast<unsigned>(i) * 128, valid ? source : m.data, valid ? bytes : 0);
    source += 32 * m.stride_bytes;
  }
}

/// Adds the products of 128 bytes of d, which lie at `stage`, to a warp's part.
template <class T, class Tuning, int N>
__device__ void multiply_stage(std::uint32_t stage, const WarpTile<Tuning>& part, float (&acc)[2][N]) {
  // Splits of f32 and corrections take the registers that an unrolled loop would need: 8 bytes of spills on sm_80.
#pragma unroll(sizeof(T) == 2 ? 4 : 1)
  for (int k_chunk = 0; k_chunk < 8; k_chunk += 2) {
    std::uint32_t a[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m)
      ptx::load_matrices(a[m], stage + swizzled(part.v + m * 16 + part.lane % 16, k_chunk + part.lane / 16));
#pragma unroll
    for (int n = 0; n < N / 8; ++n) {
      std::uint32_t b[4];
      ptx::load_matrices(b, stage + swizzled(Tuning::tile_v + part.t + n * 16 + part.lane / 16 * 8 + part.lane % 8,
                                             k_chunk + part.lane / 8 % 2));
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        multiply(T{}, &acc[m][8 * n], a[m], b);
        multiply(T{}, &acc[m][8 * n + 4], a[m], b + 2);
      }
    }
  }
}

/// The same of a term of the states: the first, or one that corrects it.
template <class T, class Tuning, int N>
__device__ void multiply_term(std::uint32_t stage, const WarpTile<Tuning>& part, int term, float (&acc)[2][N]) {
  if constexpr (Tuning::terms > 1)
    if (term != 0) {
      multiply_stage<Correction<T>>(stage, part, acc);
      return;
    }
  multiply_stage<T>(stage, part, acc);
}

/// Blocks on a multiprocessor, which share its registers: two where two have the shared memory, 228 KiB. sm_80 has 164,
/// the others 100. Corrections and the split of f32 need the registers of both.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ < 900 || __CUDA_ARCH__ >= 1200)
inline constexpr int mma_blocks_by_memory = 1;
#else
inline constexpr int mma_blocks_by_memory = 2;
#endif
template <class T, class Tuning>
inline constexpr int mma_blocks = sizeof(T) == 4 || Tuning::terms > 1 ? 1 : mma_blocks_by_memory;

/// One tile of S^T = W H^T per block, folded in registers. mma.sync m16n8k16 fed by cp.async and ldmatrix.
template <class T, class Tuning>
__global__ void __launch_bounds__(256, mma_blocks<T, Tuning>)
    softmax_mma_kernel(RowBytes hidden, RowBytes w, int t_tiles, SoftmaxOutput out, const float* scales) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Part = WarpTile<Tuning>;
  // Static, so that the host can tell this body from the empty one of older architectures by its size.
  __shared__ SoftmaxState parts[Part::warps_t][Tuning::tile_v];
  static_assert(sizeof(parts) + Tuning::stages * Tuning::stage_bytes <= 99 << 10,
                "what a block has on sm_86 to sm_120");
  const std::uint32_t base = ptx::shared_address(ptx::dynamic_shared());
  const Part part;
  const int t_tile = static_cast<int>(blockIdx.x) % t_tiles;
  const Index v0 = static_cast<Index>(blockIdx.x) / t_tiles * Tuning::tile_v;
  const Index t0 = static_cast<Index>(t_tile) * Tuning::tile_t;
  constexpr int terms = Tuning::terms;
  const Index positions = hidden.rows / terms;
  const int k_tiles = static_cast<int>((w.row_bytes + 127) / 128) * terms;
  const std::uint32_t place = swizzled(static_cast<int>(threadIdx.x) / 8, static_cast<int>(threadIdx.x) % 8);
  const auto fetch = [&](int k_tile) {
    const std::uint32_t target =
        base + static_cast<std::uint32_t>(k_tile % Tuning::stages * Tuning::stage_bytes) + place;
    fetch_rows(w, v0, Tuning::tile_v, k_tile / terms, target);
    fetch_rows(hidden, k_tile % terms * positions + t0, Tuning::tile_t, k_tile / terms, target + Tuning::tile_v * 128);
  };

  float acc[2][Part::columns / 2] = {};
  for (int s = 0; s < Tuning::stages - 1; ++s) {
    if (s < k_tiles) fetch(s);
    ptx::commit_copies();
  }
  for (int k = 0; k < k_tiles; ++k) {
    ptx::wait_copies<Tuning::stages - 2>();
    __syncthreads();  // tile k is there, and everyone has left tile k - 1, whose place is filled next
    if (k + Tuning::stages - 1 < k_tiles) fetch(k + Tuning::stages - 1);
    ptx::commit_copies();
    multiply_term<T>(base + static_cast<std::uint32_t>(k % Tuning::stages * Tuning::stage_bytes), part, k % terms, acc);
  }

  const Index columns = positions - t0 - part.t;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    if constexpr (terms > 1)
      if (scales != nullptr)
        scale_columns(acc[m], part.lane, scales, static_cast<int>(t0) + part.t, static_cast<int>(positions));
    if (columns < Part::columns) mask_columns(acc[m], part.lane, 0, static_cast<int>(columns));
    SoftmaxState states[2];
    fold_rows(acc[m], states);
    if (part.lane % 4 == 0)
      for (int r = 0; r < 2; ++r) parts[part.warp % Part::warps_t][part.v + m * 16 + r * 8 + part.lane / 4] = states[r];
  }
  __syncthreads();
  const Index item = v0 + threadIdx.x;
  if (threadIdx.x >= Tuning::tile_v || item >= out.rows) return;
  SoftmaxState state;
  for (int t = 0; t < Part::warps_t; ++t) state.merge(parts[t][threadIdx.x]);
  store(out, t_tile, item, state);
#endif
}

/// `hidden` holds the terms of states one after another, Tuning::terms of them, and `scales` what theirs are.
template <class T, class Tuning>
void launch_softmax_mma(Execution<Cuda> stream, const MatrixView<const T, Cuda>& hidden,
                        const MatrixView<const T, Cuda>& w, const SoftmaxOutput& out, const float* scales = nullptr) {
  const Index t_tiles = (hidden.extent(0) / Tuning::terms + Tuning::tile_t - 1) / Tuning::tile_t;
  const Index v_tiles = (w.extent(0) + Tuning::tile_v - 1) / Tuning::tile_v;
  launch(stream, "softmax_mma_kernel", {blocks(t_tiles * v_tiles), 256, Tuning::stages * Tuning::stage_bytes},
         softmax_mma_kernel<T, Tuning>, RowBytes(hidden), RowBytes(w), static_cast<int>(t_tiles), out, scales);
}

}  // namespace detail
}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
