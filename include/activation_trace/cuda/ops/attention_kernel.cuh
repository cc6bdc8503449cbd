// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/step_rows.cuh"
#include "activation_trace/cuda/ops/widen.cuh"
#include "activation_trace/tensor/view.hpp"

// Attention in f32, softmax on the way (numerics/README.md): for ops/attention.cuh. Positions are cut at multiples of
// attention_split, counted from the sequence's first, and what each cut leaves of a query, its maximum, sum and
// weighted values, is joined in order: by the block that made them, or from memory where blocks share the positions. So
// a query's bits are the same however its work is dealt out.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

constexpr int attention_warps = 4;
constexpr int attention_rows = 4;                 ///< of a warp, where there are many
constexpr int attention_chunk = 32;               ///< positions that are in shared memory at once: one for each lane
constexpr int attention_split = 256;              ///< a multiple of the chunk
constexpr int most_head_elements = 256;           ///< eight for each lane
constexpr std::size_t most_attention_parts = 16;  ///< of a launch
constexpr Index most_attention_partials = Index{1} << 24;  ///< floats; beyond 64 MiB there are rows enough without

/// [positions, heads, D], whose D elements have no gaps.
template <class T>
struct HeadRows {
  T* data;
  Index row;   ///< from position to position
  Index head;  ///< from head to head

  HeadRows() = default;
  template <class U>
  explicit HeadRows(const TensorView<U, 3, Cuda>& x) : data(x.data()), row(x.stride(0)), head(x.stride(1)) {}
  [[nodiscard]] __device__ T* at(int i, int h) const { return data + i * row + h * head; }
};
template <class T>
HeadRows(const TensorView<T, 3, Cuda>&) -> HeadRows<T>;

/// One sequence. Row r of kv head g is query r / sharing in head g * sharing + r % sharing.
template <class T>
struct AttentionSequence {
  HeadRows<const float> q;
  HeadRows<const T> k, v;
  HeadRows<float> out;
  int queries;
  int positions;
  Index first_row;      ///< number of its first row among all of the launch, [kv heads, rows]
  const StepRow* step;  ///< after which there are no positions, of those given; or null

  [[nodiscard]] __device__ int end() const { return step == nullptr ? positions : step->position + 1; }
};

template <class T>
struct AttentionWork {
  AttentionSequence<T> parts[most_attention_parts];
  int D;
  int sharing;
  float scale;
  float soft_cap;   ///< 0: none
  int window;       ///< 0: all
  bool wide;        ///< D and all rows are of whole fours of elements
  int shares;       ///< blocks that share the positions of a tile: 1 or one for each split of the longest sequence
  float* partials;  ///< [rows, shares, D + 2] if they do: maximum, sum, values

  /// Positions that row r sees: [begin, end).
  struct Seen {
    int begin, end;
  };
  [[nodiscard]] __device__ Seen seen(const AttentionSequence<T>& part, int r) const {
    const int end = part.end() - part.queries + r / sharing + 1;
    return {window == 0 || window > end ? 0 : end - window, end};
  }
  [[nodiscard]] __device__ float* partial(const AttentionSequence<T>& part, int g, int r, int share) const {
    const Index row = part.first_row + Index{g} * part.queries * sharing + r;
    return partials + (row * shares + share) * (D + 2);
  }
};

/// What a block has to do: a tile of rows of one kv head and sequence, the last ones, which see the most, in the first
/// blocks; and all splits of their positions, or one.
template <class T>
struct AttentionBlock {
  int g = static_cast<int>(blockIdx.y);
  int first, all_rows;  ///< of its rows, and how many there are
  int begin, end;       ///< positions that any of its rows sees
  int share;
  int first_split, last_split;

