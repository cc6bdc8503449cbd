// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/result.hpp"
#include "activation_trace/generation/score_chain.hpp"
#include "activation_trace/generation/text_end.hpp"
#include "activation_trace/generation/text_run.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/mode_processor.hpp"

namespace activation_trace {
inline namespace v0 {

/// Searches for the text with the best sum of scores over length^length_penalty, following `count` texts at a time, as
/// Hugging Face's transformers 5 define it: at each step the best max(2, 1 + ends) * count continuations are looked at;
/// of those among the first `count` that end, the best `count` are kept, and the best that do not end are followed.
/// Scores are the mode's after the chain, in baseline decoding log-probabilities. Equal scores: the better beam, then
/// the lower id.
template <LanguageModel Model>
class BeamSearch {
 public:
  /// Arguments that detail::check_generation() has seen; all must outlive the search.
  BeamSearch(Model& model, std::span<const TokenId> prompt, const GenerationOptions& options,
             const GenerationCallbacks& callbacks, const Companions& with, Index index);

  /// The tokens of the best text are shown at the end.
  template <TextDecoder Decoder>
  GenerationResult run(Decoder decoder);

 private:
  /// A text that is followed: its tokens so far, and the model's sequence that has read all but the last.
  struct Beam {
    std::vector<TokenId> ids;
    double score = 0;
    Index slot = 0;
  };
  struct Continuation {
    double score;
    std::size_t beam;
    TokenId id;

    [[nodiscard]] bool better_than(const Continuation& other) const {
      if (score != other.score) return score > other.score;
      return beam != other.beam ? beam < other.beam : id < other.id;
    }
  };
  struct Ended {
    std::vector<TokenId> ids;
    double score;  // by length
    FinishReason reason;
  };

  enum class Outcome { goes_on, ended };

  void search();
  void look_at(std::size_t beam, const StepLogits& logits);
  Outcome choose();
  void keep(Ended ended);
  [[nodiscard]] bool can_improve() const;
  void branch();
  void copy(Index from, Index to);
  [[nodiscard]] double normalised(double score, Index length) const {
    return score / std::pow(static_cast<double>(length), static_cast<double>(options_.beams.length_penalty));
  }

  Model& model_;
  std::span<const TokenId> prompt_;
  const GenerationOptions& options_;
  const GenerationCallbacks& callbacks_;
  const Companions& with_;
  std::optional<detail::ContextSource> context_;
  Index index_;
  Index room_;  // tokens that a text may have
  std::size_t count_;
  std::size_t looked_at_;
  detail::StepForward<Model> forward_;
  ModeProcessor mode_;
  std::vector<ProcessorChain> chains_;          // one per slot
  std::vector<char> holds_prompt_;              // one per slot
  std::vector<Beam> beams_;                     // the best first
  std::vector<Beam> next_;                      // the same after this step; slots are still those of the parents
  std::vector<Continuation> best_;              // a heap, the worst on top
  std::vector<Ended> ended_;                    // the best first
  std::vector<float> scores_;                   // [V]
  FinishReason reason_ = FinishReason::length;  // cancelled, if it was
};

template <LanguageModel Model>
BeamSearch<Model>::BeamSearch(Model& model, std::span<const TokenId> prompt, const GenerationOptions& options,
                              const GenerationCallbacks& callbacks, const Companions& with, Index index)
    : model_(model),
      prompt_(prompt),
      options_(options),
      callbacks_(callbacks),
      with_(with),
      context_(detail::context_source(model, options)),
      index_(index),
      room_(std::min(options.max_new_tokens, model.max_context() - static_cast<Index>(prompt.size()) + 1)),
      count_(static_cast<std::size_t>(options.beams.count)),
      looked_at_(std::max<std::size_t>(2, 1 + options.eos.size() + options.stop_sequences.size()) * count_),
      forward_(model, detail::exit_layers(options.mode, model.config().layers), options.beams.count),
      mode_(options.mode, std::nullopt, context_ ? context_->norm : std::nullopt, forward_.early_layers(),
            model.config().vocab, model.execution()),
      chains_(count_, make_score_chain(options, with.processors, model.config().vocab)),
      holds_prompt_(count_, 0) {
  scores_.reserve(static_cast<std::size_t>(model.config().vocab));
  best_.reserve(looked_at_ + 1);
}

template <LanguageModel Model>
template <TextDecoder Decoder>
GenerationResult BeamSearch<Model>::run(Decoder decoder) {
  GenerationResult result;
  const detail::Clock::time_point start = detail::Clock::now();
  model_.rewind(0, 0);
  if (options_.max_new_tokens == 0) return result;
  LayerObserver<> observer;
  if (context_) {
    observer.layers = {context_->layer};
    observer.on_states = [&](Index, Index, MatrixView<const float> states) {
      mode_.observe_context(states, context_->lm_head);
    };
  }
  const bool read = detail::prefill(model_, forward_, 0, prompt_, options_.prefill_piece, observer, callbacks_);
  result.prefill_seconds = detail::seconds_since(start);
  const detail::Clock::time_point decode_start = detail::Clock::now();
  if (read)
    search();
  else
    reason_ = FinishReason::cancelled;

  if (!ended_.empty()) {
    result.ids = std::move(ended_.front().ids);
    result.score = ended_.front().score;
    result.reason = ended_.front().reason;
  } else if (!beams_.empty()) {
    result.ids = std::move(beams_.front().ids);
  }
  if (reason_ == FinishReason::cancelled) result.reason = reason_;
  for (std::size_t i = 0; i < result.ids.size(); ++i) {
    const TokenId id = result.ids[i];
    const std::size_t before = result.text.size();
    if (!detail::is_eos(id, options_)) result.text += decoder.push(id);
    if (i + 1 == result.ids.size()) result.text += decoder.finish();
    if (callbacks_.on_token &&
        callbacks_.on_token({.step = static_cast<Index>(i),
                             .id = id,
                             .text = std::string_view(result.text).substr(before),
                             .record = nullptr,
                             .sequence = index_}) == Continue::no &&
        i + 1 < result.ids.size()) {
      result.reason = FinishReason::cancelled;
      result.ids.resize(i + 1);
    }
  }
  result.layer_histogram.assign(mode_.layer_histogram().begin(), mode_.layer_histogram().end());
  result.decode_seconds = detail::seconds_since(decode_start);
  return result;
}

template <LanguageModel Model>
void BeamSearch<Model>::search() {
  chains_.front().observe_prompt(prompt_);
  holds_prompt_.front() = 1;
  beams_.assign(1, Beam{});
  std::vector<SequencePiece<>> pieces;
  pieces.reserve(count_);
  for (;;) {
    if (callbacks_.stop.stop_requested()) {
      reason_ = FinishReason::cancelled;
      return;
    }
    best_.clear();
    for (std::size_t b = 0; b < beams_.size(); ++b) {
      StepLogits logits = forward_[static_cast<Index>(b)];
      const Beam& beam = beams_[b];
      if (with_.amateur != nullptr)
        logits.amateur = beam.ids.empty() ? with_.amateur->begin(beam.slot, prompt_)
                                          : with_.amateur->observe(beam.slot, beam.ids.back());
      look_at(b, logits);
    }
    if (choose() == Outcome::ended) return;
    branch();
    pieces.clear();
    for (const Beam& beam : beams_) pieces.push_back({beam.slot, std::span(beam.ids).last(1), nullptr});
    forward_.run(pieces);
  }
}

// Adds the continuations of a beam to the best of all.
template <LanguageModel Model>
void BeamSearch<Model>::look_at(std::size_t beam, const StepLogits& logits) {
  scores_.assign(logits.mature.begin(), logits.mature.end());
  detail::check_scores("logits", scores_);
  if (mode_.plain())
    log_softmax(model_.execution(), scores_, scores_);
  else
    mode_.process(logits, scores_);
  chains_[static_cast<std::size_t>(beams_[beam].slot)].process(scores_);
  detail::check_scores("scores", scores_);
  const auto better = [](const Continuation& a, const Continuation& b) { return a.better_than(b); };
  for (std::size_t v = 0; v < scores_.size(); ++v) {
    if (scores_[v] == -std::numeric_limits<float>::infinity()) continue;
    const Continuation c{beams_[beam].score + static_cast<double>(scores_[v]), beam, static_cast<TokenId>(v)};
    if (best_.size() == looked_at_ && !c.better_than(best_.front())) continue;
    best_.push_back(c);
    std::push_heap(best_.begin(), best_.end(), better);
    if (best_.size() <= looked_at_) continue;
    std::pop_heap(best_.begin(), best_.end(), better);
    best_.pop_back();
  }
}

// Divides the best continuations into texts that end and beams that go on.
template <LanguageModel Model>
auto BeamSearch<Model>::choose() -> Outcome {
  std::sort(best_.begin(), best_.end(), [](const Continuation& a, const Continuation& b) { return a.better_than(b); });
  if (best_.empty() && ended_.empty()) throw ArgumentError("scores: none is above -inf");
  next_.clear();
  for (std::size_t i = 0; i < best_.size(); ++i) {
    const Continuation& c = best_[i];
    const Beam& parent = beams_[c.beam];
    std::vector<TokenId> ids = parent.ids;
    ids.push_back(c.id);
    const detail::Room room = std::ssize(ids) < room_ ? detail::Room::some : detail::Room::none;
    if (const std::optional<FinishReason> reason = detail::end_of(ids, options_, room)) {
      if (i >= count_) continue;
      const double score = normalised(c.score, static_cast<Index>(ids.size()));
      keep({std::move(ids), score, *reason});
    } else if (next_.size() < count_) {
      next_.push_back({std::move(ids), c.score, parent.slot});
    }
  }
  const bool enough = options_.beams.early_stopping == EarlyStopping::yes && ended_.size() == count_;
  return next_.empty() || enough || !can_improve() ? Outcome::ended : Outcome::goes_on;
}

template <LanguageModel Model>
void BeamSearch<Model>::keep(Ended ended) {
  const auto after = [](const Ended& a, const Ended& b) { return a.score > b.score; };
  ended_.insert(std::upper_bound(ended_.begin(), ended_.end(), ended, after), std::move(ended));
  if (ended_.size() > count_) ended_.pop_back();
}

template <LanguageModel Model>
bool BeamSearch<Model>::can_improve() const {
  if (ended_.size() < count_) return true;
  // A longer text has a larger divisor, so a negative sum looks better the longer it gets.
  const bool longest = options_.beams.early_stopping == EarlyStopping::never && options_.beams.length_penalty > 0;
  const Index length = longest ? room_ : static_cast<Index>(next_.front().ids.size());
  return normalised(next_.front().score, length) > ended_.back().score;
}

// A parent's first child keeps its sequence; the others get copies in sequences whose texts are given up.
template <LanguageModel Model>
void BeamSearch<Model>::branch() {
  std::vector<char> taken(count_, 0);
  for (const Beam& beam : next_) taken[static_cast<std::size_t>(beam.slot)] = 1;
  std::vector<char> kept(count_, 0);
  for (Beam& beam : next_) {
    char& first = kept[static_cast<std::size_t>(beam.slot)];
    if (std::exchange(first, char{1}) == 0) continue;
    const auto free = static_cast<std::size_t>(std::find(taken.begin(), taken.end(), char{0}) - taken.begin());
    taken[free] = kept[free] = 1;
    copy(beam.slot, static_cast<Index>(free));
    beam.slot = static_cast<Index>(free);
  }
  for (const Beam& beam : next_) chains_[static_cast<std::size_t>(beam.slot)].observe(std::span(beam.ids).last(1));
  beams_.swap(next_);
}

// The prompt is copied once only.
template <LanguageModel Model>
void BeamSearch<Model>::copy(Index from, Index to) {
  const auto slot = static_cast<std::size_t>(to);
  const auto prompt = static_cast<Index>(prompt_.size());
  const bool tail_only = std::exchange(holds_prompt_[slot], char{1}) != 0;
  model_.copy_sequence(from, to, tail_only ? prompt : 0);
  if (with_.amateur != nullptr) with_.amateur->copy(from, to, tail_only ? room_ : std::numeric_limits<Index>::max());
  chains_[slot] = chains_[static_cast<std::size_t>(from)];
}

}  // namespace v0
}  // namespace activation_trace
