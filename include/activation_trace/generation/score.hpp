// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/generation/answer_entropies.hpp"
#include "activation_trace/generation/answer_log_probs.hpp"
#include "activation_trace/generation/divide_text.hpp"
#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/generation/prefix_cache.hpp"
#include "activation_trace/generation/score_options.hpp"
#include "activation_trace/generation/validate.hpp"
#include "activation_trace/model/sequence_piece.hpp"
#include "activation_trace/ops/matmul.hpp"

namespace activation_trace {
inline namespace v0 {

/// A LanguageModel that scores answers' tokens itself: score_answers(options, layers) gives what does it, of states of
/// `layers`, 0..N, the mature one and the premature ones; or null where it cannot.
template <class M>
concept ScoresAnswers = LanguageModel<M> &&
    requires(M& model, const ScoreOptions& options, std::span<const Index> layers) {
  { model.score_answers(options, layers) } -> std::same_as<std::unique_ptr<AnswerScorer>>;
};

/// How well each of `continuations` continues `prompt`, by any mode of generation/README.md 1. Sums in double.
///
/// The prompt is computed once, its last token aside, and so is its part of the entropies; only tokens of the
/// continuations have entropies computed. A model with several sequences computes as many continuations at once. Where
/// continuations begin alike, logits are computed once, of all layers that the mode reads.
/// Logits exist for 64 rows at a time. Overwrites the model's sequences from position 0 on.
///
/// With a Llama whose max_batch holds the continuations and a prompt of `few_rows` tokens or more, the same bits come
/// for any number of continuations, sequences and threads; else the same numbers to rounding. To that end a
/// continuation that has fewer tokens than `few_rows` is computed with as many of the prompt's last.
///
/// If `callbacks` ask for a stop, the result has only the continuations that were complete.
///
/// Throws ArgumentError for an empty prompt or continuation, one that does not fit into the model's context, options
/// that cannot be, layers that do not exist, and a score that is not a number; and what model and callbacks throw.
template <LanguageModel Model>
std::vector<ContinuationScore> score(Model& model, std::span<const TokenId> prompt,
                                     std::span<const std::vector<TokenId>> continuations,
                                     const ScoreOptions& options = {}, const ScoreCallbacks& callbacks = {},
                                     const Companions& with = {});

/// The same for whole sequences, of which the first `prompt_length` ids are not scored. What all sequences begin with
/// is computed once, the last id of the prompt aside.
template <LanguageModel Model>
std::vector<ContinuationScore> score_sequences(Model& model, std::span<const std::vector<TokenId>> sequences,
                                               Index prompt_length, const ScoreOptions& options = {},
                                               const ScoreCallbacks& callbacks = {}, const Companions& with = {});

/// The same for text, as the published code does it: `prompt` and continuation are tokenised together, by the tokenizer
/// for_model() of this one if it has that, and what follows the prompt's tokens is the answer. A continuation usually
/// begins with a space.
///
/// Where the prompt's tokens are not what the whole begins with, the white space that ends the prompt counts as the
/// answers', of all of them, as in lm-evaluation-harness; results name it in `moved_space`. (The published code cuts
/// at the prompt's length then: of "is " and "Paris", whose whole ends in the token " Paris", it scores nothing.)
/// Throws ArgumentError if that does not help, beside what score() throws.
template <LanguageModel Model, PromptTokenizer Tokens>
std::vector<ContinuationScore> score_text(Model& model, const Tokens& tokenizer, std::string_view prompt,
                                          std::span<const std::string> continuations, const ScoreOptions& options = {},
                                          const ScoreCallbacks& callbacks = {}, const Companions& with = {});

namespace detail {

/// Answers without their scores, and their entropies [layers][A].
struct ScoredAnswers {
  std::vector<ContinuationScore> answers;
  std::vector<std::vector<std::vector<double>>> entropies;
};

/// Who scores answers in place of the host; null: nobody.
template <LanguageModel Model>
[[nodiscard]] std::unique_ptr<AnswerScorer> scorer_of([[maybe_unused]] Model& model,
                                                      [[maybe_unused]] const ScoreOptions& options,
                                                      [[maybe_unused]] std::span<const Index> layers) {
  if constexpr (ScoresAnswers<Model>) return model.score_answers(options, layers);
  return nullptr;
}

/// One call of score(), or of layer_entropies().
template <class Model>
class Scoring {
 public:
  /// Entropies are computed at `entropy_layers` of 0..N.
  Scoring(Model& model, std::span<const std::vector<TokenId>> sequences, Index prompt_length,
          const ScoreOptions& options, const ScoreCallbacks& callbacks, const Companions& with,
          std::vector<Index> entropy_layers);

  ScoredAnswers run();

 private:
  using Ids = std::span<const TokenId>;

  void check() const;
  /// Positions, `limit` of the prompt's at most, that all sequences have alike.
  [[nodiscard]] Index alike(Index limit) const;
  [[nodiscard]] Index common_length() const;
  [[nodiscard]] Index length(std::size_t i) const { return static_cast<Index>(sequences_[i].size()); }
  /// The positions of sequence i that its entropies are over end here.
  [[nodiscard]] Index context_end(std::size_t i) const {
    return std::min(span_.end, options_.context == ScoreContext::whole ? length(i) : prompt_length_);
  }
  /// The ids of sequence i that somebody needs the states of end here.
  [[nodiscard]] Index needed_end(std::size_t i) const {
    // An answer's last token predicts nothing that is asked for: it matters as context only.
    return entropies_.wanted() && context_end(i) == length(i) ? length(i) : length(i) - 1;
  }
  /// They are computed from here on: behind the common ones, or as far before as makes `few_rows`.
  [[nodiscard]] Index begin_of(std::size_t i) const { return std::clamp<Index>(needed_end(i) - few_rows, 0, common_); }
  [[nodiscard]] Ids rest(std::size_t i) const {
    return Ids(sequences_[i])
        .first(static_cast<std::size_t>(needed_end(i)))
        .subspan(static_cast<std::size_t>(begin_of(i)));
  }
  [[nodiscard]] Index parallel() const;
  [[nodiscard]] bool stopped() const { return callbacks_.stop.stop_requested(); }
  void advance(Index positions);

  bool compute_common();
  void compute(std::size_t first, std::size_t count);
  [[nodiscard]] LayerObserver<> observer(std::size_t i, AnswerEntropies::OwnStates& own_states);

  Model& model_;
  std::span<const std::vector<TokenId>> sequences_;
  Index prompt_length_;
  const ScoreOptions& options_;
  const ScoreCallbacks& callbacks_;
  const Companions& with_;
  ContextSpan span_;
  std::vector<Index> layers_;
  LmHead<> lm_head_;
  AnswerEntropies entropies_;
  Index shared_;                     // with with_.prefix
  Index common_;                     // computed once
  Index common_context_;             // of these, those whose part of the entropies is computed once
  AnswerEntropies::OwnStates tail_;  // of the others
  Index done_ = 0;
  Index total_ = 0;
  AnswerLogProbs log_probs_;
  ScoredAnswers results_;
};

template <class Model>
Scoring<Model>::Scoring(Model& model, std::span<const std::vector<TokenId>> sequences, Index prompt_length,
                        const ScoreOptions& options, const ScoreCallbacks& callbacks, const Companions& with,
                        std::vector<Index> entropy_layers)
    : model_(model),
      sequences_(sequences),
      prompt_length_(prompt_length),
      options_((options.validate(), options)),
      callbacks_(callbacks),
      with_(with),
      span_(options.entropies() != nullptr ? options.entropies()->span : ContextSpan{}),
      layers_(exit_layers(options.mode, model.config().layers)),
      lm_head_(model.lm_head()),
      entropies_(std::move(entropy_layers), model.config().layers, lm_head_, model.execution(),
                 options.entropies() != nullptr && options.entropies()->final_norm
                     ? std::optional<FinalNorm>(model.final_norm())
                     : std::nullopt),
      shared_((check(), with.prefix != nullptr && !sequences.empty() &&
                                alike(prompt_length - few_rows) >= std::ssize(with.prefix->ids())
                            ? with.prefix->covers(sequences[0])
                            : 0)),
      common_(common_length()),
      common_context_(std::min(common_, alike(prompt_length - few_rows))),
      log_probs_(options, layers_, lm_head_, model.execution(), with.amateur, scorer_of(model, options, layers_)) {
  results_.answers.resize(sequences.size());
  results_.entropies.resize(sequences.size());
  total_ = common_ - shared_;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    results_.answers[i].ids.assign(sequences[i].begin() + prompt_length, sequences[i].end());
    total_ += static_cast<Index>(rest(i).size());
  }
  log_probs_.plan(sequences, prompt_length, results_.answers);
}

template <class Model>
void Scoring<Model>::check() const {
  if (prompt_length_ < 1) throw ArgumentError("prompt: it is empty");
  check_amateur(with_.amateur, options_.mode, model_.config().vocab);
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    const std::string which = "continuation " + std::to_string(i) + ": ";
    if (length(i) <= prompt_length_) throw ArgumentError(which + "it adds no token to the prompt");
    if (length(i) > model_.max_context())
      throw ArgumentError(which + "with the prompt it has " + std::to_string(length(i)) +
                          " tokens, which do not fit into a context of " + std::to_string(model_.max_context()));
    for (const TokenId id : sequences_[i])
      if (id < 0 || id >= model_.config().vocab)
        throw ArgumentError(which + "token id " + std::to_string(id) + " is not in the vocabulary of " +
                            std::to_string(model_.config().vocab));
    if (with_.amateur != nullptr && length(i) > with_.amateur->max_context())
      throw ArgumentError(which + "with the prompt it has " + std::to_string(length(i)) +
                          " tokens, which do not fit into the amateur's context of " +
                          std::to_string(with_.amateur->max_context()));
    if (entropies_.wanted() && span_.begin >= context_end(i))
      throw ArgumentError(which + "none of its positions lies within the span from " + std::to_string(span_.begin) +
                          " on");
  }
}

template <class Model>
Index Scoring<Model>::alike(Index limit) const {
  Index common = std::max<Index>(0, limit);
  for (const std::vector<TokenId>& ids : sequences_)
    common = std::mismatch(ids.begin(), ids.begin() + common, sequences_[0].begin()).first - ids.begin();
  return common;
}

template <class Model>
Index Scoring<Model>::common_length() const {
  // The prompt's last token predicts the first of the answers and goes with each of them. So do those that would be
  // fewer than `few_rows` by themselves: the same kernels compute an answer, and it scores the same, whatever it is
  // scored with.
  const Index common = alike(prompt_length_ - 1);
  const Index last_piece = (common - shared_) % options_.prefill_piece;
  return last_piece < few_rows ? common - last_piece : common;
}

template <class Model>
Index Scoring<Model>::parallel() const {
  return std::min<Index>(model_.sequences(), static_cast<Index>(sequences_.size()));
}

template <class Model>
void Scoring<Model>::advance(Index positions) {
  done_ += positions;
  if (callbacks_.on_progress) callbacks_.on_progress(done_, total_);
}

template <class Model>
ScoredAnswers Scoring<Model>::run() {
  if (sequences_.empty()) return {};
  const auto width = static_cast<std::size_t>(parallel());
  std::size_t complete = 0;
  if (compute_common())
    for (; complete < sequences_.size() && !stopped(); complete = std::min(complete + width, sequences_.size()))
      compute(complete, std::min(width, sequences_.size() - complete));
  log_probs_.finish();
  results_.answers.resize(complete);
  results_.entropies.resize(complete);
  return std::move(results_);
}

/// Returns false if it was stopped.
template <class Model>
bool Scoring<Model>::compute_common() {
  const Ids ids = Ids(sequences_[0]).first(static_cast<std::size_t>(common_));
  LayerObserver<> observer;
  observer.layers = entropies_.layers();
  observer.begin = span_.begin;
  observer.end = span_.end;
  observer.on_states = [&](Index layer, Index first, MatrixView<const float> states) {
    const Index once = std::clamp<Index>(common_context_ - first, 0, states.extent(0));
    if (once > 0) entropies_.observe_common(layer, states.slice(0, 0, once));
    entropies_.observe_own(layer, states.slice(0, once, states.extent(0)), tail_);
  };
  if (shared_ != 0) {
    for (Index s = 0; s < parallel(); ++s) with_.prefix->enter(model_, s, entropies_.layers(), options_.prefill_piece);
    entropies_.begin_with(*with_.prefix, span_);
  } else {
    model_.rewind(0, 0);
  }
  const bool complete = in_pieces(ids.subspan(static_cast<std::size_t>(shared_)), options_.prefill_piece,
                                  [&](std::span<const TokenId> part, Index) {
                                    if (stopped()) return false;
                                    const SequencePiece<> piece{0, part, &observer};
                                    model_.fill(std::span(&piece, 1));
                                    advance(std::ssize(part));
                                    return true;
                                  });
  if (!complete) return false;
  for (Index s = 1; s < parallel(); ++s) model_.copy_sequence(0, s, shared_);
  if (entropies_.wanted()) {
    std::vector<TokenId> answers;
    for (const ContinuationScore& answer : results_.answers)
      answers.insert(answers.end(), answer.ids.begin(), answer.ids.end());
    std::ranges::sort(answers);
    answers.erase(std::unique(answers.begin(), answers.end()), answers.end());
    entropies_.prepare(answers);
  }
  return true;
}

template <class Model>
void Scoring<Model>::compute(std::size_t first, std::size_t count) {
  std::vector<AnswerEntropies::OwnStates> own_states(count, tail_);
  std::vector<LayerObserver<>> observers;
  Index positions = 0;
  for (std::size_t k = 0; k < count; ++k) {
    observers.push_back(observer(first + k, own_states[k]));
    positions += static_cast<Index>(rest(first + k).size());
  }
  std::vector<SequencePiece<>> pieces;
  for (std::size_t k = 0; k < count; ++k) {
    model_.rewind(begin_of(first + k), static_cast<Index>(k));
    pieces.push_back({static_cast<Index>(k), rest(first + k), &observers[k]});
  }
  model_.fill(pieces);
  for (std::size_t k = 0; k < count; ++k) model_.rewind(common_, static_cast<Index>(k));
  log_probs_.evaluate();
  for (std::size_t k = 0; k < count; ++k)
    results_.entropies[first + k] = entropies_.entropies(results_.answers[first + k].ids, own_states[k]);
  advance(positions);
}

template <class Model>
LayerObserver<> Scoring<Model>::observer(std::size_t i, AnswerEntropies::OwnStates& own_states) {
  LayerObserver<> observer;
  observer.layers = layers_;
  observer.layers.insert(observer.layers.end(), entropies_.layers().begin(), entropies_.layers().end());
  const Index answer = log_probs_.expect(i);
  observer.on_states = [this, i, &own_states, answer](Index layer, Index first, MatrixView<const float> states) {
    const auto within = [&](Index begin, Index end) {
      const Index from = std::clamp<Index>(begin - first, 0, states.extent(0));
      return states.slice(0, from, std::clamp<Index>(end - first, from, states.extent(0)));
    };
    entropies_.observe_own(layer, within(std::max(span_.begin, common_), context_end(i)), own_states);
    const Index begin = prompt_length_ - 1;
    log_probs_.take(layer, answer + std::max<Index>(0, first - begin), within(begin, length(i) - 1));
  };
  return observer;
}

}  // namespace detail

