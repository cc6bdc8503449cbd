// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "activation_trace/cuda/ops/row_statistics.cuh"
#include "activation_trace/cuda/ops/softmax_candidates.cuh"
#include "activation_trace/processors/sharpness_options.hpp"

// The kernels of EntropySharpnessBatch<Cuda>. A launch works on all B rows of a batch.
namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// What a step chose for one sequence, in device memory.
struct SharpnessChoice {
  TokenId best;           ///< highest score, equals: the lowest id; -1 if everything is masked or `invalid`
  TokenId most_probable;  ///< before entropy and penalty, of the survivors; -1 as above
  int kept;               ///< survivors of the filter
  int invalid;            ///< not 0: a logit is NaN or +inf, an id is none, or the entropy of a survivor is NaN
};

namespace detail {

/// A step's rows, and the rules for them.
struct SharpnessRows {
  float* logits;       // [B, n]: become scores
  Index n;             // entries of a row
  Index stride;        // from one row to the next
  const TokenId* ids;  // [n], of the entries; null: entry v is token v
  Index vocab;
  float alpha;
  float penalty;
  SharpnessInput input;

  __device__ TokenId id(Index i) const { return ids == nullptr ? static_cast<TokenId>(i) : ids[i]; }
  /// Whether entry `x` of a valid row survives: as detail::PlausibleCandidates on the host.
  __device__ bool keeps(float x, const RowStatistics& row) const {
    if (input == SharpnessInput::scores) return x > -INFINITY;
    return x >= row.lowest && row.log_prob(x) >= -1000.0f;
  }
  /// Whether nobody in this launch has claimed this empty state before: a list may name a token twice, and its state is
  /// to be made once. A claim is a weighted sum without a sum, and ends when the state is made.
  __device__ bool claims(SoftmaxState& empty) const {
    return ids == nullptr || atomicExch(&empty.weighted, 1.0f) == 0.0f;
  }
  __device__ float log_prob(float x, const RowStatistics& row) const {
    return input == SharpnessInput::scores ? x : row.log_prob(x);
  }
};

struct Ranked {
  float value = -INFINITY;
  TokenId id = -1;

  /// Takes the other if it is higher, equals: the lower id. -1 is nothing.
  __device__ void offer(float other, TokenId other_id) {
    if (other_id < 0 || (id >= 0 && (other < value || (other == value && other_id > id)))) return;
    value = other;
    id = other_id;
  }
};

/// The best and the most probable.
struct RankedPair {
  Ranked best, most_probable;

  __device__ void offer(const RankedPair& other) {
    best.offer(other.best.value, other.best.id);
    most_probable.offer(other.most_probable.value, other.most_probable.id);
  }
};

/// Of a warp's lanes: every lane gets it.
__device__ inline RankedPair join_lanes(RankedPair pair) {
  for (int distance = 16; distance > 0; distance /= 2) {
    RankedPair other;
    other.best = {__shfl_xor_sync(0xffffffffu, pair.best.value, distance),
                  __shfl_xor_sync(0xffffffffu, pair.best.id, distance)};
    other.most_probable = {__shfl_xor_sync(0xffffffffu, pair.most_probable.value, distance),
                           __shfl_xor_sync(0xffffffffu, pair.most_probable.id, distance)};
    pair.offer(other);
  }
  return pair;
}

/// Counters of a sequence, zeroed at the beginning of a step.
struct SharpnessCounters {
  int missing, kept, invalid;
};

/// What is remembered of B sequences.
struct SharpnessMemory {
  RowStatistics* statistics;    // [B]
  SharpnessCounters* counters;  // [B]
  SoftmaxState* states;         // [B, V]: empty until asked for
  unsigned char* seen;          // [B, V]: not 0: a token that the repetition penalty is for
  TokenId* missing;             // [B, V]: survivors without a state
  SharpnessCandidate* kept;     // [B, V]
  SharpnessChoice* choices;     // [B]
  RankedPair* partials;         // [B, blocks]
  unsigned* tickets;            // [B]
};

/// Appends `value` to a list in device memory for the lanes that want it: one atomic per warp. The order varies from
/// run to run, what is in the list does not. All lanes of a warp call it.
template <class T>
__device__ void append(bool wanted, const T& value, T* list, int* count) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const unsigned lanes = __ballot_sync(0xffffffffu, wanted);
  if (lanes == 0) return;
  int first = 0;
  if (lane == 0) first = atomicAdd(count, __popc(lanes));
  first = __shfl_sync(0xffffffffu, first, 0);
  if (wanted) list[first + __popc(lanes & ((1u << lane) - 1u))] = value;
}

