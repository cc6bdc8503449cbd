// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/processors/check.hpp"

namespace activation_trace {
inline namespace v0 {

/// Adds a number to the scores of chosen tokens; -inf bans one.
class LogitBias {
 public:
  /// Throws ArgumentError for an id that is negative or occurs twice, and a bias that is NaN or +inf.
  explicit LogitBias(std::vector<std::pair<TokenId, float>> biases);

  /// scores[V], in place. Throws ShapeError if a biased id lies beyond them.
  void process(std::span<float> scores) const;

  /// The scores of a candidate list, in any order; biased ids that it lacks are passed over. Throws ShapeError unless
  /// both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> scores) const;

 private:
  std::vector<std::pair<TokenId, float>> biases_;  // ascending ids
};

inline LogitBias::LogitBias(std::vector<std::pair<TokenId, float>> biases) : biases_(std::move(biases)) {
  std::sort(biases_.begin(), biases_.end());
  for (std::size_t i = 0; i < biases_.size(); ++i) {
    const auto [id, bias] = biases_[i];
    if (id < 0) throw ArgumentError("logit_bias: token id " + std::to_string(id) + " is negative");
    if (i > 0 && id == biases_[i - 1].first)
      throw ArgumentError("logit_bias: token id " + std::to_string(id) + " occurs twice");
    if (!(bias < std::numeric_limits<float>::infinity()))
      throw ArgumentError("logit_bias: the bias of token id " + std::to_string(id) + " is " + std::to_string(bias));
  }
}

inline void LogitBias::process(std::span<float> scores) const {
  if (!biases_.empty() && static_cast<std::size_t>(biases_.back().first) >= scores.size())
    throw ShapeError("logit_bias: token id " + std::to_string(biases_.back().first) + " is not among " +
                     std::to_string(scores.size()) + " scores");
  for (const auto& [id, bias] : biases_) scores[static_cast<std::size_t>(id)] += bias;
}

inline void LogitBias::process(std::span<const TokenId> ids, std::span<float> scores) const {
  detail::check_candidates("LogitBias", ids, scores);
  const auto before = [](const std::pair<TokenId, float>& entry, TokenId id) { return entry.first < id; };
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto found = std::lower_bound(biases_.begin(), biases_.end(), ids[i], before);
    if (found != biases_.end() && found->first == ids[i]) scores[i] += found->second;
  }
}

}  // namespace v0
}  // namespace activation_trace
