// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/elements.cuh"
#include "activation_trace/cuda/ops/step_rows.cuh"
#include "activation_trace/processors/logit_bias.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// LogitBias, RepetitionPenalty and OccurrencePenalty of generated tokens, one after another; what is off does nothing.
struct ScorePenaltyOptions {
  std::vector<std::pair<TokenId, float>> logit_bias = {};  ///< as in LogitBias
  float repetition = 1;                                    ///< of tokens of prompt and text; 1: none
  float presence = 0;                                      ///< subtracted from the score of a generated token
  float frequency = 0;                                     ///< the same, times its occurrences

  friend bool operator==(const ScorePenaltyOptions&, const ScorePenaltyOptions&) = default;
  /// Whether nothing is on.
  [[nodiscard]] bool empty() const { return logit_bias.empty() && repetition == 1 && presence == 0 && frequency == 0; }
};

namespace detail {

/// A token's score with all three. A token's thread alone touches its count.
struct PenalisedScore {
  float* scores;
  const float* bias;    ///< null: none
  int forced;           ///< not 0: those with a bias of 0 are the only ones
  int* seen;            ///< twice the number of times that it was generated, and 1 if it is in the prompt
  const StepRow* last;  ///< the token that was generated last, and is not counted yet
  float repetition, presence, frequency;

  __device__ void operator()(Index, Index id) const {
    float score = scores[id];
    if (bias != nullptr) score = forced != 0 && bias[id] == 0.0f && score == -INFINITY ? -1e30f : score + bias[id];
    int times = seen[id];
    if (last->token == static_cast<TokenId>(id)) seen[id] = times += 2;
    if (times != 0) score = score < 0.0f ? score * repetition : score / repetition;
    if (times >= 2) score -= static_cast<float>(times / 2) * frequency + presence;
    scores[id] = score;
  }
};

}  // namespace detail

/// Bias and penalties on the device, for one text whose tokens the device chooses: they count what it chose, and nobody
/// waits for it. One kernel over the vocabulary, which reads 12 bytes a token and writes 4.
class ScorePenalties {
 public:
  /// Of `vocab` tokens, in the memory of the current device, which must be the stream's. Throws as LogitBias, with an
  /// id beyond the vocabulary as its process().
  ScorePenalties(Execution<Cuda> stream, Index vocab, ScorePenaltyOptions options)
      : stream_(stream), options_(std::move(options)), seen_(vocab), bias_(options_.logit_bias.empty() ? 0 : vocab) {
    if (options_.logit_bias.empty()) return;
    std::vector<float> bias(static_cast<std::size_t>(vocab));
    LogitBias(options_.logit_bias).process(bias);
    copy(stream_, VectorView<const float>(bias), bias_.view());
    forced_ = std::ranges::any_of(options_.logit_bias, [](const std::pair<TokenId, float>& entry) {
      return entry.second == std::numeric_limits<float>::infinity();
    });
  }

  /// A text begins, whose prompt has ids of the vocabulary.
  void begin(std::span<const TokenId> prompt) {
    std::vector<int> seen(static_cast<std::size_t>(seen_.size()));
    for (const TokenId id : prompt) seen[static_cast<std::size_t>(id)] = 1;
    copy(stream_, VectorView<const int>(seen), seen_.view());
  }

  /// scores[V], contiguous, in place, after the token of `last` joined the text; -1: there is none.
  void process(VectorView<float, Cuda> scores, const detail::StepRow* last) {
    v0::detail::check_extent("scores", scores.size(), seen_.size());
    const detail::PenalisedScore penalised{scores.data(),
                                           bias_.size() == 0 ? nullptr : bias_.data(),
                                           forced_ ? 1 : 0,
                                           seen_.data(),
                                           last,
                                           options_.repetition,
                                           options_.presence,
                                           options_.frequency};
    constexpr Index threads = detail::element_threads;
    // Not each_element(), whose kernel is dependent: a graph may be ahead.
    detail::launch(stream_, "each_element_kernel",
                   {detail::blocks((scores.size() + threads - 1) / threads), detail::element_threads},
                   detail::each_element_kernel<detail::PenalisedScore>, Index{1}, scores.size(), penalised);
  }

 private:
  Execution<Cuda> stream_;
  ScorePenaltyOptions options_;
  Buffer<int, Cuda> seen_;    // [V]
  Buffer<float, Cuda> bias_;  // [V], or nothing
  bool forced_ = false;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