  __device__ AttentionBlock(const AttentionWork<T>& work, int tile_rows)
      : first((static_cast<int>(gridDim.x - blockIdx.x) - 1) / work.shares * tile_rows),
        all_rows(work.parts[blockIdx.z].queries * work.sharing),
        begin(work.seen(work.parts[blockIdx.z], first).begin),
        end(work.seen(work.parts[blockIdx.z], min(first + tile_rows, all_rows) - 1).end),
        share(static_cast<int>(blockIdx.x) % work.shares),
        first_split(begin / attention_split),
        last_split((end - 1) / attention_split) {
    if (work.shares == 1) return;
    first_split = max(first_split, share);
    last_split = min(last_split, share);
  }

  [[nodiscard]] __device__ bool is_empty() const { return first >= all_rows || first_split > last_split; }
  [[nodiscard]] __device__ int chunk_begin(int split) const {
    return max(split * attention_split, begin / attention_chunk * attention_chunk);
  }
  [[nodiscard]] __device__ int split_end(int split) const { return min((split + 1) * attention_split, end); }
  template <class U>
  [[nodiscard]] __device__ U* row_of(const AttentionWork<T>& work, const HeadRows<U>& x, int row) const {
    return x.at(row / work.sharing, g * work.sharing + row % work.sharing);
  }
  /// The query of row i of the tile, null if there is none.
  [[nodiscard]] __device__ const float* query(const AttentionWork<T>& work, const AttentionSequence<T>& part,
                                              int i) const {
    return first + i < all_rows ? row_of(work, part.q, first + i) : nullptr;
  }
};

/// Floats between rows of keys in shared memory: 16-byte loads of eight lanes meet different banks.
[[nodiscard]] inline __host__ __device__ int attention_key_stride(int D) { return (D + 3) / 4 * 4 + 4; }

/// What positions leave of a row: the lane's share of the values, columns lane, lane + 32, ...
template <int columns>
struct AttentionState {
  float max = -INFINITY;
  float sum = 0;
  float values[columns] = {};
};

/// Factors of what was and of what joins it.
struct JoinFactors {
  float before, joined;
};
__device__ inline JoinFactors join_factors(float& max, float& sum, float joined_max, float joined_sum) {
  const float larger = fmaxf(max, joined_max);
  const JoinFactors factors{expf(max - larger), expf(joined_max - larger)};
  max = larger;
  sum = fmaf(sum, factors.before, joined_sum * factors.joined);
  return factors;
}

__device__ inline float lanes_max(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
  return x;
}
__device__ inline float lanes_sum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

/// A block's shared memory: queries, a chunk of keys and values, and the weights of each row. Rows are whole float4,
/// zeros behind their D elements.
struct AttentionTile {
  float* queries;
  float* keys;
  float* values;
  float* weights;
  int stride;
  int D;

  __device__ AttentionTile(int rows, int head_elements)
      : queries(reinterpret_cast<float*>(ptx::dynamic_shared())),
        stride(attention_key_stride(head_elements)),
        D(head_elements) {
    keys = queries + rows * stride;
    values = keys + attention_chunk * stride;
    weights = values + attention_chunk * stride;
  }

  /// Row i of `target` becomes source(i), or zeros where that is null; by the whole block.
  template <class Source>
  __device__ void fill(float* target, int rows, const Source& source) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int i = static_cast<int>(threadIdx.x) / 32; i < rows; i += attention_warps) {
      const auto* const from = source(i);
      for (int c = lane; c < stride; c += 32) target[i * stride + c] = from != nullptr && c < D ? widen(from[c]) : 0.0f;
    }
  }
};

/// scores[r] = q k of the warp's row r and the lane's position of the chunk.
template <int rows>
__device__ void multiply_keys(const AttentionTile& tile, float (&scores)[rows]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll 2
  for (int c = 0; c < tile.D; c += 4) {
    const float4 k = *reinterpret_cast<const float4*>(tile.keys + lane * tile.stride + c);
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      const float4 q = *reinterpret_cast<const float4*>(tile.queries + (warp + r * attention_warps) * tile.stride + c);
      scores[r] = fmaf(q.x, k.x, scores[r]);
      scores[r] = fmaf(q.y, k.y, scores[r]);
      scores[r] = fmaf(q.z, k.z, scores[r]);
      scores[r] = fmaf(q.w, k.w, scores[r]);
    }
  }
}

