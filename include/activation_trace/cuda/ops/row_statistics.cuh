// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/softmax_fold.cuh"
#include "activation_trace/processors/relative_top.hpp"
#include "activation_trace/tensor/view.hpp"

// What the processors need to know of a row of logits before they look at its entries: all rows of a batch at once.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// What makes log-probabilities of a row's logits, (x - max) - log_sum in nats, and which of them are plausible.
struct RowStatistics {
  float max;      ///< NaN: the row holds a NaN or +inf; -inf: nothing else
  float log_sum;  ///< of e^(x - max); NaN in both cases
  float lowest;   ///< the plausibility filter keeps x >= lowest (RelativeTopFilter::threshold)

  [[nodiscard]] __device__ bool valid() const { return log_sum == log_sum; }
  [[nodiscard]] __device__ float log_prob(float x) const { return (x - max) - log_sum; }
};

/// Rows of logits, entries contiguous.
struct Rows {
  const float* data;
  Index n;                      ///< entries of a row
  Index stride;                 ///< from one row to the next
  const float* mask = nullptr;  ///< [n]: entries that are -inf here do not count; null: all count

  explicit Rows(const MatrixView<const float, Cuda>& m) : data(m.data()), n(m.extent(1)), stride(m.stride(0)) {}
  explicit Rows(const VectorView<const float, Cuda>& v) : data(v.data()), n(v.size()), stride(v.size()) {}

  [[nodiscard]] __device__ bool counts(Index i) const { return mask == nullptr || mask[i] > -INFINITY; }

  /// Entries [first, first + 8) of a row; -inf are those that do not exist or count.
  __device__ void load(Index row, Index first, float (&x)[8]) const {
    const float* const entries = data + row * stride + first;
    const float* const masks = mask == nullptr ? nullptr : mask + first;
    const auto addresses = reinterpret_cast<std::uintptr_t>(entries) | reinterpret_cast<std::uintptr_t>(masks);
    if (addresses % 16 == 0 && first + 8 <= n) {
      const auto load_eight = [](const float* from, float(&to)[8]) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float4 v = reinterpret_cast<const float4*>(from)[half];
          to[4 * half] = v.x;
          to[4 * half + 1] = v.y;
          to[4 * half + 2] = v.z;
          to[4 * half + 3] = v.w;
        }
      };
      load_eight(entries, x);
      if (mask == nullptr) return;
      float m[8];
      load_eight(masks, m);
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = m[i] > -INFINITY ? x[i] : -INFINITY;
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = first + i < n && counts(first + i) ? entries[i] : -INFINITY;
    }
  }
};

constexpr int row_threads = 256;
/// Of the statistics' kernel, each with eight entries: blocks for a whole device where there are 128000.
constexpr int statistics_threads = 128;

/// Blocks that share a row of n entries.
[[nodiscard]] inline Index row_blocks(Index n) { return std::clamp<Index>((n + 2047) / 2048, 1, 64); }

[[nodiscard]] inline Index statistics_blocks(Index n) {
  return std::clamp<Index>((n + 8 * statistics_threads - 1) / (8 * statistics_threads), 1, 256);
}

/// The state of eight logits, but for what only its entropy needs: their maximum first, and then eight sums of one term
/// each, none of which waits for another.
__device__ inline SoftmaxState state_of(const float (&x)[8]) {
  SoftmaxState state;
#pragma unroll
  for (const float value : x) state.max = fmaxf(state.max, value);
  const float reference = state.max == -INFINITY ? 0.0f : state.max;  // all -inf: no difference is NaN
  float e[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) e[i] = expf(x[i] - reference);
  state.sum = ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
  return state;
}

/// Whether this block is the last of `blocks` to come here: what the others wrote before can then be read by all of it.
/// Leaves the ticket at 0 for the next launch. All threads of the block call it, after thread 0 wrote its block's part.
__device__ inline bool last_block(unsigned* ticket, unsigned blocks) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicInc(ticket, blocks - 1) == blocks - 1;
    __threadfence();  // by the thread that met the others' tickets: what orders it orders the block, by the barrier
  }
  __syncthreads();
  return last;
}

/// Zeroes `zeroed` ints per row on the way: the counters of the kernels that follow.
template <int threads>
__global__ void __launch_bounds__(threads)
    row_statistics_kernel(Rows rows, float log_relative_top, SoftmaxState* partials, unsigned* tickets,
                          RowStatistics* statistics, int* counters, int zeroed) {
  ptx::launch_dependents();
  __shared__ SoftmaxState parts[threads / 32];
  const Index row = blockIdx.y;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  SoftmaxState state;
  for (Index octet = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; 8 * octet < rows.n;
       octet += static_cast<Index>(gridDim.x) * threads) {
    float x[8];
    rows.load(row, 8 * octet, x);
    state.merge(state_of(x));
  }
  state = join_lanes(state);
  if (lane == 0) parts[threadIdx.x / 32] = state;
  __syncthreads();
  partials += row * gridDim.x;
  if (threadIdx.x == 0) {
    for (int w = 1; w < threads / 32; ++w) state.merge(parts[w]);
    partials[blockIdx.x] = state;
  }
  if (!last_block(tickets + row, gridDim.x)) return;

  if (static_cast<int>(threadIdx.x) < zeroed) counters[row * zeroed + threadIdx.x] = 0;
  if (threadIdx.x >= 32) return;
  SoftmaxState whole;  // always in the same order, whichever block was last
  for (unsigned i = lane; i < gridDim.x; i += 32) whole.merge(partials[i]);
  whole = join_lanes(whole);
  if (lane != 0) return;
  RowStatistics& out = statistics[row];
  const bool number = whole.sum == whole.sum;
  out.max = number ? whole.max : NAN;
  out.log_sum = number && !whole.empty() ? logf(whole.sum) : NAN;
  out.lowest = log_relative_top == -INFINITY ? -INFINITY : out.max + log_relative_top;
}

