// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/score_options.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/processors/base_scores.hpp"
#include "activation_trace/processors/lm_head.hpp"
#include "activation_trace/processors/relative_top.hpp"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Log-probabilities of answers: takes the hidden states at the positions that predict their tokens as they come, and
/// multiplies them by the LM head when there are enough for a block of rows.
class AnswerLogProbs {
 public:
  /// `layers` = the mature one, then the premature ones, all 0..N. `amateur` is contrastive scoring's.
  AnswerLogProbs(const ScoreOptions& options, std::vector<Index> layers, LmHead<> lm_head, Execution<Host>& execution,
                 Amateur* amateur);

  /// Makes room for one state per layer and token of `answer` to `prompt`; both must stay where they are until
  /// finish(). Returns the number of the first of its positions, good until the next evaluate().
  Index expect(std::span<const TokenId> prompt, ContinuationScore& answer);
  /// h_layer of `position` and the next.
  void take(Index layer, Index position, MatrixView<const float> states);
  /// Completes the answers' log_probs and layers as far as whole blocks go.
  void evaluate();
  /// Completes them all.
  void finish();

 private:
  struct Position {
    std::span<const TokenId> prompt;
    ContinuationScore* answer;
    std::size_t token;
  };

  [[nodiscard]] Index layers() const { return static_cast<Index>(layers_.size()); }
  [[nodiscard]] Index state_size() const { return layers() * lm_head_.hidden(); }
  void evaluate(Index positions);
  /// logits [layers, V], destroyed.
  void evaluate(const Position& position, MatrixView<float> logits);
  /// What the mode gives the token; logits as above.
  [[nodiscard]] double value(const Position& position, MatrixView<float> logits);

  const ScoreOptions& options_;
  std::vector<Index> layers_;
  LmHead<> lm_head_;
  Execution<Host>* execution_;
  Amateur* amateur_;
  Index block_;  // positions whose logits exist at once: of 64 rows, one costs half as much as of a dozen
  std::optional<RelativeTopFilter> filter_;
  BaseScores base_;
  std::vector<Position> waiting_;
  std::vector<float> states_;  // [waiting, layers, d]
  std::vector<float> logits_;  // [block, layers, V]
  Buffer<float> rows_;         // of an LM head on request
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE AnswerLogProbs::AnswerLogProbs(const ScoreOptions& options, std::vector<Index> layers,
                                                                LmHead<> lm_head, Execution<Host>& execution,
                                                                Amateur* amateur)
    : options_(options),
      layers_(std::move(layers)),
      lm_head_(std::move(lm_head)),
      execution_(&execution),
      amateur_(amateur),
      block_(std::max<Index>(1, 64 / this->layers())),
      base_(base_scores(options.mode, {.early = std::span(layers_).subspan(1),
                                       .execution = execution,
                                       .scoring = ScoringForm{options.post_softmax, options.relative_top_value}})) {
  if (options.filter == ScoreFilter::on) filter_.emplace(*filter_of(options.mode));
}

ACTIVATION_TRACE_COMPILED_INLINE Index AnswerLogProbs::expect(std::span<const TokenId> prompt,
                                                              ContinuationScore& answer) {
  const auto first = static_cast<Index>(waiting_.size());
  for (std::size_t t = 0; t < answer.ids.size(); ++t) waiting_.push_back({prompt, &answer, t});
  states_.resize(waiting_.size() * static_cast<std::size_t>(state_size()));
  return first;
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::take(Index layer, Index position,
                                                           MatrixView<const float> states) {
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    if (layers_[k] != layer) continue;
    for (Index i = 0; i < states.extent(0); ++i)
      std::ranges::copy(states.row(i).span(),
                        states_.data() + (position + i) * state_size() + static_cast<Index>(k) * lm_head_.hidden());
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::evaluate() {
  while (static_cast<Index>(waiting_.size()) >= block_) evaluate(block_);
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::finish() {
  evaluate();
  evaluate(static_cast<Index>(waiting_.size()));
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::evaluate(Index positions) {
  if (positions == 0) return;
  // Fewer would go through other kernels and differ by rounding from what a full block gives.
  const Index rows = std::max(few_rows, positions * layers());
  states_.resize(std::max(states_.size(), static_cast<std::size_t>(rows * lm_head_.hidden())));
  logits_.resize(static_cast<std::size_t>(rows * lm_head_.vocab()));
  const MatrixView<float> logits(logits_.data(), {rows, lm_head_.vocab()});
  lm_head_.logits(*execution_, MatrixView<const float>(states_.data(), {rows, lm_head_.hidden()}), logits, rows_);
  for (Index i = 0; i < positions; ++i)
    evaluate(waiting_[static_cast<std::size_t>(i)], logits.slice(0, i * layers(), (i + 1) * layers()));
  waiting_.erase(waiting_.begin(), waiting_.begin() + positions);
  states_.erase(states_.begin(), states_.begin() + positions * state_size());
  states_.resize(waiting_.size() * static_cast<std::size_t>(state_size()));
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::evaluate(const Position& position, MatrixView<float> logits) {
  const double log_prob = value(position, logits);
  if (!(log_prob < std::numeric_limits<double>::infinity()))
    throw ArgumentError("the log-probability of token " + std::to_string(position.answer->ids[position.token]) +
                        " is not a number: the model's logits are not finite");
  position.answer->log_probs.push_back(log_prob);
}

ACTIVATION_TRACE_COMPILED_INLINE double AnswerLogProbs::value(const Position& position, MatrixView<float> logits) {
  ContinuationScore& answer = *position.answer;
  const auto id = static_cast<std::size_t>(answer.ids[position.token]);
  const std::span<float> mature = logits.row(0).span();
  if (base_.process) {
    StepLogits step{.mature = mature, .early = logits.slice(0, 1, layers())};
    if (amateur_ != nullptr)  // positions come in the order in which it reads them
      step.amateur = position.token == 0 ? amateur_->begin(0, position.prompt)
                                         : amateur_->observe(0, answer.ids[position.token - 1]);
    base_.process(step, mature);
    if (base_.dola) answer.layers.push_back(base_.dola->layer());
    const bool masked = mature[id] == -std::numeric_limits<float>::infinity();
    return static_cast<double>(masked ? options_.relative_top_value : mature[id]);
  }
  const LogNormalizer normalizer = log_normalizer(*execution_, mature);
  if (filter_ && mature[id] < filter_->threshold(mature, normalizer.max))
    return static_cast<double>(options_.relative_top_value);
  return (static_cast<double>(mature[id]) - static_cast<double>(normalizer.max)) - normalizer.log_sum;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
