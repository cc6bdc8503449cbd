// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/validate.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/ops/thread_pool.hpp"
#include "activation_trace/processors/context_strategy.hpp"
#include "activation_trace/processors/contrastive.hpp"
#include "activation_trace/processors/dola.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/lm_head.hpp"

namespace activation_trace {
inline namespace v0 {

/// What the models say at one position. Views of their memory.
struct StepLogits {
  std::span<const float> mature;        ///< [V]
  MatrixView<const float> early = {};   ///< [C, V] of the candidate layers, for the DoLa modes
  std::span<const float> amateur = {};  ///< [V], for contrastive decoding
};

/// What the DoLa of a mode that uses candidate layers does in generation.
[[nodiscard]] inline DolaOptions dola_options(const GenerationOptions& options) {
  const bool under_entropy = options.decoding_mode == DecodingMode::activation_dola;
  return {.relative_top = options.relative_top,
          .min_tokens_to_keep = options.min_tokens_to_keep,
          .divergence = options.divergence,
          .base = under_entropy ? options.activation_dola_base : DolaBase::log_probs,
          .unfiltered = under_entropy ? DolaUnfiltered::log_probs : DolaUnfiltered::logits};
}

/// The first half of a step: a DecodingMode's scores from what the models say, for the texts of one prompt. Holds the
/// mode's processors, and knows nothing of generated tokens.
class ModeScores {
 public:
  /// `early` are the candidate layers as 0..N. `pool` must outlive this object.
  ModeScores(const GenerationOptions& options, std::span<const Index> early, Index vocab, ThreadPool& pool);

  /// Whether observe_context() must be told the info layer's states.
  [[nodiscard]] bool reads_context() const noexcept { return sharpness_.has_value() || strategy_.has_value(); }
  void observe_context(MatrixView<const float> states, const LmHead& lm_head);
  /// The same for the first positions of a prompt, if others share them: their states, and the entropies over them.
  void begin_context(MatrixView<const float> states, ContextEntropy& entropies, const LmHead& lm_head);

  /// Whether the scores are the mature logits, which need no process() then.
  [[nodiscard]] bool plain() const noexcept { return mode_ == DecodingMode::baseline; }

  /// `scores`[V], a copy of logits.mature, become the mode's.
  void process(const StepLogits& logits, std::span<float> scores);

  /// Whether survivors() can be asked for.
  [[nodiscard]] bool records() const noexcept { return sharpness_.has_value(); }

  /// The plausibility filter's survivors at the last step, ascending ids, with log-probability and entropy; as score
  /// what the mode gives them without the strategy's term. `logits` are those of that step.
  [[nodiscard]] std::span<const SharpnessCandidate> survivors(const StepLogits& logits);

  /// Log-probability and entropy of any token.
  [[nodiscard]] SharpnessCandidate look_up(const StepLogits& logits, TokenId id);

  /// How often each candidate layer was chosen, and the last one; empty and -1 in other modes.
  [[nodiscard]] std::span<const Index> layer_histogram() const;
  [[nodiscard]] Index layer() const { return dola_ ? dola_->layer() : -1; }

 private:
  [[nodiscard]] bool by_entropy() const { return uses_context(mode_) && !strategy_; }
  [[nodiscard]] bool on_logits() const { return strategy_ && strategy_->options().base == StrategyBase::logits; }
  [[nodiscard]] static EntropySharpnessOptions sharpness_options(const GenerationOptions& options);
  [[nodiscard]] static std::optional<ContextStrategyOptions> strategy_options(const GenerationOptions& options);

  DecodingMode mode_;
  std::optional<DolaProcessor> dola_;
  std::optional<ContrastiveProcessor> contrastive_;
  std::optional<ContextStrategyProcessor> strategy_;
  std::optional<EntropySharpnessProcessor<>> sharpness_;  // the mode's own, or the records'
  std::vector<float> row_;                                // [V], for records of modes that have no entropies
  std::vector<SharpnessCandidate> survivors_;
};

inline ModeScores::ModeScores(const GenerationOptions& options, std::span<const Index> early, Index vocab,
                              ThreadPool& pool)
    : mode_(options.decoding_mode) {
  if (uses_candidate_layers(mode_))
    dola_.emplace(std::vector<Index>(early.begin(), early.end()), dola_options(options), pool);
  if (mode_ == DecodingMode::contrastive)
    contrastive_.emplace(ContrastiveOptions{.coefficient = options.contrastive_coefficient,
                                            .student_temperature = options.student_temperature,
                                            .relative_top = options.relative_top,
                                            .min_tokens_to_keep = options.min_tokens_to_keep},
                         pool);
  if (const auto strategy = strategy_options(options)) strategy_.emplace(*strategy, pool);
  if (by_entropy() || records_always(options)) sharpness_.emplace(sharpness_options(options), pool);
  if (sharpness_ && !by_entropy()) row_.reserve(static_cast<std::size_t>(vocab));
  if (sharpness_) survivors_.reserve(1024);
}

inline void ModeScores::observe_context(MatrixView<const float> states, const LmHead& lm_head) {
  if (strategy_) strategy_->observe_context(states, lm_head);
  if (sharpness_) sharpness_->observe_context(states, lm_head);
}

inline void ModeScores::begin_context(MatrixView<const float> states, ContextEntropy& entropies,
                                      const LmHead& lm_head) {
  if (strategy_) strategy_->observe_context(states, lm_head);
  if (sharpness_) sharpness_->begin_context(entropies);
}

inline void ModeScores::process(const StepLogits& logits, std::span<float> scores) {
  if (dola_) {
    dola_->observe_layers(logits.early);
    dola_->process(scores);
  }
  if (contrastive_) {
    contrastive_->observe_amateur(logits.amateur);
    contrastive_->process(scores);
  }
  if (strategy_) strategy_->process(scores);
  if (by_entropy()) sharpness_->process(scores);
}

inline std::span<const SharpnessCandidate> ModeScores::survivors(const StepLogits& logits) {
  if (!by_entropy()) {
    row_.assign(logits.mature.begin(), logits.mature.end());
    sharpness_->process(row_);
  }
  survivors_ = sharpness_->record().kept;
  for (SharpnessCandidate& c : survivors_)
    c.score = on_logits() ? logits.mature[static_cast<std::size_t>(c.id)] : c.log_prob;
  if (mode_ == DecodingMode::activation_dola) {  // that was DoLa's score
    const LogNormalizer normalizer = log_normalizer(logits.mature);
    for (SharpnessCandidate& c : survivors_)
      c.log_prob = normalizer.log_prob(logits.mature[static_cast<std::size_t>(c.id)]);
  }
  return survivors_;
}

inline SharpnessCandidate ModeScores::look_up(const StepLogits& logits, TokenId id) {
  return {.id = id,
          .log_prob = log_normalizer(logits.mature).log_prob(logits.mature[static_cast<std::size_t>(id)]),
          .entropy = sharpness_->state(id).entropy(),
          .score = 0};
}

inline std::span<const Index> ModeScores::layer_histogram() const {
  return dola_ ? dola_->histogram() : std::span<const Index>();
}

inline std::optional<ContextStrategyOptions> ModeScores::strategy_options(const GenerationOptions& options) {
  ContextStrategyOptions result{.base = options.strategy_base,
                                .alpha = options.alpha,
                                .relative_top = options.relative_top,
                                .min_tokens_to_keep = options.min_tokens_to_keep,
                                .context = options.context,
                                .final_norm = options.final_norm,
                                .subject_position = options.subject_key,
                                .vote_threshold = options.majority_threshold};
  switch (options.strategy) {
    case DecodingStrategy::entropy:
    case DecodingStrategy::single_entropy: return std::nullopt;
    case DecodingStrategy::subject: result.strategy = ContextStrategy::subject; break;
    case DecodingStrategy::entropy_inverse: result.strategy = ContextStrategy::entropy_inverse; break;
    case DecodingStrategy::tendency: result.strategy = ContextStrategy::tendency; break;
    case DecodingStrategy::ema: result.strategy = ContextStrategy::ema; break;
    case DecodingStrategy::majority_voting: result.strategy = ContextStrategy::majority_voting; break;
  }
  return result;
}

inline EntropySharpnessOptions ModeScores::sharpness_options(const GenerationOptions& options) {
  const bool subtracts = uses_context(options.decoding_mode) && options.strategy == DecodingStrategy::entropy;
  return {.alpha = subtracts ? options.alpha : 0,
          .relative_top = options.relative_top,
          .min_tokens_to_keep = options.min_tokens_to_keep,
          .context = options.context,
          .final_norm = options.final_norm,
          .input =
              options.decoding_mode == DecodingMode::activation_dola ? SharpnessInput::scores : SharpnessInput::logits};
}

}  // namespace v0
}  // namespace activation_trace
