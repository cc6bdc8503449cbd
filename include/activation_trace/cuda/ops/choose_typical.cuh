// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "activation_trace/cuda/ops/choice_state.cuh"

// typical_p of choose_token.cuh: processors/typical.hpp, where the row lies.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// The typical score of what is left, and the weight to be reached around it: the share `p`.
template <int threads>
__global__ void __launch_bounds__(threads) typical_score_kernel(ChoiceRow row, double p, ChoiceState* state) {
  ptx::wait_for_previous();
  const float largest = state->largest;
  const float largest_score = row.score(largest, largest);
  const unsigned lowest = state->lowest;
  ChoiceWeight total = 0, falls = 0;
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < row.n;
       i += static_cast<Index>(gridDim.x) * threads) {
    const float score = row.score(row.logits[i], largest);
    if (ordered_bits(score) < lowest) continue;
    total += ChoiceRow::weight(score, largest_score);
    falls += ChoiceRow::fall(score, largest_score);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    total += __shfl_xor_sync(0xffffffffu, total, distance);
    falls += __shfl_xor_sync(0xffffffffu, falls, distance);
  }
  if (threadIdx.x % 32 == 0) {
    atomicAdd(&state->total, total);
    atomicAdd(&state->falls, falls);
  }
  __syncthreads();  // all warps' parts are added
  if (!last_block(&state->ticket, gridDim.x) || threadIdx.x != 0) return;
  const auto all = static_cast<double>(state->total);
  state->typical = static_cast<double>(state->falls) / all;
  state->remaining = min(max(static_cast<ChoiceWeight>(ceil(p * all)), 1ull), state->total);
  state->near = 0;  // the digits that are known
}

/// Of the distance within which there is the weight to be reached one digit after another, `shift` bits below it.
template <int threads>
__global__ void __launch_bounds__(threads) distance_digit_kernel(ChoiceRow row, int shift, ChoiceState* state) {
  ptx::wait_for_previous();
  __shared__ ChoiceWeight weights[256];
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += threads) weights[i] = 0;
  __syncthreads();
  const float largest = state->largest;
  const float largest_score = row.score(largest, largest);
  const unsigned lowest = state->lowest;
  const double typical = state->typical;
  const ChoiceDistance digits = state->near;
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < row.n;
       i += static_cast<Index>(gridDim.x) * threads) {
    const float score = row.score(row.logits[i], largest);
    if (ordered_bits(score) < lowest) continue;
    const ChoiceDistance distance = ChoiceRow::distance(score, largest_score, typical);
    if (distance >> shift >> 8 == digits)
      atomicAdd(&weights[distance >> shift & 255u], ChoiceRow::weight(score, largest_score));
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += threads)
    if (weights[i] != 0) atomicAdd(&state->weights[i], weights[i]);
  __syncthreads();  // all of this block's weights are added
  if (!last_block(&state->ticket, gridDim.x)) return;
  if (threadIdx.x == 0) {
    ChoiceDistance digit = 0;
    for (; digit < 255 && state->weights[digit] < state->remaining; ++digit) state->remaining -= state->weights[digit];
    state->near = digits << 8 | digit;
    if (shift == 0) state->largest_left = 0;
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += threads) state->weights[i] = 0;
}

/// The largest score that is left, which may not be the row's.
template <int threads>
__global__ void __launch_bounds__(threads) largest_left_kernel(ChoiceRow row, ChoiceState* state) {
  ptx::wait_for_previous();
  const float largest = state->largest;
  const float largest_score = row.score(largest, largest);
  const unsigned lowest = state->lowest;
  const double typical = state->typical;
  const ChoiceDistance near = state->near;
  unsigned best = 0;
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < row.n;
       i += static_cast<Index>(gridDim.x) * threads) {
    const float score = row.score(row.logits[i], largest);
    const unsigned bits = ordered_bits(score);
    if (bits >= lowest && ChoiceRow::distance(score, largest_score, typical) <= near) best = max(best, bits);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) best = max(best, __shfl_xor_sync(0xffffffffu, best, distance));
  if (threadIdx.x % 32 == 0) atomicMax(&state->largest_left, best);
}

/// Enqueues that of what is left only the typical stays.
template <int = 0>
void keep_typical(Execution<Cuda> execution, const Grid& grid, const ChoiceRow& row, const ChoiceRules& rules,
                  ChoiceState* state) {
  launch_dependent(execution, "typical_score_kernel", grid, typical_score_kernel<choice_threads>, row,
                   static_cast<double>(rules.typical_p), state);
  for (int shift = choice_distance_bits - 8; shift >= 0; shift -= 8)
    launch_dependent(execution, "distance_digit_kernel", grid, distance_digit_kernel<choice_threads>, row, shift,
                     state);
  launch_dependent(execution, "largest_left_kernel", grid, largest_left_kernel<choice_threads>, row, state);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