/// states[r].values += weights of the chunk's positions times their values, where row r sees any.
template <int rows, int columns>
__device__ void add_values(const AttentionTile& tile, const float* weights, const bool (&sees)[rows],
                           AttentionState<columns> (&states)[rows]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1  // of a few registers
  for (int j = 0; j < attention_chunk; j += 4) {
    float v[4][columns];
#pragma unroll
    for (int jj = 0; jj < 4; ++jj)
#pragma unroll
      for (int i = 0; i < columns; ++i)
        v[jj][i] = lane + 32 * i < tile.D ? tile.values[(j + jj) * tile.stride + lane + 32 * i] : 0.0f;
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      if (!sees[r]) continue;
      const float4 w = *reinterpret_cast<const float4*>(weights + r * attention_chunk + j);
#pragma unroll
      for (int i = 0; i < columns; ++i) {
        float& sum = states[r].values[i];
        sum = fmaf(w.x, v[0][i], sum);
        sum = fmaf(w.y, v[1][i], sum);
        sum = fmaf(w.z, v[2][i], sum);
        sum = fmaf(w.w, v[3][i], sum);
      }
    }
  }
}

/// Folds the chunk of positions from `begin` on, which is in shared memory, into the warp's rows, which are
/// attention_warps apart.
template <int rows, int columns, class T>
__device__ void fold_chunk(const AttentionWork<T>& work, const AttentionTile& tile, int begin,
                           const typename AttentionWork<T>::Seen (&seen)[rows],
                           AttentionState<columns> (&states)[rows]) {
  float scores[rows] = {};
  multiply_keys<rows>(tile, scores);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float* const weights = tile.weights + static_cast<int>(threadIdx.x) / 32 * rows * attention_chunk;
  const int position = begin + lane;
  bool sees[rows];  // any position of the chunk: the same in all lanes
#pragma unroll
  for (int r = 0; r < rows; ++r) {
    sees[r] = seen[r].begin < begin + attention_chunk && seen[r].end > begin;
    if (!sees[r]) continue;
    AttentionState<columns>& state = states[r];
    float score = scores[r] * work.scale;
    if (work.soft_cap != 0) score = work.soft_cap * tanhf(score / work.soft_cap);
    const bool visible = position >= seen[r].begin && position < seen[r].end;
    const float max = fmaxf(state.max, lanes_max(visible ? score : -INFINITY));
    const float factor = expf(state.max - max);
    const float weight = visible ? expf(score - max) : 0.0f;
    state.max = max;
    state.sum = fmaf(state.sum, factor, weight);  // of this lane's positions
#pragma unroll
    for (int i = 0; i < columns; ++i) state.values[i] *= factor;
    weights[r * attention_chunk + lane] = weight;
  }
  __syncwarp();
  add_values<rows, columns>(tile, weights, sees, states);
}

/// What a split leaves of a row joins what came before it, or is left to join_attention_kernel.
template <int columns>
__device__ void join_split(AttentionState<columns>& whole, const AttentionState<columns>& split, float* partial,
                           int D) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float sum = lanes_sum(split.sum);
  if (partial == nullptr) {
    const JoinFactors factors = join_factors(whole.max, whole.sum, split.max, sum);
#pragma unroll
    for (int i = 0; i < columns; ++i)
      whole.values[i] = fmaf(whole.values[i], factors.before, split.values[i] * factors.joined);
    return;
  }
  if (lane == 0) partial[0] = split.max;
  if (lane == 0) partial[1] = sum;
