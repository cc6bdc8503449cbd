// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/attention_kernel.cuh"
#include "activation_trace/cuda/ops/softmax_fold.cuh"
#include "activation_trace/tensor/half.hpp"

// Attention of many queries: both products on tensor cores, of floats of two terms, in the tiles of FlashAttention-2
// (Dao, 2023). Positions are cut and joined as in attention_kernel.cuh. A warp has 16 rows, and each of its products is
// of a row and a position, or of a row and a column: what a row gives does not depend on the others of its tile.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

constexpr int attention_tile_rows = 16 * attention_warps;

/// A float as two of 11 bits, the first rounded: together they are off by less than 2^-22 of it.
struct TwoTerms {
  std::uint32_t head, tail;

  explicit __device__ TwoTerms(float x) {
    head = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
    tail = __float_as_uint(x - __uint_as_float(head));
  }
};

/// The share of a 16 x 8 operand of two terms.
struct TileOperand {
  std::uint32_t head[4], tail[4];

  explicit __device__ TileOperand(const float (&x)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const TwoTerms terms(x[i]);
      head[i] = terms.head;
      tail[i] = terms.tail;
    }
  }
};

/// c[16 x 8] += a[16 x 8] b[8 x 8]^T by one warp. `b` was stored as T: halves are one term. Summed from 0, small terms
/// first, and added by a rounded addition: the tensor core's own sum cuts off (softmax_mma.cuh).
template <class T>
__device__ void multiply_terms(float (&c)[4], const TileOperand& a, float b0, float b1) {
  float part[4] = {};
  if constexpr (std::is_same_v<T, Half>) {
    const std::uint32_t b[2] = {__float_as_uint(b0), __float_as_uint(b1)};
    ptx::multiply_tf32(part, a.tail, b);
    ptx::multiply_tf32(part, a.head, b);
  } else {
    const TwoTerms terms[2] = {TwoTerms(b0), TwoTerms(b1)};
    const std::uint32_t head[2] = {terms[0].head, terms[1].head};
    const std::uint32_t tail[2] = {terms[0].tail, terms[1].tail};
    ptx::multiply_tf32(part, a.tail, head);
    ptx::multiply_tf32(part, a.head, tail);
    ptx::multiply_tf32(part, a.head, head);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) c[i] += part[i];
}

/// Floats between rows in shared memory, zeros behind their D elements: 4 behind a multiple of 16, so that eight rows'
/// 16 bytes of one column, and the elements of a column of values, lie in different banks.
[[nodiscard]] constexpr __host__ __device__ int attention_tile_stride(int D) { return (D + 15) / 16 * 16 + 4; }
[[nodiscard]] constexpr __host__ __device__ int attention_tile_bytes(int D) {
  return (attention_tile_rows + attention_chunk) * attention_tile_stride(D) * static_cast<int>(sizeof(float));
}
static_assert(attention_tile_bytes(most_head_elements) <= 99 << 10, "what a block has on sm_86 to sm_120");

/// A block's shared memory, queries and a chunk of keys, then of values; and the lane's place in its warp's 16 rows.
struct AttentionTiles {
  int D;
  int width = (D + 15) / 16 * 16;  ///< elements of a row that are multiplied
  int stride = attention_tile_stride(D);
  int lane = static_cast<int>(threadIdx.x) % 32;
  int warp = static_cast<int>(threadIdx.x) / 32;
  float* queries = reinterpret_cast<float*>(ptx::dynamic_shared());
  float* chunk = queries + attention_tile_rows * stride;

  explicit __device__ AttentionTiles(int head_elements) : D(head_elements) {}

