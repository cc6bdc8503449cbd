// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/processors/base_scores.hpp"
#include "activation_trace/processors/context_strategy.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/lm_head.hpp"
#include "activation_trace/processors/mode.hpp"

namespace activation_trace {
inline namespace v0 {

/// A mode's scores from what the models say, for the texts of one prompt: the first half of a step. Holds the mode's
/// processors, and knows no model and nothing of generated tokens. Moves, does not copy; not safe for concurrent use.
class ModeProcessor {
 public:
  /// `early` are the premature layers as 0..N. `record`: whether steps can be asked for their survivors in modes that
  /// weigh no entropies, too. `norm` is applied to the context's states. `execution` must outlive this object.
  /// `mode` is one that validate() accepts.
  ModeProcessor(const Mode& mode, const std::optional<RecordOptions>& record, const std::optional<FinalNorm>& norm,
                std::span<const Index> early, Index vocab, Execution<Host>& execution);
  ModeProcessor(ModeProcessor&&) noexcept = default;
  ModeProcessor& operator=(ModeProcessor&&) noexcept = default;

  /// Whether observe_context() must be told the info layer's states.
  [[nodiscard]] bool reads_context() const noexcept { return sharpness_.has_value() || strategy_.has_value(); }
  /// Appends states[T, d] of the prompt or, where the context grows, of generated tokens. Throws as
  /// ContextStates::observe.
  void observe_context(MatrixView<const float> states, const LmHead<>& lm_head);
  /// The same for the first positions of a prompt, if others share them: their states, and the entropies over them.
  void begin_context(MatrixView<const float> states, ContextEntropy& entropies, const LmHead<>& lm_head);

  /// Whether the mode adds a term of the context to scores, be it with a weight of 0.
  [[nodiscard]] bool adds_context() const noexcept { return weighs_ || strategy_.has_value(); }

  /// Whether the scores are the mature logits, which need no process() then.
  [[nodiscard]] bool plain() const noexcept { return !base_.process && !strategy_ && !weighs_; }

  /// `scores`[V], a copy of logits.mature, become the mode's.
  void process(const StepLogits& logits, std::span<float> scores);

  /// Whether survivors() can be asked for.
  [[nodiscard]] bool records() const noexcept { return sharpness_.has_value(); }

  /// The plausibility filter's survivors at the last step, ascending ids, with log-probability and entropy; as score
  /// what the mode gives them without the strategy's term. `logits` are those of that step.
  [[nodiscard]] std::span<const SharpnessCandidate> survivors(const StepLogits& logits);

  /// Log-probability and entropy of any token.
  [[nodiscard]] SharpnessCandidate look_up(const StepLogits& logits, TokenId id);

  /// How often each premature layer was chosen, and the last one; empty and -1 in other modes.
  [[nodiscard]] std::span<const Index> layer_histogram() const {
    return base_.dola ? base_.dola->histogram() : std::span<const Index>();
  }
  /// The premature layer that the last step chose; -1 in other modes.
  [[nodiscard]] Index layer() const { return base_.dola ? base_.dola->layer() : -1; }

 private:
  using Norm = std::optional<FinalNorm>;

  // What reads the context of a mode: nothing of one that has none.
  template <class M>
  void read_context(const M&, const Norm&) {
    static_assert(
        !requires(M m) { m.context; }, "this mode has a context: say here what reads it");
  }
  void read_context(const Activation& mode, const Norm& norm);
  void read_context(const ActivationDola& mode, const Norm& norm);
  void make_sharpness(EntropySharpnessOptions options);

  Execution<Host>* execution_;
  BaseScores base_;
  std::optional<ContextStrategyProcessor> strategy_;
  std::optional<EntropySharpnessProcessor<>> sharpness_;  // the mode's own, or the records'
  bool weighs_ = false;                                   // sharpness_ is the mode's own
  bool on_logits_ = false;                                // what strategy_ is added to
  std::vector<float> row_;                                // [V], for records of modes that have no entropies
  std::vector<SharpnessCandidate> survivors_;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE ModeProcessor::ModeProcessor(const Mode& mode,
                                                              const std::optional<RecordOptions>& record,
                                                              const std::optional<FinalNorm>& norm,
                                                              std::span<const Index> early, Index vocab,
                                                              Execution<Host>& execution)
    : execution_(&execution), base_(base_scores(mode, {.early = early, .execution = execution})) {
  std::visit([&](const auto& m) { read_context(m, norm); }, mode);
  if (record && !sharpness_)
    make_sharpness({.alpha = 0, .filter = record->filter, .context = record->context.span, .final_norm = norm});
  if (sharpness_ && !weighs_) row_.reserve(static_cast<std::size_t>(vocab));
}

ACTIVATION_TRACE_COMPILED_INLINE void ModeProcessor::make_sharpness(EntropySharpnessOptions options) {
  sharpness_.emplace(std::move(options), *execution_);
  survivors_.reserve(1024);
}

ACTIVATION_TRACE_COMPILED_INLINE void ModeProcessor::read_context(const Activation& mode, const Norm& norm) {
  weighs_ = reads_entropy(mode.strategy);
  if (weighs_) {
    make_sharpness(
        {.alpha = *entropy_weight(mode), .filter = mode.filter, .context = mode.context.span, .final_norm = norm});
    return;
  }
  on_logits_ = mode.base == StrategyBase::logits;
  strategy_.emplace(ContextStrategyOptions{.strategy = mode.strategy,
                                           .base = mode.base,
                                           .alpha = mode.alpha,
                                           .filter = mode.filter,
                                           .context = mode.context.span,
                                           .final_norm = norm,
                                           .subject_position = mode.subject_key,
                                           .vote_threshold = mode.majority_threshold},
                    *execution_);
}

ACTIVATION_TRACE_COMPILED_INLINE void ModeProcessor::read_context(const ActivationDola& mode, const Norm& norm) {
  weighs_ = true;
  make_sharpness({.alpha = *entropy_weight(mode),
                  .context = mode.context.span,
                  .final_norm = norm,
                  .input = SharpnessInput::scores});
}

ACTIVATION_TRACE_COMPILED_INLINE void ModeProcessor::observe_context(MatrixView<const float> states,
                                                                     const LmHead<>& lm_head) {
  if (strategy_) strategy_->observe_context(states, lm_head);
  if (sharpness_) sharpness_->observe_context(states, lm_head);
}

ACTIVATION_TRACE_COMPILED_INLINE void ModeProcessor::begin_context(MatrixView<const float> states,
                                                                   ContextEntropy& entropies, const LmHead<>& lm_head) {
  if (strategy_) strategy_->observe_context(states, lm_head);
  if (sharpness_) sharpness_->begin_context(entropies);
}

ACTIVATION_TRACE_COMPILED_INLINE void ModeProcessor::process(const StepLogits& logits, std::span<float> scores) {
  if (base_.process) base_.process(logits, scores);
  if (strategy_) strategy_->process(scores);
  if (weighs_) sharpness_->process(scores);
}

ACTIVATION_TRACE_COMPILED_INLINE std::span<const SharpnessCandidate> ModeProcessor::survivors(
    const StepLogits& logits) {
  if (!weighs_) {
    row_.assign(logits.mature.begin(), logits.mature.end());
    sharpness_->process(row_);
  }
  survivors_ = sharpness_->record().kept;
  for (SharpnessCandidate& c : survivors_)
    c.score = on_logits_ ? logits.mature[static_cast<std::size_t>(c.id)] : c.log_prob;
  if (weighs_ && base_.process) {  // that was its score
    const LogNormalizer normalizer = log_normalizer(*execution_, logits.mature);
    for (SharpnessCandidate& c : survivors_)
      c.log_prob = normalizer.log_prob(logits.mature[static_cast<std::size_t>(c.id)]);
  }
  return survivors_;
}

ACTIVATION_TRACE_COMPILED_INLINE SharpnessCandidate ModeProcessor::look_up(const StepLogits& logits, TokenId id) {
  return {.id = id,
          .log_prob = log_normalizer(*execution_, logits.mature).log_prob(logits.mature[static_cast<std::size_t>(id)]),
          .entropy = sharpness_->state(id).entropy(),
          .score = 0};
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