#pragma unroll
  for (int i = 0; i < columns; ++i)
    if (lane + 32 * i < D) partial[2 + lane + 32 * i] = split.values[i];
}

template <int columns>
__device__ void write_row(const AttentionState<columns>& state, float* out, int D) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < columns; ++i)
    if (lane + 32 * i < D) out[lane + 32 * i] = state.values[i] / state.sum;
}

/// A block has a tile of rows of one kv head and sequence, `rows` for each warp, and all their positions or a split.
/// Launch bounds: with the registers that it gets otherwise it spills.
template <class T, int rows, int columns>
__global__ void __launch_bounds__(32 * attention_warps, 1)
    attention_kernel(const __grid_constant__ AttentionWork<T> work) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const AttentionBlock<T> block(work, rows * attention_warps);
  if (block.is_empty()) return;
  const AttentionSequence<T>& part = work.parts[blockIdx.z];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const AttentionTile tile(rows * attention_warps, work.D);
  tile.fill(tile.queries, rows * attention_warps, [&](int i) { return block.query(work, part, i); });
  typename AttentionWork<T>::Seen seen[rows];
#pragma unroll
  for (int r = 0; r < rows; ++r) {
    const int row = block.first + warp + r * attention_warps;
    seen[r] = row < block.all_rows ? work.seen(part, row) : typename AttentionWork<T>::Seen{0, 0};
  }
  AttentionState<columns> whole[rows];
  for (int split = block.first_split; split <= block.last_split; ++split) {
    AttentionState<columns> states[rows];
    for (int chunk = block.chunk_begin(split); chunk < block.split_end(split); chunk += attention_chunk) {
      __syncthreads();  // the chunk before is done with
      tile.fill(tile.keys, attention_chunk,
                [&](int j) { return chunk + j < block.end ? part.k.at(chunk + j, block.g) : nullptr; });
      tile.fill(tile.values, attention_chunk,
                [&](int j) { return chunk + j < block.end ? part.v.at(chunk + j, block.g) : nullptr; });
      __syncthreads();
      fold_chunk<rows, columns>(work, tile, chunk, seen, states);
    }
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      if (seen[r].begin >= (split + 1) * attention_split || seen[r].end <= split * attention_split) continue;
      const int row = block.first + warp + r * attention_warps;
      join_split<columns>(whole[r], states[r],
                          work.shares > 1 ? work.partial(part, block.g, row, block.share) : nullptr, work.D);
    }
  }
  if (work.shares > 1) return;
#pragma unroll
  for (int r = 0; r < rows; ++r)
    if (const int row = block.first + warp + r * attention_warps; row < block.all_rows)
      write_row(whole[r], block.row_of(work, part.out, row), work.D);
}

/// A warp per row joins what the shares left, in order, as the kernel above does.
template <class T, int warps>
__global__ void __launch_bounds__(32 * warps) join_attention_kernel(const __grid_constant__ AttentionWork<T> work) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const AttentionSequence<T>& part = work.parts[blockIdx.z];
  const int g = static_cast<int>(blockIdx.y);
  const int row = static_cast<int>(blockIdx.x * warps + threadIdx.x / 32);
  if (row >= part.queries * work.sharing) return;
  const typename AttentionWork<T>::Seen seen = work.seen(part, row);
  const int last = (seen.end - 1) / attention_split;
  float* const out = part.out.at(row / work.sharing, g * work.sharing + row % work.sharing);
  for (int column = static_cast<int>(threadIdx.x) % 32; column < work.D; column += 32) {
    AttentionState<1> whole;
    for (int share = seen.begin / attention_split; share <= last; ++share) {
      const float* const partial = work.partial(part, g, row, share);
      const JoinFactors factors = join_factors(whole.max, whole.sum, partial[0], partial[1]);
      whole.values[0] = fmaf(whole.values[0], factors.before, partial[2 + column] * factors.joined);
    }
    out[column] = whole.values[0] / whole.sum;
  }
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
