// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/processors/context_states.hpp"
#include "activation_trace/processors/context_strategy_options.hpp"
#include "activation_trace/processors/plausible_candidates.hpp"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {

/// Filtered log-probabilities, or as published raw logits, plus what a ContextStrategy makes of the context; used like
/// EntropySharpnessProcessor, which is quicker and exact for the strategy "entropy". Tokens at -inf stay there under
/// every strategy, where the published majority_voting meant to make them win. Lazy: values are computed for survivors
/// of the filter only, and kept until the context grows; without a filter all are computed at the first step. Movable,
/// not copyable, and not safe for concurrent use.
class ContextStrategyProcessor {
 public:
  /// Works on the threads of `execution`, which must outlive the processor, or without one on the calling thread.
  /// Throws ArgumentError for an alpha that is not finite or above 1e30 in size, a negative subject_position, a
  /// vote_threshold outside [0, 1], and as RelativeTopFilter and ContextStates do.
  explicit ContextStrategyProcessor(ContextStrategyOptions options = {}, ExecutionHandle execution = {});

  /// Appends hidden[T, d] to the context: a prompt may come in pieces. The states are copied; `lm_head`[V, d] is kept
  /// as a view until reset(). Throws as ContextStates::observe.
  void observe_context(MatrixView<const float> hidden, const LmHead<>& lm_head);

  /// logits[V] become scores, in place. Throws StateError before a context or while it lacks the subject's position,
  /// ShapeError for a length other than V, ArgumentError for a logit that is NaN or +inf; logits are then unchanged.
  void process(std::span<float> logits);

  /// The same for a list of candidates in any order. Throws as above, and ArgumentError for an id outside the
  /// vocabulary.
  void process(std::span<const TokenId> ids, std::span<float> logits);

  /// What the strategy says of token `id`. Throws StateError before a context, ArgumentError outside the vocabulary.
  float value(TokenId id);

  /// Positions that count so far, T.
  [[nodiscard]] Index context_size() const noexcept { return context_.positions(); }
  /// As given to the constructor.
  [[nodiscard]] const ContextStrategyOptions& options() const noexcept { return options_; }

  /// Forgets the context, for the next prompt.
  void reset() { context_.reset(); }

 private:
  static constexpr Index kBlock = 16;  // rows of the LM head that are multiplied at once

  void require() const;
  void adjust(std::span<const TokenId> ids, std::span<float> logits);
  void prepare(std::span<const TokenId> ids);
  void compute(std::span<const TokenId> ids);
  [[nodiscard]] float evaluate(MatrixView<const float> scores, Index column) const;

