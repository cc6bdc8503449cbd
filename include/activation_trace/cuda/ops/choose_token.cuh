// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>

#include "activation_trace/cuda/ops/choose_typical.cuh"
#include "activation_trace/processors/sampling_chain.hpp"

// The next token of a row of logits, chosen where it lies, as by processors/sampling_chain.hpp and Sampler:
// temperature, top_k, typical_p, top_p, min_p, and the token that a number falls on. Weights e^(score - largest) are
// whole multiples of 2^-44, so sums of them are exact, and the choice does not depend on the order in which blocks
// come.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// The largest logit, by several blocks; without sampling it is the choice. Leaves the state as samplers want it.
template <int threads>
__global__ void __launch_bounds__(threads) best_entry_kernel(ChoiceRow row, bool sampled, const FirstNotFinite* found,
                                                             ChoiceState* state, StepRow* step, ChoiceRecord* record) {
  ptx::wait_for_previous();
  unsigned long long best = 0;
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < row.n;
       i += static_cast<Index>(gridDim.x) * threads) {
    const float x = row.logits[i];
    const unsigned long long key =
        x < INFINITY ? static_cast<unsigned long long>(ordered_bits(x + 0.0f)) << 32 | ~static_cast<unsigned>(i)
                     : ~0ull;
    best = max(best, key);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) best = max(best, __shfl_xor_sync(0xffffffffu, best, distance));
  __shared__ unsigned long long parts[threads / 32];
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < threads / 32; ++w) best = max(best, parts[w]);
    atomicMax(&state->best, best);
  }
  if (!last_block(&state->ticket, gridDim.x)) return;
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += threads) {
    state->counts[i] = 0;
    state->weights[i] = 0;
  }
  if (threadIdx.x != 0) return;
  state->largest = row.largest(*state);
  state->largest_left = ordered_bits(row.score(state->largest, state->largest));
  state->near = any_distance;
  state->typical = 0;
  state->total = state->falls = 0;
  state->lowest = state->cut = state->digits = 0;
  state->ties = ~0u;
  if (!sampled) {
    write_choice(*state, static_cast<TokenId>(~static_cast<unsigned>(state->best)), found, step, record);
    state->best = 0;
  }
}

/// The border of a filter: the largest score at and above which there are `count` entries, or a share `p` of their
/// weight, if count is 0. One digit of eight bits after another, `shift` of them below it; the last block of each picks
/// it.
template <int threads>
__global__ void __launch_bounds__(threads)
    choice_digit_kernel(ChoiceRow row, int shift, Index count, double p, ChoiceState* state) {
  ptx::wait_for_previous();
  __shared__ unsigned counts[256];
  __shared__ ChoiceWeight weights[256];
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += threads) {
    counts[i] = 0;
    weights[i] = 0;
  }
  __syncthreads();
  const float largest = row.largest(*state);
  const float largest_score = row.score(largest, largest);
  const ChoiceBounds bounds(*state, largest_score);
  const unsigned digits = state->digits;
#pragma unroll 1  // four at a time ptxas spills for sm_100
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < row.n;
       i += static_cast<Index>(gridDim.x) * threads) {
    const float score = row.score(row.logits[i], largest);
    const unsigned bits = ordered_bits(score);
    if (!bounds.hold(score, bits) || (shift < 24 && bits >> (shift + 8) != digits)) continue;
    atomicAdd(&counts[bits >> shift & 255u], 1u);
    if (count == 0) atomicAdd(&weights[bits >> shift & 255u], ChoiceRow::weight(score, largest_score));
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += threads) {
    if (counts[i] == 0) continue;
    atomicAdd(&state->counts[i], counts[i]);
    atomicAdd(&state->weights[i], count == 0 ? weights[i] : static_cast<ChoiceWeight>(counts[i]));
  }
  __syncthreads();  // all of the block's part is added
  if (!last_block(&state->ticket, gridDim.x)) return;
  if (threadIdx.x == 0) {
    if (shift == 24) {
      ChoiceWeight total = 0;
      for (int i = 0; i < 256; ++i) total += state->weights[i];
      state->remaining = count != 0
                             ? static_cast<ChoiceWeight>(count)
                             : min(max(static_cast<ChoiceWeight>(ceil(p * static_cast<double>(total))), 1ull), total);
    }
    int digit = 255;
    for (; digit > 0 && state->weights[digit] < state->remaining; --digit) state->remaining -= state->weights[digit];
    state->digits = state->digits << 8 | static_cast<unsigned>(digit);
    if (shift == 0) {
      const unsigned equals = state->counts[digit];
      const ChoiceWeight each = state->weights[digit] / max(equals, 1u);  // equals have equal weights
      state->cut = state->lowest = state->digits;
      state->digits = 0;
      state->ties = count != 0 || each == 0 ? ~0u : static_cast<unsigned>((state->remaining + each - 1) / each);
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += threads) {
    state->counts[i] = 0;
    state->weights[i] = 0;
  }
}

