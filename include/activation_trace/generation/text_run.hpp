// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/prefix_cache.hpp"
#include "activation_trace/generation/result.hpp"
#include "activation_trace/generation/text_end.hpp"
#include "activation_trace/processors/token_chooser.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

using Clock = std::chrono::steady_clock;

[[nodiscard]] inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// One text while it is generated: token after token until there is a reason to end. Stays where it is, because the
/// observer refers to it.
template <TextDecoder Decoder>
class TextRun {
 public:
  /// `index` says which prompt it is. `options` and `context`, if there is one, must outlive the run.
  TextRun(Index index, std::span<const TokenId> prompt, Decoder decoder, const GenerationOptions& options,
          TokenChooser chooser, const ContextSource* context)
      : index_(index), context_(context), chooser_(std::move(chooser)), text_(options, std::move(decoder)) {
    chooser_.observe_prompt(prompt);
    if (context_ == nullptr) return;
    observer_.layers = {context_->layer};
    observer_.on_states = [this](Index, Index, MatrixView<const float> states) {
      chooser_.mode().observe_context(states, context_->lm_head);
    };
  }
  /// The prompt's first positions are those of `prefix`, which knows the states of observer().layers.
  void begin_with(PrefixCache& prefix, Execution<Host>& execution) {
    if (context_ == nullptr) return;
    const ContextSource& c = *context_;
    chooser_.mode().begin_context(prefix.states(c.layer), prefix.context(c.layer, c.span, c.norm, c.lm_head, execution),
                                  c.lm_head);
  }
  TextRun(const TextRun&) = delete;
  TextRun& operator=(const TextRun&) = delete;

  [[nodiscard]] Index index() const noexcept { return index_; }
  /// To be shown the prompt's states.
  [[nodiscard]] const LayerObserver<>& observer() const noexcept { return observer_; }

  /// The last token, to be read by the model.
  [[nodiscard]] SequencePiece<> piece(Index sequence) const {
    const bool growing = context_ != nullptr && context_->growth == ContextGrowth::growing;
    return {sequence, std::span(text_.ids()).last(1), growing ? &observer_ : nullptr};
  }

  void reserve(Index ids) { text_.reserve(ids); }

  void end_prefill() {
    const Clock::time_point now = Clock::now();
    result_.prefill_seconds = std::chrono::duration<double>(now - start_).count();
    start_ = now;
  }

  /// Chooses the next token and shows it; `room` says whether the model could read it. Returns whether the text goes
  /// on.
  bool step(const StepLogits& logits, Room room, const GenerationCallbacks& callbacks) {
    return show(chooser_.choose(logits), room, callbacks);
  }

  /// The same for a token that is chosen; `seen` is null where no records are asked for.
  bool take(TokenId id, const ChosenStep* seen, Room room, const GenerationCallbacks& callbacks) {
    if (seen != nullptr) chooser_.accept(*seen);
    return show(id, room, callbacks);
  }
  void cancel() {
    result_.reason = FinishReason::cancelled;
    text_.finish();
  }

  /// What came of it; to be asked once.
  [[nodiscard]] GenerationResult result() {
    text_.move_to(result_);
    result_.decode_seconds = seconds_since(start_);
    const std::span<const Index> histogram = chooser_.mode().layer_histogram();
    result_.layer_histogram.assign(histogram.begin(), histogram.end());
    return std::move(result_);
  }

 private:
  bool show(TokenId id, Room room, const GenerationCallbacks& callbacks) {
    const auto number = static_cast<Index>(text_.ids().size());
    const std::size_t before = text_.text().size();
    const std::optional<FinishReason> ended = text_.push(id, room);
    if (ended) result_.reason = *ended;
    const bool wanted =
        !callbacks.on_token || callbacks.on_token({.step = number,
                                                   .id = id,
                                                   .text = std::string_view(text_.text()).substr(before),
                                                   .record = chooser_.record(),
                                                   .sequence = index_}) == Continue::yes;
    if (!wanted && !ended) cancel();
    return wanted && !ended;
  }

  Index index_;
  const ContextSource* context_;
  TokenChooser chooser_;
  GrowingText<Decoder> text_;
  LayerObserver<> observer_;
  GenerationResult result_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
