// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "activation_trace/cuda/softmax_entropy.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// The items that a step asks for, on the device.
struct Candidates {
  VectorView<const TokenId, Cuda> ids;  ///< rows of w; ids outside [0, V) are passed over
  const int* count = nullptr;           ///< how many of the ids count, in device memory; null: all of them
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
void softmax_states(StreamView stream, MatrixView<T, Cuda> hidden,
                    std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                    const Candidates& candidates, VectorView<SoftmaxState, Cuda> states,
                    VectorView<SoftmaxState, Cuda> workspace);

namespace detail {

struct CandidateList {
  const TokenId* ids;
  const int* count;
  Index size;
  __device__ Index used() const { return count == nullptr ? size : min(size, static_cast<Index>(max(0, *count))); }
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

/// Logits of 16 v_tiles candidates at 8 t_tiles positions per block. The warps share out d in chunks of 64
/// bytes and read straight into the operands of mma: each lane takes 16 consecutive bytes of a row, which
/// permutes the columns of d alike on both sides and so changes no product. Latency is what counts here.
template <class T, RowAccess access, int v_tiles, int t_tiles, int warps>
__global__ void __launch_bounds__(32 * warps)
    softmax_candidates_kernel(RowBytes hidden, RowBytes w, CandidateList list, SoftmaxState* partials) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
  constexpr int tile_v = 16 * v_tiles;
  constexpr int tile_t = 8 * t_tiles;
  __shared__ float sums[warps][tile_v][tile_t + 1];
  const Index used = list.used();
  const Index v0 = static_cast<Index>(blockIdx.y) * tile_v;
  if (v0 >= used) return;

  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const Index t0 = static_cast<Index>(blockIdx.x) * tile_t;
  // Rows that do not exist are read as row 0 or the last one: their logits are not used.
  const std::byte* w_rows[2 * v_tiles];
#pragma unroll
  for (int i = 0; i < 2 * v_tiles; ++i) {
    const Index candidate = v0 + 8 * i + lane / 4;
    const Index id = candidate < used ? list.ids[candidate] : 0;
    w_rows[i] = w.data + (id >= 0 && id < w.rows ? id : 0) * w.stride_bytes;
  }
  const std::byte* h_rows[t_tiles];
#pragma unroll
  for (int i = 0; i < t_tiles; ++i)
    h_rows[i] = hidden.data + min(t0 + 8 * i + lane / 4, hidden.rows - 1) * hidden.stride_bytes;