/// Lists the survivors of the filter that have no state yet. Not cub::DeviceSelect: that is two more launches of a step
/// that should be done in 15 us, and the order of the list does not matter.
template <int threads>
__global__ void __launch_bounds__(threads) list_missing_kernel(SharpnessRows rows, SharpnessMemory memory) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const Index b = blockIdx.y;
  const RowStatistics row = memory.statistics[b];
  if (row.max != row.max) return;
  const Index rounds = (rows.n + threads - 1) / threads;
#pragma unroll 1  // four at a time ptxas spills for sm_100
  for (Index r = blockIdx.x; r < rounds; r += gridDim.x) {
    const Index i = r * threads + threadIdx.x;
    bool wanted = i < rows.n && rows.keeps(rows.logits[b * rows.stride + i], row);
    TokenId id = 0;
    if (wanted) {
      id = rows.id(i);
      wanted = id >= 0 && id < rows.vocab;
      if (wanted) {
        SoftmaxState& state = memory.states[b * rows.vocab + id];
        wanted = state.empty() && rows.claims(state);
      }
    }
    append(wanted, id, memory.missing + b * rows.vocab, &memory.counters[b].missing);
  }
}

/// Lists one token of all B sequences, where it has no state yet.
template <int threads>
__global__ void __launch_bounds__(threads)
    list_token_kernel(const TokenId* id, Index sequences, Index vocab, SharpnessMemory memory) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  for (Index b = threadIdx.x; b < sequences; b += threads) {
    memory.missing[b * vocab] = *id;
    memory.counters[b].missing = memory.states[b * vocab + *id].empty() ? 1 : 0;
  }
}

/// Lists the tokens that have a state: those to which new positions of the context are added.
template <int threads>
__global__ void __launch_bounds__(threads)
    list_known_kernel(const SoftmaxState* states, Index vocab, TokenId* list, int* count) {
  const Index rounds = (vocab + threads - 1) / threads;
  for (Index r = blockIdx.x; r < rounds; r += gridDim.x) {
    const Index v = r * threads + threadIdx.x;
    append(v < vocab && !states[v].empty(), static_cast<TokenId>(v), list, count);
  }
}

/// The states of all V tokens of the sequences that miss more than `most`, for which there is no room in the lists.
/// Plain fp32 products: whether there is anything to do is decided on the device, and hardly ever there is. Blocks
/// stride over the tokens: a grid of a block per tile would take longer to end than the rest of a step.
template <class T, class W>
__global__ void __launch_bounds__(256, 1)
    complete_states_kernel(Strided<T> hidden, W w, CandidateBatch batch, int most, SharpnessMemory memory) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const Index b = blockIdx.y;
  if (memory.counters[b].missing <= most) return;
  hidden.data += b * (batch.hidden_bytes / static_cast<Index>(sizeof(T)));
  hidden.rows = batch.positions[b];
  SoftmaxState* const states = memory.states + b * w.rows;
  for (Index v0 = static_cast<Index>(blockIdx.x) * simt_tile; v0 < w.rows;
       v0 += static_cast<Index>(gridDim.x) * simt_tile)
    simt_states(hidden, w, v0, 0, hidden.rows, [&](Index v, const SoftmaxState& state) { states[v] = state; });
}

