// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "activation_trace/cuda/ops/softmax_entropy.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// The items that a step asks for, on the device.
struct Candidates {
  VectorView<const TokenId, Cuda> ids;  ///< rows of w; ids outside [0, V) are passed over
  /// How many of the ids count, in device memory; null: all. More than there are ids are none: a list that did not fit.
  const int* count = nullptr;
};

/// Elements of workspace that softmax_states needs for T positions and k candidates: 12 bytes per candidate
/// and split of 8 positions.
[[nodiscard]] inline Index candidate_workspace_size(Index positions, Index candidates) {
  return (positions + 7) / 8 * candidates;
}

/// Appends the T positions of `hidden` [T, d] to states[i], the state of item ids[i], for each candidate: the
/// rows of w [V, d] are gathered, and nothing else of w is read. The grid is fixed by ids.size(), so that
/// the call can be captured in a graph while `count` changes on the device; states beyond it stay as they are.
/// Columns must be contiguous; rows of 16-byte multiples are fast. Otherwise as the other softmax_states.
template <class T>
void softmax_states(Execution<Cuda> stream, MatrixView<T, Cuda> hidden,
                    std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                    const Candidates& candidates, VectorView<SoftmaxState, Cuda> states,
                    VectorView<SoftmaxState, Cuda> workspace);

namespace detail {

/// Where the state of a candidate lies.
enum class StateAt {
  place,  ///< states[i] for ids[i]
  id,     ///< states[ids[i]]
};

/// The candidates of a sequence, and its context.
struct CandidateList {
  const TokenId* ids;
  const int* count;  // null: all; more than `size` are none at all: somebody else's work
  Index size;
  StateAt at = StateAt::place;

  __device__ int used() const {
    if (count == nullptr) return static_cast<int>(size);
    return *count < 0 || *count > size ? 0 : *count;
  }
  __device__ Index state_index(Index candidate) const { return at == StateAt::id ? ids[candidate] : candidate; }
};

/// What tells the sequences of a batch apart: sequence z of a launch has these offsets, its own list and states. The
/// default is one sequence, whose positions are the rows of `hidden`.
struct CandidateBatch {
  const int* positions = nullptr;  // [B]: of each context, at most the rows of `hidden`
  Index hidden_bytes = 0;          // from one context to the next
  Index counts = 0;
  Index ids = 0;
  Index partials = 0;
  Index states = 0;