/// Order-preserving bits of a float that is not NaN.
__device__ inline unsigned ordered_bits(float x) {
  const unsigned bits = __float_as_uint(x);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

/// lowest = min(lowest, k-th largest), -inf if there are fewer: min_tokens_to_keep. One block per row halves the range
/// of the 32 bits of a float until it has the k-th; for k > 1 only, which is rarely asked for.
template <int threads>
__global__ void __launch_bounds__(threads) keep_at_least_kernel(Rows rows, Index k, RowStatistics* statistics) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  __shared__ int counts[threads / 32];
  __shared__ int total;
  const float* const row = rows.data + blockIdx.y * rows.stride;
  RowStatistics& out = statistics[blockIdx.y];
  if (rows.n < k || !out.valid()) {
    if (threadIdx.x == 0 && rows.n < k) out.lowest = -INFINITY;
    return;
  }
  const int lane = static_cast<int>(threadIdx.x) % 32;
  unsigned kth = 0;  // the largest number that k entries reach
  for (int bit = 31; bit >= 0; --bit) {
    const unsigned candidate = kth | 1u << bit;
    int count = 0;
    for (Index i = threadIdx.x; i < rows.n; i += threads) count += ordered_bits(row[i]) >= candidate ? 1 : 0;
    for (int distance = 16; distance > 0; distance /= 2) count += __shfl_xor_sync(0xffffffffu, count, distance);
    if (lane == 0) counts[threadIdx.x / 32] = count;
    __syncthreads();
    if (threadIdx.x == 0) {
      total = 0;
      for (int w = 0; w < threads / 32; ++w) total += counts[w];
    }
    __syncthreads();
    if (total >= k) kth = candidate;
    __syncthreads();
  }
  if (threadIdx.x != 0) return;
  const float value = __uint_as_float((kth >> 31) != 0 ? kth & 0x7fffffffu : ~kth);
  if (value < out.lowest) out.lowest = value;
}

/// What rows are made for. Throws ArgumentError below 1.
[[nodiscard]] inline Index checked_vocab(Index vocab) {
  if (vocab < 1) throw ArgumentError("vocab: expected at least 1, got " + std::to_string(vocab));
  return vocab;
}

/// Throws ShapeError for a row of more entries than there is memory for: blocks of a row say nothing about that.
inline void check_row(Index entries, Index vocab) {
  if (entries > vocab)
    throw ShapeError("logits: " + std::to_string(entries) + " are more than the " + std::to_string(vocab) +
                     " that the processor was made for");
}

/// Memory of the statistics of up to `rows` rows of at most n entries.
struct RowStatisticsMemory {
  RowStatisticsMemory(Execution<Cuda> stream, Index rows, Index n)
      : partials(rows * statistics_blocks(n)), tickets(rows), statistics(rows) {
    set_bytes(stream, tickets.view(), 0);
  }

  Buffer<SoftmaxState, Cuda> partials;
  Buffer<unsigned, Cuda> tickets;
  Buffer<RowStatistics, Cuda> statistics;
};

/// Fills memory.statistics[first], [first + 1], ... for `count` rows, which must fit, and zeroes `zeroed` ints per row
/// of `counters`. `filter` is taken as checked.
inline void row_statistics(Execution<Cuda> stream, const Rows& rows, Index count, const RelativeTopOptions& filter,
                           RowStatisticsMemory& memory, Index first = 0, int* counters = nullptr, int zeroed = 0) {
  const Index row_parts = statistics_blocks(rows.n);
  // Not dependent: what is ahead in the stream is the caller's, a copy perhaps.
  launch(stream, "row_statistics_kernel", {blocks(row_parts, count), statistics_threads},
         row_statistics_kernel<statistics_threads>, rows, std::log(filter.relative_top),
         memory.partials.data() + first * row_parts, memory.tickets.data() + first, memory.statistics.data() + first,
         counters, zeroed);
  if (filter.min_tokens_to_keep > 1 && filter.relative_top != 0)
    launch_dependent(stream, "keep_at_least_kernel", {blocks(1, count), 1024}, keep_at_least_kernel<1024>, rows,
                     filter.min_tokens_to_keep, memory.statistics.data() + first);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
