// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/argmax.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/mode_processor.hpp"
#include "activation_trace/processors/processor_chain.hpp"
#include "activation_trace/processors/sampler.hpp"
#include "activation_trace/processors/sampling_chain.hpp"

namespace activation_trace {
inline namespace v0 {

/// How one token was chosen, and how much the context speaks for it. Scores are what was compared in the end: after
/// bias, penalties, processors and temperature, and in baseline decoding logits rather than log-probabilities.
struct StepRecord {
  std::span<const SharpnessCandidate> kept;  ///< survivors of the plausibility filter, ascending ids
  SharpnessCandidate chosen = {};            ///< baseline decoding may choose outside `kept`
  TokenId without_entropy = -1;  ///< best of `kept` without the strategy's term: after bias and penalties only
  Index layer = -1;              ///< the premature layer 0..N that DoLa chose; -1 in other modes
  bool alert = false;            ///< whether chosen.entropy is above ChoiceOptions::alert_entropy

  /// Whether the entropy changed the choice.
  [[nodiscard]] bool changed() const noexcept { return chosen.id != without_entropy; }
};

/// What a record is made of: a step as whoever chose its token saw it.
struct ChosenStep {
  std::span<const SharpnessCandidate>
      kept;                       ///< as StepRecord's; as score what the mode gives without the strategy's term
  std::span<const float> scores;  ///< of `kept`: what was compared in the end
  SharpnessCandidate chosen;      ///< with the score that was compared
  Index layer = -1;               ///< as StepRecord's
};

/// How a token is chosen by its score.
struct ChoiceOptions {
  std::optional<SamplingOptions> sampling = {};  ///< none: the best score, of equals the lowest id
  std::optional<float> alert_entropy = {};       ///< nats: StepRecord::alert above it
};

/// Chooses the tokens of one text from what the models say: the mode's scores, the chain of processors, then the best
/// or a drawn one. Knows no model and no text.
class TokenChooser {
 public:
  /// `chain` is what comes between the mode's scores and the choice, for this text.
  TokenChooser(const ChoiceOptions& options, ModeProcessor mode, ProcessorChain chain, Index vocab);

  /// The mode's processor, which has to be shown the context.
  [[nodiscard]] ModeProcessor& mode() noexcept { return mode_; }

  /// The prompt's ids, for the processors.
  void observe_prompt(std::span<const TokenId> ids) { chain_.observe_prompt(ids); }

  /// The next token. Without processors baseline decoding reads the row and copies nothing. Throws ArgumentError for
  /// scores that are NaN or +inf, or none above -inf, and as the processors do.
  TokenId choose(const StepLogits& logits);

  /// The next token was chosen elsewhere, by the same rules and random numbers, where `step` was seen. In turn with no
  /// choose(). Throws as the processors do.
  void accept(const ChosenStep& step);

  /// How the last one was chosen; null if neither the mode nor the options make records.
  [[nodiscard]] const StepRecord* record() const noexcept { return recorded_ ? &record_ : nullptr; }

 private:
  [[nodiscard]] std::size_t pick(std::span<const float> scores, double uniform);
  [[nodiscard]] ChosenStep seen(const StepLogits& logits, std::span<const float> scores, TokenId chosen);
  void make_record(const ChosenStep& step, double uniform);
  [[nodiscard]] TokenId pick_without_entropy(TokenId chosen, double uniform);

  std::optional<float> alert_entropy_;
  ModeProcessor mode_;
  ProcessorChain chain_;
  std::optional<Sampler> sampler_;
  std::vector<float> scores_;  // [V]
  StepRecord record_;
  bool recorded_ = false;
  std::vector<float> final_scores_;  // of the survivors
  std::vector<SharpnessCandidate> kept_;
  std::vector<TokenId> kept_ids_;
  std::vector<float> kept_scores_;  // without the entropy's term
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE TokenChooser::TokenChooser(const ChoiceOptions& options, ModeProcessor mode,
                                                            ProcessorChain chain, Index vocab)
    : alert_entropy_(options.alert_entropy), mode_(std::move(mode)), chain_(std::move(chain)) {
  if (options.sampling) sampler_.emplace(options.sampling->seed, options.sampling->stream);
  if (!mode_.plain() || !chain_.empty()) scores_.reserve(static_cast<std::size_t>(vocab));
  if (!mode_.records()) return;
  final_scores_.reserve(1024);
  kept_.reserve(1024);
  kept_ids_.reserve(1024);
  kept_scores_.reserve(1024);
}

ACTIVATION_TRACE_COMPILED_INLINE TokenId TokenChooser::choose(const StepLogits& logits) {
  std::span<const float> scores = logits.mature;
  if (!mode_.plain() || !chain_.empty()) {
    scores_.assign(scores.begin(), scores.end());
    mode_.process(logits, scores_);
    chain_.process(scores_);
    scores = scores_;
  }
  const double uniform = sampler_ ? sampler_->next() : 0;
  const auto id = static_cast<TokenId>(pick(scores, uniform));
  if (mode_.records()) make_record(seen(logits, scores, id), uniform);
  chain_.observe(std::span<const TokenId>(&id, 1));
  return id;
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenChooser::accept(const ChosenStep& step) {
  make_record(step, sampler_ ? sampler_->next() : 0);
  chain_.observe(std::span<const TokenId>(&step.chosen.id, 1));
}

ACTIVATION_TRACE_COMPILED_INLINE std::size_t TokenChooser::pick(std::span<const float> scores, double uniform) {
  return static_cast<std::size_t>(sampler_ ? sampler_->draw(scores, uniform) : argmax(scores));
}

ACTIVATION_TRACE_COMPILED_INLINE ChosenStep TokenChooser::seen(const StepLogits& logits, std::span<const float> scores,
                                                               TokenId chosen) {
  const std::span<const SharpnessCandidate> survivors = mode_.survivors(logits);
  final_scores_.clear();
  const SharpnessCandidate* found = nullptr;
  for (const SharpnessCandidate& c : survivors) {
    final_scores_.push_back(scores[static_cast<std::size_t>(c.id)]);
    if (c.id == chosen) found = &c;
  }
  // A bias, a penalty or a processor may have chosen a token that the filter would mask.
  SharpnessCandidate candidate = found != nullptr ? *found : mode_.look_up(logits, chosen);
  candidate.score = scores[static_cast<std::size_t>(chosen)];
  return {survivors, final_scores_, candidate, mode_.layer()};
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenChooser::make_record(const ChosenStep& step, double uniform) {
  kept_.assign(step.kept.begin(), step.kept.end());
  kept_ids_.clear();
  kept_scores_.clear();
  for (std::size_t k = 0; k < kept_.size(); ++k) {
    kept_ids_.push_back(kept_[k].id);
    kept_scores_.push_back(kept_[k].score);
    kept_[k].score = step.scores[k];
  }
  record_.chosen = step.chosen;
  record_.kept = kept_;
  record_.without_entropy = pick_without_entropy(step.chosen.id, uniform);
  record_.layer = step.layer;
  record_.alert = alert_entropy_ && record_.chosen.entropy > *alert_entropy_;
  recorded_ = true;
}

// The same step without the strategy's term, on the survivors alone: all others are masked either way.
ACTIVATION_TRACE_COMPILED_INLINE TokenId TokenChooser::pick_without_entropy(TokenId chosen, double uniform) {
  if (!mode_.adds_context()) return chosen;
  chain_.process(kept_ids_, kept_scores_);
  const bool any = std::any_of(kept_scores_.begin(), kept_scores_.end(),
                               [](float score) { return score > -std::numeric_limits<float>::infinity(); });
  return any ? kept_ids_[pick(kept_scores_, uniform)] : chosen;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