  __device__ void select(Index z, Index& rows, CandidateList& list) const {
    if (positions != nullptr) rows = positions[z];
    list.ids += z * ids;
    if (list.count != nullptr) list.count += z * counts;
  }
};

/// How a row's bytes may be read.
enum class RowAccess { chunks, elements };  // 16 bytes at a time, or one element

/// 16 bytes of a row, 0 beyond its end.
template <class T, RowAccess access>
__device__ uint4 load_chunk(const std::byte* row, Index byte, Index row_bytes) {
  if constexpr (access == RowAccess::chunks)
    return byte < row_bytes ? __ldg(reinterpret_cast<const uint4*>(row + byte)) : uint4{};
  T elements[16 / sizeof(T)] = {};
#pragma unroll
  for (int i = 0; i < static_cast<int>(16 / sizeof(T)); ++i) {
    const Index at = byte + i * static_cast<Index>(sizeof(T));
    if (at < row_bytes) elements[i] = *reinterpret_cast<const T*>(row + at);
  }
  uint4 chunk;
  memcpy(&chunk, elements, sizeof(chunk));
  return chunk;
}

/// Rows of one type, whose products are those of softmax_mma.cuh.
template <class T, RowAccess access>
struct PlainFactors {
  RowBytes hidden, w;
};

/// Rows of w and of hidden states by which a lane's operands come: 8 i + lane / 4 of each.
template <int v_tiles, int t_tiles>
struct LaneRows {
  const std::byte* w[2 * v_tiles];
  const std::byte* hidden[t_tiles];
};

/// acc += the products of a warp's share of d. Each lane takes 16 consecutive bytes of a row, which permutes the
/// columns of d alike on both sides and so changes no product.
template <int warps, class T, RowAccess access, int v_tiles, int t_tiles>
__device__ void multiply_candidates(const PlainFactors<T, access>& factors, const LaneRows<v_tiles, t_tiles>& rows,
                                    float (&acc)[v_tiles][t_tiles][4]) {
  const Index row_bytes = factors.w.row_bytes;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  // All loads of a batch are under way before the first is used: 10.2 instead of 16.6 us for 16 candidates at
  // T = 512, d = 4096 on an H100, with twice the warps. Batches of 8 were no faster.
  constexpr int loads = t_tiles == 1 && sizeof(T) == 2 ? 4 : 2;  // f32 needs the registers for its splits
  for (Index first = warp * 64 + lane % 4 * 16; first - lane % 4 * 16 < row_bytes; first += loads * warps * 64) {
    uint4 a[loads][2 * v_tiles];
    uint4 b[loads][t_tiles];
#pragma unroll
    for (int x = 0; x < loads; ++x) {
      const Index byte = first + x * warps * 64;
#pragma unroll
      for (int i = 0; i < 2 * v_tiles; ++i) a[x][i] = load_chunk<T, access>(rows.w[i], byte, row_bytes);
#pragma unroll
      for (int i = 0; i < t_tiles; ++i) b[x][i] = load_chunk<T, access>(rows.hidden[i], byte, row_bytes);
    }
#pragma unroll
    for (int x = 0; x < loads; ++x)
#pragma unroll
      for (int v = 0; v < v_tiles; ++v) {
        const uint4& low = a[x][2 * v];
        const uint4& high = a[x][2 * v + 1];
        const std::uint32_t head[4] = {low.x, high.x, low.y, high.y};
        const std::uint32_t tail[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
        for (int t = 0; t < t_tiles; ++t) {
          const std::uint32_t b_head[2] = {b[x][t].x, b[x][t].y};
          const std::uint32_t b_tail[2] = {b[x][t].z, b[x][t].w};
          multiply(T{}, acc[v][t], head, b_head);
          multiply(T{}, acc[v][t], tail, b_tail);
        }
      }
  }
}

/// sums[0] becomes the sum of all warps' acc, [candidate][position].
template <int warps, int v_tiles, int t_tiles>
__device__ void sum_warps(const float (&acc)[v_tiles][t_tiles][4],
                          float (&sums)[warps][16 * v_tiles][8 * t_tiles + 1]) {
  constexpr int tile_t = 8 * t_tiles;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int v = 0; v < v_tiles; ++v)
#pragma unroll
    for (int t = 0; t < t_tiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sums[warp][16 * v + lane / 4 + i / 2 * 8][8 * t + lane % 4 * 2 + i % 2] = acc[v][t][i];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 16 * v_tiles * tile_t; i += 32 * warps) {
    float sum = 0.0f;
    for (int x = 0; x < warps; ++x) sum += sums[x][i / tile_t][i % tile_t];
    sums[0][i / tile_t][i % tile_t] = sum;
  }
  __syncthreads();
}

/// Logits of 16 v_tiles candidates at 8 t_tiles positions per block. The warps share out d in chunks of 64
/// bytes and read straight into the operands of mma. Latency is what counts here. Blocks stride over the groups of
/// candidates: a grid for few of them serves many.
template <class Factors, int v_tiles, int t_tiles, int warps>
__global__ void __launch_bounds__(32 * warps)
    softmax_candidates_kernel(Factors factors, CandidateList list, CandidateBatch batch, SoftmaxState* partials) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  ptx::launch_dependents();
  constexpr int tile_v = 16 * v_tiles;
  constexpr int tile_t = 8 * t_tiles;
  __shared__ float sums[warps][tile_v][tile_t + 1];
  batch.select(blockIdx.z, factors.hidden.rows, list);
  factors.hidden.data += blockIdx.z * batch.hidden_bytes;
  // 32 bits, and computed where they are used: with 64-bit places the large tiles spilled.
  const int used = list.used();
  const int rows = static_cast<int>(factors.hidden.rows);
  const int t0 = static_cast<int>(blockIdx.x) * tile_t;
  if (t0 >= rows) return;

  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int v0 = static_cast<int>(blockIdx.y) * tile_v; v0 < used; v0 += static_cast<int>(gridDim.y) * tile_v) {
    // Rows that do not exist are read as row 0 or the last one: their logits are not used.
    LaneRows<v_tiles, t_tiles> lane_rows;
#pragma unroll
    for (int i = 0; i < 2 * v_tiles; ++i) {
      const int candidate = v0 + 8 * i + lane / 4;
      const Index id = candidate < used ? list.ids[candidate] : 0;
      lane_rows.w[i] = factors.w.row(id >= 0 && id < factors.w.rows ? id : 0);
    }
#pragma unroll
    for (int i = 0; i < t_tiles; ++i) lane_rows.hidden[i] = factors.hidden.row(min(t0 + 8 * i + lane / 4, rows - 1));

    float acc[v_tiles][t_tiles][4] = {};
    multiply_candidates<warps>(factors, lane_rows, acc);
    sum_warps(acc, sums);
    const int candidate = v0 + static_cast<int>(threadIdx.x);
    if (threadIdx.x < tile_v && candidate < used) {
      SoftmaxState state;
      for (int t = 0; t < tile_t && t0 + t < rows; ++t) state.push(sums[0][threadIdx.x][t]);
      partials[blockIdx.z * batch.partials + static_cast<Index>(blockIdx.x) * list.size + candidate] = state;
    }
    // No barrier of the block here: sums[0] is read by the first warp and next written by it, the others by theirs.
    __syncwarp();
    static_assert(tile_v <= 32);
  }