  /// Row i of `target` becomes source(i), or zeros where that is null; by the whole block, eight threads a row. `wide`:
  /// rows are read by fours of elements. Several are under way before the first is stored.
  template <int rows, class Source>
  __device__ void fill(float* target, bool wide, const Source& source) const {
    constexpr int apart = 32 * attention_warps / 8;
    static_assert(rows % apart == 0);
    const int row = static_cast<int>(threadIdx.x) / 8;
#pragma unroll 1
    for (int c = static_cast<int>(threadIdx.x) % 8 * 4; c < width; c += 64) {
      float4 y[2][rows / apart];
#pragma unroll
      for (int r = 0; r < rows / apart; ++r) {
        const auto* const from = source(row + r * apart);
        y[0][r] = four(from, c, wide);
        y[1][r] = four(from, c + 32, wide);
      }
#pragma unroll
      for (int r = 0; r < rows / apart; ++r) {
        float* const to = target + (row + r * apart) * stride + c;
        *reinterpret_cast<float4*>(to) = y[0][r];
        if (c + 32 < width) *reinterpret_cast<float4*>(to + 32) = y[1][r];
      }
    }
  }

  /// Where ldmatrix finds this lane's row of two 8 x 4 matrices side by side, and two more eight rows below: the
  /// operand of 16 rows; of the warp's queries, or, in turns, of 16 positions.
  [[nodiscard]] __device__ std::uint32_t query_address() const {
    return ptx::shared_address(queries + (16 * warp + lane % 16) * stride + lane / 16 * 4);
  }
  [[nodiscard]] __device__ std::uint32_t key_address() const {
    return ptx::shared_address(chunk + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 4);
  }

 private:
  template <class T>
  __device__ float4 four(const T* row, int c, bool wide) const {
    if (row == nullptr || c >= D) return {};
    if (wide) return four(row + c);
    return {widen(row[c]), c + 1 < D ? widen(row[c + 1]) : 0.0f, c + 2 < D ? widen(row[c + 2]) : 0.0f,
            c + 3 < D ? widen(row[c + 3]) : 0.0f};
  }
  static __device__ float4 four(const float* from) { return *reinterpret_cast<const float4*>(from); }
  static __device__ float4 four(const Half* from) {
    const uint2 bits = *reinterpret_cast<const uint2*>(from);
    const auto half = [](std::uint32_t word) {
      Half x;
      x.bits = static_cast<std::uint16_t>(word);
      return widen(x);
    };
    return {half(bits.x), half(bits.x >> 16), half(bits.y), half(bits.y >> 16)};
  }
};

/// scores[i] += q k of the warp's rows and positions 8 i to 8 i + 7 of the chunk.
template <class T, int eights>
__device__ void multiply_tile_keys(const AttentionTiles& tiles, float (&scores)[eights][4]) {
  std::uint32_t q_at = tiles.query_address();
  std::uint32_t k_at = tiles.key_address();
#pragma unroll 2
  for (int c = 0; c < tiles.width; c += 8, q_at += 32, k_at += 32) {
    std::uint32_t bits[4];
    ptx::load_matrices(bits, q_at);
    const TileOperand q(
        {__uint_as_float(bits[0]), __uint_as_float(bits[1]), __uint_as_float(bits[2]), __uint_as_float(bits[3])});
#pragma unroll
    for (int i = 0; i < eights; i += 2) {
      ptx::load_matrices(bits, k_at + static_cast<std::uint32_t>(32 * i * tiles.stride));
      multiply_terms<T>(scores[i], q, __uint_as_float(bits[0]), __uint_as_float(bits[1]));
      multiply_terms<T>(scores[i + 1], q, __uint_as_float(bits[2]), __uint_as_float(bits[3]));
    }
  }
}

/// What a split's positions leave of the lane's two rows, lane / 4 and 8 below: its share of their values, columns
/// 8 i + lane % 4 * 2 and the next, and of their sums.
template <int octets>
struct TileState {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};
  float values[octets][4] = {};
};

