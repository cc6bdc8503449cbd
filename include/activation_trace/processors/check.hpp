// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Throws ArgumentError for NaN or +inf, which have no place in an order of tokens. `what` is the argument's name.
void check_scores(const char* what, std::span<const float> scores);

/// Throws ShapeError unless there is a score for every id.
inline void check_candidates(const char* what, std::span<const TokenId> ids, std::span<const float> scores) {
  if (ids.size() != scores.size())
    throw ShapeError(std::string(what) + ": got " + std::to_string(ids.size()) + " ids for " +
                     std::to_string(scores.size()) + " scores");
}

/// The largest number that an option may multiply or add to scores: times entropies, positions or penalties it is a
/// float still, so that no score becomes infinite and is complained of in place of the option.
constexpr float largest_weight = 1e30f;

/// Throws ArgumentError unless the size of `weight` is at most that.
inline void check_weight(const std::string& what, float weight) {
  if (!(std::abs(weight) <= largest_weight))
    throw ArgumentError(what + ": expected a number of at most 1e30, got " + std::to_string(weight));
}

/// Throws ArgumentError unless `count` >= 1.
inline void check_min_tokens_to_keep(Index count) {
  if (count < 1) throw ArgumentError("min_tokens_to_keep: expected at least 1, got " + std::to_string(count));
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void check_scores(const char* what, std::span<const float> scores) {
  // Counted first, because that is a loop without branches over V numbers; looked for only when there is one.
  std::size_t bad = 0;
  for (const float x : scores) bad += !(x < std::numeric_limits<float>::infinity());
  if (bad == 0) return;
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (!(scores[i] < std::numeric_limits<float>::infinity()))
      throw ArgumentError(std::string(what) + ": [" + std::to_string(i) + "] is " + std::to_string(scores[i]));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