/// Weights of a run of entries: of scores above the cut, and how many are at it.
struct ChoiceRun {
  ChoiceWeight above;
  unsigned equals;

  /// With `before` equals ahead of it.
  [[nodiscard]] __device__ ChoiceWeight sum(unsigned before, unsigned ties, ChoiceWeight each) const {
    const unsigned left = before < ties ? ties - before : 0;
    return above + static_cast<ChoiceWeight>(min(left, equals)) * each;
  }
};

/// What stays of a row, and what it weighs.
struct ChoiceFilter {
  ChoiceRow row;
  float largest, largest_score;
  ChoiceBounds bounds;
  unsigned cut, ties;
  ChoiceWeight each;  ///< of a score that is the cut

  __device__ ChoiceFilter(const ChoiceRow& choice_row, const ChoiceState& state, float log_min_p)
      : row(choice_row),
        largest(row.largest(state)),
        largest_score(row.score(largest, largest)),
        bounds(state, largest_score, log_min_p),
        cut(state.cut),
        ties(state.ties),
        each(cut == 0 ? 0 : ChoiceRow::weight(ChoiceRow::from_ordered(cut), largest_score)) {}

  /// Adds entries [begin, end).
  [[nodiscard]] __device__ ChoiceRun run(Index begin, Index end) const {
    ChoiceRun result{0, 0};
    for (Index i = begin; i < end; ++i) add(i, result);
    return result;
  }
  __device__ void add(Index i, ChoiceRun& to) const {
    const float score = row.score(row.logits[i], largest);
    const unsigned bits = ordered_bits(score);
    if (!bounds.hold(score, bits)) return;
    if (bits == cut)
      ++to.equals;
    else
      to.above += ChoiceRow::weight(score, largest_score);
  }
};

/// Looks for the first run in which the sum in order exceeds the target, which must be below that of all.
struct ChoiceSearch {
  const ChoiceFilter& filter;
  ChoiceWeight target = 0;
  unsigned before = 0;  ///< equals

  __device__ ChoiceSearch(const ChoiceFilter& of, double uniform, const ChoiceState& state, unsigned blocks)
      : filter(of) {
    ChoiceWeight total = 0;
    for (unsigned b = 0; b < blocks; ++b) {
      total += ChoiceRun{state.sums[b], state.equals[b]}.sum(before, filter.ties, filter.each);
      before += state.equals[b];
    }
    before = 0;
    target = min(static_cast<ChoiceWeight>(uniform * static_cast<double>(total)), max(total, 1ull) - 1);
  }
  /// Whether this is the run; else the search goes on behind it.
  [[nodiscard]] __device__ bool ends_in(const ChoiceRun& run) {
    const ChoiceWeight sum = run.sum(before, filter.ties, filter.each);
    if (sum > target) return true;
    target -= sum;
    before += run.equals;
    return false;
  }
};