/// Everything else of a step: log-softmax, filter, entropies, penalty, and the choice.
template <int threads>
__global__ void __launch_bounds__(threads) score_kernel(SharpnessRows rows, SharpnessMemory memory) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  __shared__ RankedPair parts[threads / 32];
  const Index b = blockIdx.y;
  const RowStatistics row = memory.statistics[b];
  SharpnessCounters& counters = memory.counters[b];
  const bool number = row.max == row.max;  // else the logits stay as they are
  RankedPair pair;
  const Index rounds = number ? (rows.n + threads - 1) / threads : 0;
  for (Index r = blockIdx.x; r < rounds; r += gridDim.x) {
    const Index i = r * threads + threadIdx.x;
    float* const logit = rows.logits + b * rows.stride + i;
    const float x = i < rows.n ? *logit : -INFINITY;
    bool kept = i < rows.n && rows.keeps(x, row);
    SharpnessCandidate candidate{kept ? rows.id(i) : TokenId{0}, -INFINITY, 0.0f, -INFINITY};
    if (kept && (candidate.id < 0 || candidate.id >= rows.vocab)) {
      counters.invalid = 1;
      kept = false;
    }
    if (kept) {
      const Index place = b * rows.vocab + candidate.id;
      candidate.log_prob = rows.log_prob(x, row);
      candidate.entropy = memory.states[place].entropy();
      candidate.score = candidate.log_prob - rows.alpha * candidate.entropy;
      if (memory.seen[place] != 0)
        candidate.score = candidate.score < 0.0f ? candidate.score * rows.penalty : candidate.score / rows.penalty;
      if (candidate.entropy != candidate.entropy) counters.invalid = 1;
      pair.best.offer(candidate.score, candidate.id);
      pair.most_probable.offer(candidate.log_prob, candidate.id);
    } else if (rows.alpha == 0.0f && rows.input == SharpnessInput::logits && x >= row.lowest) {
      candidate.score = row.log_prob(x);  // plausible, but below -1000: the published code leaves it alone
    }
    if (i < rows.n) *logit = candidate.score;
    append(kept, candidate, memory.kept + b * rows.vocab, &counters.kept);
  }
  pair = join_lanes(pair);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = pair;
  __syncthreads();
  RankedPair* const partials = memory.partials + b * gridDim.x;
  if (threadIdx.x == 0) {
    for (int w = 1; w < threads / 32; ++w) pair.offer(parts[w]);
    partials[blockIdx.x] = pair;
  }
  __threadfence();  // the counters
  __syncthreads();
  if (!last_block(memory.tickets + b, gridDim.x) || threadIdx.x != 0) return;
  RankedPair all;
  for (unsigned i = 0; i < gridDim.x; ++i) all.offer(partials[i]);
  const bool invalid = !number || counters.invalid != 0;
  memory.choices[b] = {invalid ? -1 : all.best.id, invalid ? -1 : all.most_probable.id, counters.kept, invalid ? 1 : 0};
}

/// Marks tokens for the repetition penalty: ids[i] of row b, those outside the vocabulary are passed over.
template <int threads>
__global__ void __launch_bounds__(threads)
    mark_seen_kernel(const TokenId* ids, Index count, Index stride, Index vocab, unsigned char* seen) {
  const Index b = blockIdx.y;
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < count;
       i += static_cast<Index>(gridDim.x) * threads)
    if (const TokenId id = ids[b * stride + i]; id >= 0 && id < vocab) seen[b * vocab + id] = 1;
}

/// One number as an argument: a copy from the host's stack is one from pageable memory, for which CUDA may wait.
template <class T>
__global__ void __launch_bounds__(1) store_kernel(T* place, T value) {
  *place = value;
}

template <int threads>
__global__ void __launch_bounds__(threads) clear_states_kernel(SoftmaxState* states, Index count) {
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < count;
       i += static_cast<Index>(gridDim.x) * threads)
    states[i] = SoftmaxState{};
}

/// out[T, d] = rms_norm(in[T, d]) * weight, one block per row; sums in fp32.
template <class T, int threads>
__global__ void __launch_bounds__(threads)
    norm_rows_kernel(Strided<T> in, const float* weight, float eps, T* out, Index out_stride) {
  __shared__ float parts[threads / 32];
  const Index row = blockIdx.x;
  float sum = 0.0f;
  for (Index k = threadIdx.x; k < in.cols; k += threads) sum += in(row, k) * in(row, k);
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0.0f;
  for (int w = 0; w < threads / 32; ++w) sum += parts[w];
  const float scale = 1.0f / sqrtf(sum / static_cast<float>(in.cols) + eps);
  for (Index k = threadIdx.x; k < in.cols; k += threads)
    out[row * out_stride + k] = ptx::narrow<T>(in(row, k) * scale * weight[k]);
}

}  // namespace detail
}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