template <LanguageModel Model>
std::vector<ContinuationScore> score_sequences(Model& model, std::span<const std::vector<TokenId>> sequences,
                                               Index prompt_length, const ScoreOptions& options,
                                               const ScoreCallbacks& callbacks, const Companions& with) {
  const ContextOptions* context = options.entropies();
  std::vector<Index> info_layer;
  if (context != nullptr) info_layer.push_back(detail::resolve_info_layer(context->info_layer, model.config().layers));
  detail::Scoring<Model> scoring(model, sequences, prompt_length, options, callbacks, with, std::move(info_layer));
  detail::ScoredAnswers scored = scoring.run();
  const auto* activation = std::get_if<Activation>(&options.mode);
  const bool entropies_alone = activation != nullptr && activation->strategy == ContextStrategy::single_entropy;
  const double weight = entropy_weight(options.mode).value_or(0);
  for (std::size_t i = 0; i < scored.answers.size(); ++i) {
    ContinuationScore& answer = scored.answers[i];
    if (context != nullptr) answer.entropies = std::move(scored.entropies[i][0]);
    const double entropy = std::accumulate(answer.entropies.begin(), answer.entropies.end(), 0.0);
    if (entropies_alone)
      answer.score = options.single_entropy == SingleEntropy::reference ? entropy : -entropy;
    else
      answer.score =
          std::accumulate(answer.log_probs.begin(), answer.log_probs.end(), 0.0) - (weight != 0 ? weight * entropy : 0);
  }
  return std::move(scored.answers);
}