/// The token that `uniform` in [0, 1) falls on: the first where the sum in order exceeds uniform times the total. A
/// block per run of entries, and the last of them finds the run, the thread's share of it, and the entry.
template <int threads>
__global__ void __launch_bounds__(threads)
    draw_kernel(ChoiceRow row, float log_min_p, double uniform, const FirstNotFinite* found, ChoiceState* state,
                StepRow* step, ChoiceRecord* record) {
  ptx::wait_for_previous();
  __shared__ ChoiceRun shares[threads];
  __shared__ int place;
  const ChoiceFilter filter(row, *state, log_min_p);
  const Index run = (row.n + gridDim.x - 1) / gridDim.x;
  const Index share = (run + threads - 1) / threads;
  const auto share_begin = [&](int block, int thread) {
    return min(min(block * run + thread * share, (block + 1) * run), row.n);
  };
  const auto write_share = [&](int block) {
    const int thread = static_cast<int>(threadIdx.x);
    shares[thread] = filter.run(share_begin(block, thread), share_begin(block, thread + 1));
    __syncthreads();
  };
  write_share(static_cast<int>(blockIdx.x));
  if (threadIdx.x == 0) {
    ChoiceRun all{0, 0};
    for (const ChoiceRun& part : shares) {
      all.above += part.above;
      all.equals += part.equals;
    }
    state->sums[blockIdx.x] = all.above;
    state->equals[blockIdx.x] = all.equals;
  }
  if (!last_block(&state->ticket, gridDim.x)) return;
  ChoiceSearch search(filter, uniform, *state, gridDim.x);  // of thread 0
  if (threadIdx.x == 0) {
    int block = 0;
    while (block + 1 < static_cast<int>(gridDim.x) && !search.ends_in({state->sums[block], state->equals[block]}))
      ++block;
    place = block;
  }
  __syncthreads();
  write_share(place);
  if (threadIdx.x != 0) return;
  int thread = 0;
  while (thread + 1 < threads && !search.ends_in(shares[thread])) ++thread;
  Index chosen = share_begin(place, thread);
  while (chosen + 1 < row.n && !search.ends_in(filter.run(chosen, chosen + 1))) ++chosen;
  write_choice(*state, static_cast<TokenId>(chosen), found, step, record);
  state->best = 0;
}

/// What a choice compared in the end, for kernels that come after it: what was filtered is -inf.
struct FinalScores {
  ChoiceRow row;
  bool sampled;
  float log_min_p;
  Index run;  ///< scores of a block of draw_kernel
  const ChoiceState* state;

  FinalScores(const VectorView<const float, Cuda>& logits, const ChoiceRules& rules, const ChoiceState* of)
      : row{logits.data(), logits.size(), rules.temperature},
        sampled(rules.sampled),
        log_min_p(rules.log_min_p),
        run((row.n + choice_blocks(row.n) - 1) / choice_blocks(row.n)),
        state(of) {}

  [[nodiscard]] __device__ float operator()(Index i) const {
    if (!sampled) return row.logits[i];
    const float score = row.score(row.logits[i], state->largest);
    const unsigned bits = ordered_bits(score);
    const ChoiceBounds bounds(*state, row.score(state->largest, state->largest), log_min_p);
    return bounds.hold(score, bits) && (bits != state->cut || stays(i)) ? score : -INFINITY;
  }

 private:
  /// Entry i is at the cut. Those of its block are counted only where some of them stay and others do not.
  [[nodiscard]] __device__ bool stays(Index i) const {
    const Index block = i / run;
    unsigned before = 0;
    for (Index b = 0; b < block; ++b) before += state->equals[b];
    if (before >= state->ties || state->equals[block] <= state->ties - before) return before < state->ties;
    for (Index j = block * run; j < i; ++j)
      before += ordered_bits(row.score(row.logits[j], state->largest)) == state->cut ? 1u : 0u;
    return before < state->ties;
  }
};

/// Enqueues the choice of a token of `logits`: `row` becomes its step, and `record` what the host is told. `found` is
/// what a FiniteWatch has seen. `state` is 0 before the first, and left for the next.
template <int = 0>
void choose_token(Execution<Cuda> execution, VectorView<const float, Cuda> logits, const ChoiceRules& rules,
                  double uniform, const FirstNotFinite* found, ChoiceState* state, StepRow* step,
                  ChoiceRecord* record) {
  const ChoiceRow row{logits.data(), logits.size(), rules.sampled ? rules.temperature : 1.0f};
  const Grid grid{blocks(choice_blocks(row.n)), choice_threads};
  // Not dependent: a graph may be ahead.
  launch(execution, "best_entry_kernel", grid, best_entry_kernel<choice_threads>, row, rules.sampled, found, state,
         step, record);
  if (!rules.sampled) return;
  const auto filter = [&](Index count, double p) {
    for (const int shift : {24, 16, 8, 0})
      launch_dependent(execution, "choice_digit_kernel", grid, choice_digit_kernel<choice_threads>, row, shift, count,
                       p, state);
  };
  if (rules.top_k > 0 && rules.top_k < row.n) filter(rules.top_k, 0);
  if (rules.typical_p < 1) keep_typical(execution, grid, row, rules, state);
  if (rules.top_p < 1) filter(0, static_cast<double>(rules.top_p));
  launch_dependent(execution, "draw_kernel", grid, draw_kernel<choice_threads>, row, rules.log_min_p, uniform, found,
                   state, step, record);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
