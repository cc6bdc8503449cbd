// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// Lowers the score of every token id seen so far, once however often it occurred: a negative score is multiplied by
/// the penalty, any other divided by it (processors/README.md 1.2, step 4). -inf stays -inf. Acts on raw logits and on
/// scores.
class RepetitionPenalty {
 public:
  /// For ids in [0, vocab); 1 means no penalty. Throws ArgumentError unless penalty is positive and finite.
  RepetitionPenalty(float penalty, Index vocab);

  /// Adds the ids of the prompt or of generated tokens. Throws ArgumentError for one outside the vocabulary.
  void observe(std::span<const TokenId> ids);
  /// The same for one id.
  void observe(TokenId id) { observe(std::span<const TokenId>(&id, 1)); }

  /// scores[V], one per id, in place. Throws ShapeError for another length.
  void process(std::span<float> scores) const;

  /// The scores of a candidate list, in any order, in place. Throws ShapeError unless both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> scores) const;

  /// What `score` of token `id` becomes.
  [[nodiscard]] float penalised(TokenId id, float score) const;

  /// Forgets all ids.
  void reset();

 private:
  [[nodiscard]] float penalised(float score) const { return score < 0 ? score * penalty_ : score / penalty_; }
  void check(TokenId id) const;

  float penalty_;
  std::vector<bool> seen_;     // [V]
  std::vector<TokenId> list_;  // the ids set in seen_
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE RepetitionPenalty::RepetitionPenalty(float penalty, Index vocab) : penalty_(penalty) {
  if (!(penalty > 0 && std::isfinite(penalty)))
    throw ArgumentError("repetition_penalty: expected a positive number, got " + std::to_string(penalty));
  if (vocab < 0) throw ArgumentError("RepetitionPenalty: vocab must not be negative, got " + std::to_string(vocab));
  seen_.resize(static_cast<std::size_t>(vocab));
  list_.reserve(seen_.size());  // so that observing a generated token never allocates
}

ACTIVATION_TRACE_COMPILED_INLINE void RepetitionPenalty::observe(std::span<const TokenId> ids) {
  for (const TokenId id : ids) {
    check(id);
    if (seen_[static_cast<std::size_t>(id)]) continue;
    seen_[static_cast<std::size_t>(id)] = true;
    list_.push_back(id);
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void RepetitionPenalty::process(std::span<float> scores) const {
  if (scores.size() != seen_.size())
    throw ShapeError("RepetitionPenalty: expected " + std::to_string(seen_.size()) + " scores, got " +
                     std::to_string(scores.size()));
  if (penalty_ == 1) return;
  for (const TokenId id : list_) {
    float& score = scores[static_cast<std::size_t>(id)];
    score = penalised(score);
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void RepetitionPenalty::process(std::span<const TokenId> ids,
                                                                 std::span<float> scores) const {
  if (ids.size() != scores.size())
    throw ShapeError("RepetitionPenalty: got " + std::to_string(ids.size()) + " ids for " +
                     std::to_string(scores.size()) + " scores");
  for (std::size_t i = 0; i < ids.size(); ++i) scores[i] = penalised(ids[i], scores[i]);
}

ACTIVATION_TRACE_COMPILED_INLINE float RepetitionPenalty::penalised(TokenId id, float score) const {
  check(id);
  return penalty_ != 1 && seen_[static_cast<std::size_t>(id)] ? penalised(score) : score;
}

ACTIVATION_TRACE_COMPILED_INLINE void RepetitionPenalty::reset() {
  for (const TokenId id : list_) seen_[static_cast<std::size_t>(id)] = false;
  list_.clear();
}

ACTIVATION_TRACE_COMPILED_INLINE void RepetitionPenalty::check(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= seen_.size())
    throw ArgumentError("RepetitionPenalty: token id " + std::to_string(id) + " is not in the vocabulary of " +
                        std::to_string(seen_.size()));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