/// The scores of the positions from `begin` on become their weights, 0 where a row does not see them.
template <class T, int octets, int eights>
__device__ void weigh_tile(const AttentionWork<T>& work, int begin, const typename AttentionWork<T>::Seen (&seen)[2],
                           float (&scores)[eights][4], TileState<octets>& state) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4 * eights; ++i) scores[i / 4][i % 4] *= work.scale;
  if (work.soft_cap != 0) {
#pragma unroll
    for (int i = 0; i < 4 * eights; ++i)
      scores[i / 4][i % 4] = work.soft_cap * tanhf(scores[i / 4][i % 4] / work.soft_cap);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float largest = -INFINITY;
#pragma unroll
    for (int i = 0; i < 2 * eights; ++i) {
      float& score = scores[i / 2][2 * h + i % 2];
      const int position = begin + i / 2 * 8 + column + i % 2;
      if (position < seen[h].begin || position >= seen[h].end) score = -INFINITY;
      largest = fmaxf(largest, score);
    }
    const float max = fmaxf(state.max[h], quad_max(largest));
    const float base = max == -INFINITY ? 0.0f : max;  // of a row that has seen nothing yet
    const float factor = expf(state.max[h] - base);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 2 * eights; ++i) {
      float& score = scores[i / 2][2 * h + i % 2];
      score = expf(score - base);
      sum += score;
    }
    state.max[h] = max;
    state.sum[h] = fmaf(state.sum[h], factor, sum);
#pragma unroll
    for (int o = 0; o < octets; ++o) {
      state.values[o][2 * h] *= factor;
      state.values[o][2 * h + 1] *= factor;
    }
  }
}

/// state.values += weights times the chunk's values. A lane's weights are of positions lane % 4 * 2 and the next of
/// each eight, and an operand's of lane % 4 and lane % 4 + 4: the product's positions are taken in the order that fits.
template <class T, int octets, int eights>
__device__ void multiply_tile_values(const AttentionTiles& tiles, const float (&weights)[eights][4],
                                     TileState<octets>& state) {
  const float* const values = tiles.chunk + tiles.lane % 4 * 2 * tiles.stride + tiles.lane / 4;
#pragma unroll
  for (int i = 0; i < eights; ++i) {
    const TileOperand w({weights[i][0], weights[i][2], weights[i][1], weights[i][3]});
    const float* const from = values + 8 * i * tiles.stride;
#pragma unroll
    for (int o = 0; o < octets; o += 2) {
      if (8 * o >= tiles.width) continue;
      multiply_terms<T>(state.values[o], w, from[8 * o], from[tiles.stride + 8 * o]);
      multiply_terms<T>(state.values[o + 1], w, from[8 * o + 8], from[tiles.stride + 8 * o + 8]);
    }
  }
}

/// A row of a lane, as far as the splits have been joined: its values are in memory, where the result will be.
struct TileRow {
  float* out;  ///< null where there is no such row
  float max = -INFINITY;
  float sum = 0;
};

/// What `split` leaves of row h of the lane joins what came before it, or is left to join_attention_kernel.
template <class T, int octets>
__device__ void join_tile(const AttentionTiles& tiles, int split, const typename AttentionWork<T>::Seen& seen,
                          const TileState<octets>& state, int h, TileRow& row, float* partial) {
  const float sum = quad_sum(state.sum[h]);  // by all lanes
  const int first_split = seen.begin / attention_split;
  const int last_split = (seen.end - 1) / attention_split;
  if (row.out == nullptr || split < first_split || split > last_split) return;
  const int column = tiles.lane % 4 * 2;
  if (partial != nullptr) {
    if (column == 0) partial[0] = state.max[h];
    if (column == 0) partial[1] = sum;
#pragma unroll
    for (int i = 0; i < 2 * octets; ++i)
      if (const int c = i / 2 * 8 + column + i % 2; c < tiles.D) partial[2 + c] = state.values[i / 2][2 * h + i % 2];
    return;
  }
  const JoinFactors factors = join_factors(row.max, row.sum, state.max[h], sum);
#pragma unroll
  for (int i = 0; i < 2 * octets; ++i) {
    const int c = i / 2 * 8 + column + i % 2;
    if (c >= tiles.D) continue;
    const float before = split == first_split ? 0.0f : row.out[c];
    const float value = fmaf(before, factors.before, state.values[i / 2][2 * h + i % 2] * factors.joined);
    row.out[c] = value;
  }
  if (split != last_split) return;
#pragma unroll 1  // by what this thread wrote: unrolled with the above, the divisions alone were 1500 instructions
  for (int c = column; c < tiles.D; c += c % 2 == 0 ? 1 : 7) row.out[c] /= row.sum;
}

