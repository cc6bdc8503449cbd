// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <memory>
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
/// multiplies them by the LM head when there are enough for a block of rows. Answers that begin alike share what
/// predicts the tokens up to the first that differs: of TruthfulQA's answers to a question that is a third.
class AnswerLogProbs {
 public:
  /// `layers` = the mature one, then the premature ones, all 0..N. `amateur` is contrastive scoring's. `scorer` makes
  /// logits of states, if there is one, and lm_head else.
  AnswerLogProbs(const ScoreOptions& options, std::vector<Index> layers, LmHead<> lm_head, Execution<Host>& execution,
                 Amateur* amateur, std::unique_ptr<AnswerScorer> scorer = nullptr);

  /// What is going to be asked for, in the order of `answers`, whose ids are those of `sequences` behind the prompt.
  /// Both must stay where they are until finish().
  void plan(std::span<const std::vector<TokenId>> sequences, Index prompt_length, std::span<ContinuationScore> answers);
  /// Makes room for the states that answer i is the first to need. Returns the number of the first of its positions,
  /// good until the next evaluate().
  Index expect(std::size_t i);
  /// h_layer of `position` and the next.
  void take(Index layer, Index position, MatrixView<const float> states);
  /// Completes the answers' log_probs and layers as far as whole blocks go.
  void evaluate();
  /// Completes them all.
  void finish();

 private:
  struct Token {
    std::size_t answer;
    std::size_t number;  // in the answer
  };
  using Tokens = std::vector<Token>;  // that one position predicts, by answers

  [[nodiscard]] Index layers() const { return static_cast<Index>(layers_.size()); }
  [[nodiscard]] Index state_size() const { return layers() * lm_head_.hidden(); }
  void evaluate(Index positions);
  /// Of states[positions * layers, d] and some more rows, by the scorer.
  void ask(Index positions, MatrixView<const float> states);
  /// logits [layers, V], destroyed.
  void evaluate(const Tokens& tokens, MatrixView<float> logits);
  /// What a mode with a processor gives tokens, and what one without; logits as above.
  void process(const Tokens& tokens, MatrixView<float> logits);
  void normalize(const Tokens& tokens, std::span<const float> mature);
  void check(const Tokens& tokens) const;
  [[nodiscard]] std::size_t id_of(const Token& t) const {
    return static_cast<std::size_t>(answers_[t.answer].ids[t.number]);
  }

