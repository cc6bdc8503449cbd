// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/cuda/ops/choose_token.cuh"
#include "activation_trace/cuda/processors/sharpness_kernels.cuh"

// What the host is told of how a token was chosen, beside the token.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// A survivor of the plausibility filter.
struct RecordedCandidate {
  TokenId id;
  float log_prob;  ///< at the mature layer
  float entropy;   ///< of the context
  float base;      ///< what the mode gives it without the entropy
  float score;     ///< what was compared in the end
};

/// What a step's record is made of, and where it goes.
struct StepRecording {
  SharpnessMemory survivors;        ///< of the step, one sequence
  const RowStatistics* statistics;  ///< of the mature logits
  const float* mature;              ///< [V], those
  FinalScores scores;               ///< by token
  const StepRow* step;              ///< the token
  RecordedCandidate* kept;          ///< [V]: as many as survived are written, in their order
  SharpnessCandidate* chosen;       ///< the token, whose entropy is known

  [[nodiscard]] __device__ float log_prob(TokenId id) const { return statistics->log_prob(mature[id]); }
};

/// Writes straight to where the host reads, over the bus: survivors are few, and how many is known here only. A copy
/// would be one of room for all V.
template <int threads>
__global__ void __launch_bounds__(threads) record_step_kernel(StepRecording work) {
  ptx::wait_for_previous();
  const int count = work.survivors.counters->kept;
  for (int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x); i < count;
       i += static_cast<int>(gridDim.x) * threads) {
    const SharpnessCandidate c = work.survivors.kept[i];
    work.kept[i] = {c.id, work.log_prob(c.id), c.entropy, c.log_prob, work.scores(c.id)};
  }
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  const TokenId id = work.step->token;
  *work.chosen = {id, work.log_prob(id), work.survivors.states[id].entropy(), work.scores(id)};
}

/// Enqueues it, behind choose_token() and what follows that.
template <int = 0>
void record_step(Execution<Cuda> execution, const StepRecording& work) {
  launch_dependent(execution, "record_step_kernel", {blocks(row_blocks(work.scores.row.n)), row_threads},
                   record_step_kernel<row_threads>, work);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