  float acc[v_tiles][t_tiles][4] = {};
  // All loads of a batch are under way before the first is used: 10.2 instead of 16.6 us for 16 candidates at
  // T = 512, d = 4096 on an H100, with twice the warps. Batches of 8 were no faster.
  constexpr int batch = t_tiles == 1 ? 4 : 2;
  for (Index first = warp * 64 + lane % 4 * 16; first - lane % 4 * 16 < w.row_bytes; first += batch * warps * 64) {
    uint4 a[batch][2 * v_tiles];
    uint4 b[batch][t_tiles];
#pragma unroll
    for (int x = 0; x < batch; ++x) {
      const Index byte = first + x * warps * 64;
#pragma unroll
      for (int i = 0; i < 2 * v_tiles; ++i) a[x][i] = load_chunk<T, access>(w_rows[i], byte, w.row_bytes);
#pragma unroll
      for (int i = 0; i < t_tiles; ++i) b[x][i] = load_chunk<T, access>(h_rows[i], byte, w.row_bytes);
    }
#pragma unroll
    for (int x = 0; x < batch; ++x)
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

#pragma unroll
  for (int v = 0; v < v_tiles; ++v)
#pragma unroll
    for (int t = 0; t < t_tiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sums[warp][16 * v + lane / 4 + i / 2 * 8][8 * t + lane % 4 * 2 + i % 2] = acc[v][t][i];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < tile_v * tile_t; i += 32 * warps) {
    float sum = 0.0f;
    for (int x = 0; x < warps; ++x) sum += sums[x][i / tile_t][i % tile_t];
    sums[0][i / tile_t][i % tile_t] = sum;
  }
  __syncthreads();
  const Index candidate = v0 + threadIdx.x;
  if (threadIdx.x >= tile_v || candidate >= used) return;
  SoftmaxState state;
  for (int t = 0; t < tile_t && t0 + t < hidden.rows; ++t) state.push(sums[0][threadIdx.x][t]);
  partials[static_cast<Index>(blockIdx.x) * list.size + candidate] = state;
#endif
}

/// Joins the partial states of each candidate onto its state, one warp per candidate: each lane a run of
/// neighbouring splits, then the lanes as a tree. The order is fixed by the number of splits.
template <int warps>  // a template, so that each translation unit has its own
__global__ void __launch_bounds__(32 * warps)
    join_candidates_kernel(const SoftmaxState* partials, Index splits, CandidateList list, Index rows,
                           SoftmaxState* states) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Index candidate = static_cast<Index>(blockIdx.x) * warps + threadIdx.x / 32;
  if (candidate >= list.used() || list.ids[candidate] < 0 || list.ids[candidate] >= rows) return;
  const Index run = (splits + 31) / 32;
  SoftmaxState state;
  for (Index s = lane * run; s < min((lane + 1) * run, splits); ++s) state.merge(partials[s * list.size + candidate]);
  state = join_lanes(state);
  if (lane != 0) return;
  SoftmaxState joined = states[candidate];
  joined.merge(state);
  states[candidate] = joined;
}

template <class T, RowAccess access, int v_tiles, int t_tiles, int warps>
void launch_candidates(StreamView stream, const MatrixView<const T, Cuda>& hidden, const MatrixView<const T, Cuda>& w,
                       const CandidateList& list, SoftmaxState* partials, SoftmaxState* states) {
  const Index splits = (hidden.extent(0) + 8 * t_tiles - 1) / (8 * t_tiles);
  const Index groups = (list.size + 16 * v_tiles - 1) / (16 * v_tiles);
  softmax_candidates_kernel<T, access, v_tiles, t_tiles, warps>
      <<<dim3(static_cast<unsigned>(splits), static_cast<unsigned>(groups)), 32 * warps, 0, stream.get()>>>(
          RowBytes(hidden), RowBytes(w), list, partials);
  check_launch("softmax_candidates_kernel");
  launch_dependent(stream, (list.size + 3) / 4, 128, join_candidates_kernel<4>,
                   static_cast<const SoftmaxState*>(partials), splits, list, w.extent(0), states);
}

}  // namespace detail

template <class T>
void softmax_states(StreamView stream, MatrixView<T, Cuda> hidden,
                    std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                    const Candidates& candidates, VectorView<SoftmaxState, Cuda> states,
                    VectorView<SoftmaxState, Cuda> workspace) {
  using Value = std::remove_const_t<T>;
  const Index size = candidates.ids.size();
  detail::check_output(candidates.ids, size, "ids");
  detail::check_output(states, size, "states");
  detail::check_product(hidden, w);
  if ((hidden.extent(1) > 1 && hidden.stride(1) != 1) || (w.extent(1) > 1 && w.stride(1) != 1))
    throw ShapeError("softmax: the columns of hidden and w must be contiguous");
  const Index needed = candidate_workspace_size(hidden.extent(0), size);
  if (workspace.size() < needed || !workspace.contiguous())
    throw ShapeError("softmax: workspace must hold " + std::to_string(needed) + " states, got " +
                     std::to_string(workspace.size()));
  if (size > Index{1} << 20) throw ShapeError("softmax: more than 2^20 candidates");
  if (size == 0 || hidden.extent(0) == 0 || w.extent(0) == 0) return;
  if (!detail::compiled_for_device(&detail::softmax_candidates_kernel<Value, detail::RowAccess::chunks, 1, 1, 16>))
    throw ArgumentError("softmax: candidates need a device and code for sm_80");
  const detail::CandidateList list{candidates.ids.data(), candidates.count, size};
  const auto launch = [&](auto run) { run(stream, hidden, w, list, workspace.data(), states.data()); };
  const bool chunks = detail::aligned_rows<Value>(hidden) && detail::aligned_rows<Value>(w) &&
                      w.extent(1) * static_cast<Index>(sizeof(Value)) % 16 == 0;
  // Few candidates: many small blocks, for latency. Many: larger tiles read W and H less often.
  if (!chunks)
    launch(detail::launch_candidates<Value, detail::RowAccess::elements, 1, 1, 8>);
  else if (size <= 64)
    launch(detail::launch_candidates<Value, detail::RowAccess::chunks, 1, 1, 16>);
  else
    launch(detail::launch_candidates<Value, detail::RowAccess::chunks, 2, 4, 8>);
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