  const ScoreOptions& options_;
  std::vector<Index> layers_;
  LmHead<> lm_head_;
  Execution<Host>* execution_;
  Amateur* amateur_;
  std::unique_ptr<AnswerScorer> scorer_;
  Index block_;  // positions whose logits exist at once: of 64 rows, one costs half as much as of a dozen
  std::optional<RelativeTopFilter> filter_;
  BaseScores base_;
  std::span<const std::vector<TokenId>> sequences_;
  Index prompt_length_ = 0;
  std::span<ContinuationScore> answers_;
  std::vector<Tokens> positions_;
  std::vector<std::vector<std::size_t>> positions_of_;  // by answer and token
  std::vector<std::size_t> waiting_;                    // of positions_
  std::vector<Index> places_;                           // in waiting_, of what was expected; -1: another answer's
  std::vector<float> states_;                           // [waiting, layers, d]
  std::vector<float> logits_;                           // [block, layers, V]
  Buffer<float> rows_;                                  // of an LM head on request
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE AnswerLogProbs::AnswerLogProbs(const ScoreOptions& options, std::vector<Index> layers,
                                                                LmHead<> lm_head, Execution<Host>& execution,
                                                                Amateur* amateur, std::unique_ptr<AnswerScorer> scorer)
    : options_(options),
      layers_(std::move(layers)),
      lm_head_(std::move(lm_head)),
      execution_(&execution),
      amateur_(amateur),
      scorer_(std::move(scorer)),
      block_(std::max<Index>(1, 64 / this->layers())),
      base_(base_scores(options.mode, {.early = std::span(layers_).subspan(1),
                                       .execution = execution,
                                       .scoring = ScoringForm{options.post_softmax, options.relative_top_value}})) {
  if (options.filter == ScoreFilter::on) filter_.emplace(*filter_of(options.mode));
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::plan(std::span<const std::vector<TokenId>> sequences,
                                                           Index prompt_length, std::span<ContinuationScore> answers) {
  sequences_ = sequences;
  prompt_length_ = prompt_length;
  answers_ = answers;
  positions_of_.resize(answers.size());
  std::map<std::vector<TokenId>, std::size_t> first;            // position of a prompt
  std::map<std::pair<std::size_t, TokenId>, std::size_t> next;  // position behind a position's token
  const bool shared = amateur_ == nullptr;                      // which reads one answer after the other
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const std::vector<TokenId>& ids = answers[i].ids;
    for (std::size_t t = 0; t < ids.size(); ++t) {
      std::size_t position = positions_.size();
      if (shared && t == 0)
        position =
            first.try_emplace({sequences[i].begin(), sequences[i].begin() + prompt_length}, position).first->second;
      else if (shared)
        position = next.try_emplace({positions_of_[i].back(), ids[t - 1]}, position).first->second;
      if (position == positions_.size()) positions_.emplace_back();
      positions_[position].push_back({i, t});
      positions_of_[i].push_back(position);
    }
    answers[i].log_probs.resize(ids.size());
    if (base_.dola) answers[i].layers.resize(ids.size());
  }
}

ACTIVATION_TRACE_COMPILED_INLINE Index AnswerLogProbs::expect(std::size_t i) {
  const auto first = static_cast<Index>(places_.size());
  for (const std::size_t position : positions_of_[i]) {
    const bool own = positions_[position].front().answer == i;
    places_.push_back(own ? static_cast<Index>(waiting_.size()) : -1);
    if (own) waiting_.push_back(position);
  }
  states_.resize(waiting_.size() * static_cast<std::size_t>(state_size()));
  return first;
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::take(Index layer, Index position,
                                                           MatrixView<const float> states) {
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    if (layers_[k] != layer) continue;
    for (Index i = 0; i < states.extent(0); ++i) {
      const Index place = places_[static_cast<std::size_t>(position + i)];
      if (place >= 0)
        std::ranges::copy(states.row(i).span(),
                          states_.data() + place * state_size() + static_cast<Index>(k) * lm_head_.hidden());
    }
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::evaluate() {
  while (static_cast<Index>(waiting_.size()) >= block_) evaluate(block_);
  places_.clear();
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
  const MatrixView<const float> states(states_.data(), {rows, lm_head_.hidden()});
  if (scorer_ != nullptr) {
    ask(positions, states);
  } else {
    logits_.resize(static_cast<std::size_t>(rows * lm_head_.vocab()));
    const MatrixView<float> logits(logits_.data(), {rows, lm_head_.vocab()});
    lm_head_.logits(*execution_, states, logits, rows_);
    for (Index i = 0; i < positions; ++i)
      evaluate(positions_[waiting_[static_cast<std::size_t>(i)]], logits.slice(0, i * layers(), (i + 1) * layers()));
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + positions);
  states_.erase(states_.begin(), states_.begin() + positions * state_size());
  states_.resize(waiting_.size() * static_cast<std::size_t>(state_size()));
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::evaluate(const Tokens& tokens, MatrixView<float> logits) {
  if (base_.process)
    process(tokens, logits);
  else
    normalize(tokens, logits.row(0).span());
  check(tokens);
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::ask(Index positions, MatrixView<const float> states) {
  std::vector<AskedToken> asked;
  const auto tokens_of = [&](Index i) -> const Tokens& { return positions_[waiting_[static_cast<std::size_t>(i)]]; };
  for (Index i = 0; i < positions; ++i)
    for (const Token& t : tokens_of(i)) asked.push_back({i, static_cast<TokenId>(id_of(t))});
  std::vector<double> log_probs(asked.size());
  std::vector<Index> chosen(static_cast<std::size_t>(positions));
  scorer_->score(states, asked, log_probs, chosen);
  std::size_t next = 0;
  for (Index i = 0; i < positions; ++i) {
    const Index layer = chosen[static_cast<std::size_t>(i)];
    for (const Token& t : tokens_of(i)) {
      answers_[t.answer].log_probs[t.number] = log_probs[next++];
      if (base_.dola)
        answers_[t.answer].layers[t.number] = layer < 0 ? -1 : layers_[static_cast<std::size_t>(layer) + 1];
    }
    check(tokens_of(i));
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::check(const Tokens& tokens) const {
  for (const Token& t : tokens)
    if (!(answers_[t.answer].log_probs[t.number] < std::numeric_limits<double>::infinity()))
      throw ArgumentError("the log-probability of token " + std::to_string(id_of(t)) +
                          " is not a number: the model's logits are not finite");
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::process(const Tokens& tokens, MatrixView<float> logits) {
  const std::span<float> mature = logits.row(0).span();
  StepLogits step{.mature = mature, .early = logits.slice(0, 1, layers())};
  if (amateur_ != nullptr) {  // positions come in the order in which it reads them
    const Token& t = tokens.front();
    const std::span<const TokenId> ids = sequences_[t.answer];
    step.amateur = t.number == 0 ? amateur_->begin(0, ids.first(static_cast<std::size_t>(prompt_length_)))
                                 : amateur_->observe(0, answers_[t.answer].ids[t.number - 1]);
  }
  base_.process(step, mature);
  for (const Token& t : tokens) {
    if (base_.dola) answers_[t.answer].layers[t.number] = base_.dola->layer();
    const float score = mature[id_of(t)];
    const bool masked = score == -std::numeric_limits<float>::infinity();
    answers_[t.answer].log_probs[t.number] = static_cast<double>(masked ? options_.relative_top_value : score);
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void AnswerLogProbs::normalize(const Tokens& tokens, std::span<const float> mature) {
  const LogNormalizer normalizer = log_normalizer(*execution_, mature);
  const float threshold =
      filter_ ? filter_->threshold(mature, normalizer.max) : -std::numeric_limits<float>::infinity();
  for (const Token& t : tokens) {
    const float logit = mature[id_of(t)];
    answers_[t.answer].log_probs[t.number] =
        filter_ && logit < threshold
            ? static_cast<double>(options_.relative_top_value)
            : (static_cast<double>(logit) - static_cast<double>(normalizer.max)) - normalizer.log_sum;
  }
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