  ContextStrategyOptions options_;
  ExecutionHandle execution_;
  ContextStates context_;
  detail::PlausibleCandidates candidates_;
  std::vector<float> values_;  // [V]
  std::vector<Index> seen_;    // [V] positions in the value, 0: none
  std::vector<TokenId> pending_;
  Buffer<float> rows_;         // of the LM head
  std::vector<float> scores_;  // [T, kBlock]
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE ContextStrategyProcessor::ContextStrategyProcessor(ContextStrategyOptions options,
                                                                                    ExecutionHandle execution)
    : options_(std::move(options)),
      execution_(std::move(execution)),
      context_(options_.context, options_.final_norm),
      candidates_(options_.filter) {
  if (!std::isfinite(options_.alpha))
    throw ArgumentError("alpha: expected a number, got " + std::to_string(options_.alpha));
  detail::check_weight("alpha", options_.alpha);
  if (options_.subject_position < 0)
    throw ArgumentError("subject_position: must not be negative, got " + std::to_string(options_.subject_position));
  if (!(options_.vote_threshold >= 0 && options_.vote_threshold <= 1))
    throw ArgumentError("vote_threshold: expected a number in [0, 1], got " + std::to_string(options_.vote_threshold));
  pending_.reserve(1024);  // as candidates_ does
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStrategyProcessor::observe_context(MatrixView<const float> hidden,
                                                                                const LmHead<>& lm_head) {
  const bool first = !context_.begun();
  context_.observe(*execution_, hidden, lm_head);
  if (!first) return;
  values_.resize(static_cast<std::size_t>(context_.vocab()));
  seen_.assign(values_.size(), 0);
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStrategyProcessor::process(std::span<float> logits) {
  require();
  detail::check_extent("logits", static_cast<Index>(logits.size()), context_.vocab());
  adjust({}, logits);
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStrategyProcessor::process(std::span<const TokenId> ids,
                                                                        std::span<float> logits) {
  require();
  detail::check_candidates("ContextStrategyProcessor", ids, logits);
  for (const TokenId id : ids) context_.check(id);
  adjust(ids, logits);
}

ACTIVATION_TRACE_COMPILED_INLINE float ContextStrategyProcessor::value(TokenId id) {
  require();
  context_.check(id);
  prepare(std::span<const TokenId>(&id, 1));
  return values_[static_cast<std::size_t>(id)];
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStrategyProcessor::require() const {
  context_.require();
  if (options_.strategy == ContextStrategy::subject && options_.subject_position >= context_.positions())
    throw StateError("subject_position: " + std::to_string(options_.subject_position) + " is not among the " +
                     std::to_string(context_.positions()) + " positions of the context");
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStrategyProcessor::adjust(std::span<const TokenId> ids,
                                                                       std::span<float> logits) {
  if (options_.base == StrategyBase::logits)
    candidates_.accept(ids, logits);
  else
    candidates_.filter(*execution_, ids, logits, detail::FarBelow::masked);
  prepare(candidates_.ids());
  const auto checked_value = [&](std::size_t k) {
    const TokenId id = candidates_.ids()[k];
    const float value = values_[static_cast<std::size_t>(id)];
    if (!std::isfinite(value))
      throw ArgumentError("the context score of token " + std::to_string(id) +
                          " is not a number: its products with the hidden states overflow or lm_head holds a NaN");
    return value;
  };
  candidates_.add(logits, options_.alpha, checked_value, [](auto&&...) {});
}

// The values of all `ids` are brought up to date.
ACTIVATION_TRACE_COMPILED_INLINE void ContextStrategyProcessor::prepare(std::span<const TokenId> ids) {
  pending_.clear();
  for (const TokenId id : ids)
    if (seen_[static_cast<std::size_t>(id)] != context_.positions()) pending_.push_back(id);
  for (std::size_t first = 0; first < pending_.size(); first += kBlock)
    compute(std::span(pending_).subspan(first, std::min<std::size_t>(kBlock, pending_.size() - first)));
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStrategyProcessor::compute(std::span<const TokenId> ids) {
  const auto count = static_cast<Index>(ids.size());
  scores_.resize(static_cast<std::size_t>(kBlock * context_.positions()));
  const MatrixView<float> scores(scores_.data(), {context_.positions(), count});
  context_.lm_head().logits(*execution_, context_.hidden(), ids, scores, rows_);
  for (Index i = 0; i < count; ++i) {
    const auto id = static_cast<std::size_t>(ids[static_cast<std::size_t>(i)]);
    values_[id] = evaluate(scores, i);
    seen_[id] = context_.positions();
  }
}

ACTIVATION_TRACE_COMPILED_INLINE float ContextStrategyProcessor::evaluate(MatrixView<const float> scores,
                                                                          Index column) const {
  const Index T = scores.extent(0);
  const auto at = [&](Index i) { return static_cast<double>(scores(i, column)); };
  if (options_.strategy == ContextStrategy::single_entropy) return 0;
  if (options_.strategy == ContextStrategy::tendency) return static_cast<float>(at(T - 1) - at(0));
  if (options_.strategy == ContextStrategy::ema) {
    double average = at(0);
    for (Index i = 1; i < T; ++i) average = 0.9 * average + 0.1 * at(i);
    return static_cast<float>(average);
  }
  const auto state = BasicSoftmaxState<double>::of(static_cast<std::size_t>(T),
                                                   [&](std::size_t i) { return at(static_cast<Index>(i)); });
  const double entropy = state.entropy();
  switch (options_.strategy) {
    case ContextStrategy::entropy: return static_cast<float>(0 - entropy);
    case ContextStrategy::subject: return static_cast<float>(state.probability(at(options_.subject_position)));
    // One position has entropy 0: bounded as the reference's clamp of probabilities does.
    case ContextStrategy::entropy_inverse: return static_cast<float>(1 / std::max(entropy, 0x1p-23));
    default: break;
  }
  Index votes = 0;
  for (Index i = 0; i < T; ++i) votes += state.probability(at(i)) > static_cast<double>(options_.vote_threshold);
  return std::isnan(entropy) ? static_cast<float>(entropy) : static_cast<float>(votes);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