#endif
}

/// Joins the partial states of each candidate onto its state, one warp per candidate: each lane a run of neighbouring
/// splits of `tile_t` positions, then the lanes as a tree. The order is fixed by the number of splits.
template <int warps>  // a template, so that each translation unit has its own
__global__ void __launch_bounds__(32 * warps)
    join_candidates_kernel(const SoftmaxState* partials, Index positions, int tile_t, CandidateList list,
                           CandidateBatch batch, Index rows, SoftmaxState* states) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  batch.select(blockIdx.z, positions, list);
  partials += blockIdx.z * batch.partials;
  states += blockIdx.z * batch.states;
  const Index splits = (positions + tile_t - 1) / tile_t;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Index run = (splits + 31) / 32;
  const Index used = list.used();
  const Index step = static_cast<Index>(gridDim.x) * warps;
  for (Index candidate = static_cast<Index>(blockIdx.x) * warps + threadIdx.x / 32; candidate < used;
       candidate += step) {
    if (list.ids[candidate] < 0 || list.ids[candidate] >= rows) continue;
    SoftmaxState state;
    for (Index s = lane * run; s < min((lane + 1) * run, splits); ++s) state.merge(partials[s * list.size + candidate]);
    state = join_lanes(state);
    if (lane != 0) continue;
    SoftmaxState joined = states[list.state_index(candidate)];
    joined.merge(state);
    states[list.state_index(candidate)] = joined.empty() ? SoftmaxState{} : joined;  // nobody's claim: SharpnessRows
  }
}

/// Both kernels for B sequences; `factors.hidden` is the longest context. With more candidates than 256 the grid
/// strides.
template <int v_tiles, int t_tiles, int warps, class Factors>
void join_candidates(Execution<Cuda> stream, const Factors& factors, const CandidateList& list,
                     const CandidateBatch& batch, Index sequences, SoftmaxState* partials, SoftmaxState* states) {
  const Index positions = factors.hidden.rows;
  const Index splits = (positions + 8 * t_tiles - 1) / (8 * t_tiles);
  const Index groups = (list.size + 16 * v_tiles - 1) / (16 * v_tiles);
  // Enough blocks for any device, and no more: those that find nothing to do are not free either.
  const Index in_grid = min(groups, max(Index{4}, 512 / splits));
  launch(stream, "softmax_candidates_kernel", {blocks(splits, in_grid, sequences), 32 * warps},
         softmax_candidates_kernel<Factors, v_tiles, t_tiles, warps>, factors, list, batch, partials);
  launch_dependent(stream, "join_candidates_kernel", {blocks(min((list.size + 3) / 4, Index{256}), 1, sequences), 128},
                   join_candidates_kernel<4>, partials, positions, 8 * t_tiles, list, batch, factors.w.rows, states);
}