/// Blocks on a multiprocessor: as many as registers allow without spills. With four, heads of 64 spilled on sm_80.
constexpr int attention_tile_blocks(int octets) { return octets <= 16 ? 3 : 1; }

/// As attention_kernel, a block for 64 rows, of heads of up to 8 `octets` elements.
template <class T, int octets>
__global__ void __launch_bounds__(32 * attention_warps, attention_tile_blocks(octets))
    attention_tiles_kernel(const __grid_constant__ AttentionWork<T> work) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const AttentionBlock<T> block(work, attention_tile_rows);
  if (block.is_empty()) return;
  const AttentionSequence<T>& part = work.parts[blockIdx.z];
  const AttentionTiles tiles(work.D);
  tiles.fill<attention_tile_rows>(tiles.queries, work.wide, [&](int i) { return block.query(work, part, i); });
  const int warp_row = block.first + 16 * tiles.warp;
  typename AttentionWork<T>::Seen seen[2];
  TileRow rows[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = warp_row + tiles.lane / 4 + 8 * h;
    seen[h] = row < block.all_rows ? work.seen(part, row) : typename AttentionWork<T>::Seen{0, 0};
    rows[h].out = row < block.all_rows ? block.row_of(work, part.out, row) : nullptr;
  }
  // Of all of the warp's rows together.
  const int warp_begin = warp_row < block.all_rows ? work.seen(part, warp_row).begin : 0;
  const int warp_end = warp_row < block.all_rows ? work.seen(part, min(warp_row + 16, block.all_rows) - 1).end : 0;
  constexpr int eights = attention_chunk / 8;
#pragma unroll 1
  for (int split = block.first_split; split <= block.last_split; ++split) {
    TileState<octets> state;
#pragma unroll 1
    for (int chunk = block.chunk_begin(split); chunk < block.split_end(split); chunk += attention_chunk) {
      const bool sees = warp_begin < chunk + attention_chunk && warp_end > chunk;
      float scores[eights][4] = {};
      __syncthreads();  // the values before are done with
      tiles.fill<attention_chunk>(tiles.chunk, work.wide, [&](int j) {
        return chunk + j < block.end ? part.k.at(chunk + j, block.g) : nullptr;
      });
      __syncthreads();  // keys are there
      if (sees) multiply_tile_keys<T>(tiles, scores);
      __syncthreads();  // keys are done with
      tiles.fill<attention_chunk>(tiles.chunk, work.wide, [&](int j) {
        return chunk + j < block.end ? part.v.at(chunk + j, block.g) : nullptr;
      });
      if (sees) weigh_tile(work, chunk, seen, scores, state);
      __syncthreads();  // values are there
      if (sees) multiply_tile_values<T>(tiles, scores, state);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp_row + tiles.lane / 4 + 8 * h;
      join_tile<T>(tiles, split, seen[h], state, h, rows[h],
                   work.shares > 1 ? work.partial(part, block.g, row, block.share) : nullptr);
    }
  }
#endif
}

/// Whether this program holds the kernel for the device of `execution`.
template <class T>
[[nodiscard]] bool has_attention_tiles(Execution<Cuda> execution) {
  return attributes_of(execution, attention_tiles_kernel<T, 8>).ptxVersion >= 80;
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
