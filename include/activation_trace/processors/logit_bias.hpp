// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/check.hpp"

namespace activation_trace {
inline namespace v0 {

/// Adds a number to the scores of chosen tokens; -inf bans one. +inf bans all others: of several such tokens their own
/// scores decide, where one that was left out before is the last.
class LogitBias {
 public:
  /// Throws ArgumentError for an id that is negative or occurs twice, and a bias that is NaN, or finite and above 1e30
  /// in size.
  explicit LogitBias(std::vector<std::pair<TokenId, float>> biases);

  /// scores[V], in place. Throws ShapeError if a biased id lies beyond them.
  void process(std::span<float> scores) const;

  /// The scores of a candidate list, in any order; biased ids that it lacks are passed over. Throws ShapeError unless
  /// both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> scores) const;

 private:
  static constexpr float infinity = std::numeric_limits<float>::infinity();

  static float biased(float score, float bias) {
    if (bias == infinity) return score == -infinity ? -1e30f : score;
    return score + bias;
  }

  std::vector<std::pair<TokenId, float>> biases_;  // ascending ids
  bool forces_ = false;                            // one is +inf
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE LogitBias::LogitBias(std::vector<std::pair<TokenId, float>> biases)
    : biases_(std::move(biases)) {
  std::sort(biases_.begin(), biases_.end());
  for (std::size_t i = 0; i < biases_.size(); ++i) {
    const auto [id, bias] = biases_[i];
    if (id < 0) throw ArgumentError("logit_bias: token id " + std::to_string(id) + " is negative");
    if (i > 0 && id == biases_[i - 1].first)
      throw ArgumentError("logit_bias: token id " + std::to_string(id) + " occurs twice");
    if (std::isnan(bias))
      throw ArgumentError("logit_bias: the bias of token id " + std::to_string(id) + " is " + std::to_string(bias));
    if (std::isfinite(bias)) detail::check_weight("logit_bias: token id " + std::to_string(id), bias);
    forces_ = forces_ || bias == infinity;
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void LogitBias::process(std::span<float> scores) const {
  if (!biases_.empty() && static_cast<std::size_t>(biases_.back().first) >= scores.size())
    throw ShapeError("logit_bias: token id " + std::to_string(biases_.back().first) + " is not among " +
                     std::to_string(scores.size()) + " scores");
  for (const auto& [id, bias] : biases_) {
    float& score = scores[static_cast<std::size_t>(id)];
    score = biased(score, bias);
  }
  if (!forces_) return;
  std::size_t next = 0;  // of biases_
  for (std::size_t id = 0; id < scores.size(); ++id) {
    while (next < biases_.size() && std::cmp_less(biases_[next].first, id)) ++next;
    const bool forced =
        next < biases_.size() && std::cmp_equal(biases_[next].first, id) && biases_[next].second == infinity;
    if (!forced) scores[id] = -infinity;
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void LogitBias::process(std::span<const TokenId> ids, std::span<float> scores) const {
  detail::check_candidates("LogitBias", ids, scores);
  const auto bias_of = [&](TokenId id) {
    const auto before = [](const std::pair<TokenId, float>& entry, TokenId other) { return entry.first < other; };
    const auto found = std::lower_bound(biases_.begin(), biases_.end(), id, before);
    return found != biases_.end() && found->first == id ? found->second : 0.0f;
  };
  bool forced = false;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const float bias = bias_of(ids[i]);
    forced = forced || bias == infinity;
    if (bias != 0) scores[i] = biased(scores[i], bias);
  }
  for (std::size_t i = 0; forced && i < ids.size(); ++i)
    if (bias_of(ids[i]) != infinity) scores[i] = -infinity;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