template <class T, RowAccess access, int v_tiles, int t_tiles, int warps>
void launch_candidates(Execution<Cuda> stream, const RowBytes& hidden, const RowBytes& w, const CandidateList& list,
                       const CandidateBatch& batch, Index sequences, SoftmaxState* partials, SoftmaxState* states) {
  join_candidates<v_tiles, t_tiles, warps>(stream, PlainFactors<T, access>{hidden, w}, list, batch, sequences, partials,
                                           states);
}

/// How the rows of a matrix may be read.
template <class T>
[[nodiscard]] RowAccess row_access(const MatrixView<const T, Cuda>& m) {
  return aligned_rows<T>(m) && m.extent(1) * static_cast<Index>(sizeof(T)) % 16 == 0 ? RowAccess::chunks
                                                                                     : RowAccess::elements;
}

/// Whether this program holds the kernels for the device of `stream`.
template <class T>
[[nodiscard]] bool has_candidates(Execution<Cuda> stream) {
  return compiled_for_device(stream, &softmax_candidates_kernel<PlainFactors<T, RowAccess::chunks>, 1, 1, 16>);
}

/// What every softmax_states() of candidates asks of its arguments; w is [items, columns].
template <class T>
void check_candidates(const MatrixView<T, Cuda>& hidden, Index items, Index columns, const Candidates& candidates,
                      const VectorView<SoftmaxState, Cuda>& states, const VectorView<SoftmaxState, Cuda>& workspace) {
  const Index size = candidates.ids.size();
  check_output(candidates.ids, size, "ids");
  check_output(states, size, "states");
  check_product(hidden, items, columns);
  if (columns > 1 && hidden.stride(1) != 1) throw ShapeError("softmax: the columns of hidden and w must be contiguous");
  check_workspace(workspace, candidate_workspace_size(hidden.extent(0), size));
  if (size > Index{1} << 20) throw ShapeError("softmax: more than 2^20 candidates");
}

}  // namespace detail

template <class T>
void softmax_states(Execution<Cuda> stream, MatrixView<T, Cuda> hidden,
                    std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                    const Candidates& candidates, VectorView<SoftmaxState, Cuda> states,
                    VectorView<SoftmaxState, Cuda> workspace) {
  using Value = std::remove_const_t<T>;
  const Index size = candidates.ids.size();
  detail::check_candidates(hidden, w.extent(0), w.extent(1), candidates, states, workspace);
  if (w.extent(1) > 1 && w.stride(1) != 1) throw ShapeError("softmax: the columns of hidden and w must be contiguous");
  if (size == 0 || hidden.extent(0) == 0 || w.extent(0) == 0) return;
  if (!detail::has_candidates<Value>(stream))
    throw ArgumentError("softmax: candidates need a device and code for sm_80");
  const MatrixView<const Value, Cuda> rows = hidden;
  const detail::CandidateList list{candidates.ids.data(), candidates.count, size};
  const auto run = [&](auto launch) {
    launch(stream, detail::RowBytes(rows), detail::RowBytes(w), list, detail::CandidateBatch{}, 1, workspace.data(),
           states.data());
  };
  // Few candidates: many small blocks, for latency. Many: larger tiles read W and H less often.
  using detail::RowAccess;
  if (detail::row_access<Value>(rows) == RowAccess::elements || detail::row_access<Value>(w) == RowAccess::elements)
    run(detail::launch_candidates<Value, RowAccess::elements, 1, 1, 8>);
  else if (size <= 64)
    run(detail::launch_candidates<Value, RowAccess::chunks, 1, 1, 16>);
  else
    run(detail::launch_candidates<Value, RowAccess::chunks, 2, 4, 8>);
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
