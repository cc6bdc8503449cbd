// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/check.hpp"

namespace activation_trace {
inline namespace v0 {

/// Which tokens are counted: OpenAI's API counts what was generated, llama.cpp what it has seen.
enum class OccurrenceScope { generated, prompt_and_generated };

/// Two numbers that are subtracted from scores, and which occurrences count.
struct OccurrencePenaltyOptions {
  float presence = 0;                                  ///< subtracted once from a token that has occurred
  float frequency = 0;                                 ///< subtracted as many times as it has occurred
  OccurrenceScope scope = OccurrenceScope::generated;  ///< whether the prompt's tokens count, too
};

/// Presence and frequency penalty: score -= count * frequency + (count > 0) * presence, as OpenAI's API and llama.cpp
/// define them. Negative penalties encourage. -inf stays -inf.
class OccurrencePenalty {
 public:
  /// For ids in [0, vocab). Throws ArgumentError for a penalty that is not finite.
  OccurrencePenalty(OccurrencePenaltyOptions options, Index vocab);

  /// Counts ids of the prompt, if they are to be counted. Throws ArgumentError for one outside the vocabulary.
  void observe_prompt(std::span<const TokenId> ids);

  /// Counts generated ids. Throws ArgumentError for one outside the vocabulary.
  void observe(std::span<const TokenId> ids);

  /// scores[V], one per id, in place. Throws ShapeError for another length.
  void process(std::span<float> scores) const;

  /// The scores of a candidate list, in any order, in place. Throws ShapeError unless both are equally long,
  /// ArgumentError for an id outside the vocabulary.
  void process(std::span<const TokenId> ids, std::span<float> scores) const;

  /// Forgets all ids.
  void reset();

 private:
  void check(TokenId id) const;
  [[nodiscard]] float penalised(TokenId id, float score) const;

  OccurrencePenaltyOptions options_;
  std::vector<int> counts_;    // [V]
  std::vector<TokenId> seen_;  // the ids that were counted
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE OccurrencePenalty::OccurrencePenalty(OccurrencePenaltyOptions options, Index vocab)
    : options_(options) {
  if (!std::isfinite(options.presence))
    throw ArgumentError("presence_penalty: expected a number, got " + std::to_string(options.presence));
  if (!std::isfinite(options.frequency))
    throw ArgumentError("frequency_penalty: expected a number, got " + std::to_string(options.frequency));
  if (vocab < 0) throw ArgumentError("OccurrencePenalty: vocab must not be negative, got " + std::to_string(vocab));
  counts_.resize(static_cast<std::size_t>(vocab));
  seen_.reserve(counts_.size());  // so that observing a generated token never allocates
}

ACTIVATION_TRACE_COMPILED_INLINE void OccurrencePenalty::observe_prompt(std::span<const TokenId> ids) {
  if (options_.scope == OccurrenceScope::prompt_and_generated) observe(ids);
}

ACTIVATION_TRACE_COMPILED_INLINE void OccurrencePenalty::observe(std::span<const TokenId> ids) {
  for (const TokenId id : ids) {
    check(id);
    if (counts_[static_cast<std::size_t>(id)]++ == 0) seen_.push_back(id);
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void OccurrencePenalty::process(std::span<float> scores) const {
  if (scores.size() != counts_.size())
    throw ShapeError("OccurrencePenalty: expected " + std::to_string(counts_.size()) + " scores, got " +
                     std::to_string(scores.size()));
  for (const TokenId id : seen_) {
    float& score = scores[static_cast<std::size_t>(id)];
    score = penalised(id, score);
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void OccurrencePenalty::process(std::span<const TokenId> ids,
                                                                 std::span<float> scores) const {
  detail::check_candidates("OccurrencePenalty", ids, scores);
  for (const TokenId id : ids) check(id);
  for (std::size_t i = 0; i < ids.size(); ++i) scores[i] = penalised(ids[i], scores[i]);
}

ACTIVATION_TRACE_COMPILED_INLINE float OccurrencePenalty::penalised(TokenId id, float score) const {
  const int count = counts_[static_cast<std::size_t>(id)];
  return count == 0 ? score : score - (static_cast<float>(count) * options_.frequency + options_.presence);
}

ACTIVATION_TRACE_COMPILED_INLINE void OccurrencePenalty::reset() {
  for (const TokenId id : seen_) counts_[static_cast<std::size_t>(id)] = 0;
  seen_.clear();
}

ACTIVATION_TRACE_COMPILED_INLINE void OccurrencePenalty::check(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= counts_.size())
    throw ArgumentError("OccurrencePenalty: token id " + std::to_string(id) + " is not in the vocabulary of " +
                        std::to_string(counts_.size()));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