template <LanguageModel Model>
std::vector<ContinuationScore> score(Model& model, std::span<const TokenId> prompt,
                                     std::span<const std::vector<TokenId>> continuations, const ScoreOptions& options,
                                     const ScoreCallbacks& callbacks, const Companions& with) {
  std::vector<std::vector<TokenId>> sequences;
  for (const std::vector<TokenId>& continuation : continuations) {
    sequences.emplace_back(prompt.begin(), prompt.end());
    sequences.back().insert(sequences.back().end(), continuation.begin(), continuation.end());
  }
  return score_sequences(model, sequences, static_cast<Index>(prompt.size()), options, callbacks, with);
}

template <LanguageModel Model, PromptTokenizer Tokens>
std::vector<ContinuationScore> score_text(Model& model, const Tokens& tokenizer, std::string_view prompt,
                                          std::span<const std::string> continuations, const ScoreOptions& options,
                                          const ScoreCallbacks& callbacks, const Companions& with) {
  const detail::DividedText text = detail::divide_text(tokenizer, model.config().vocab, prompt, continuations);
  std::vector<ContinuationScore> scores =
      score_sequences(model, text.sequences, text.prompt_length, options, callbacks, with);
  for (ContinuationScore& score : scores) score.moved_space = text.moved_space;
  return scores;
}

}  // namespace v0
}  // namespace activation_trace
