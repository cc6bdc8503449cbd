// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/ranking.hpp"

namespace activation_trace {
inline namespace v0 {

/// What is left where relative_top is 0 and one row's log-probabilities are subtracted from another's.
enum class Unfiltered {
  logits,     ///< the difference of raw logits, as in generation (processors/README.md 2.1)
  log_probs,  ///< the difference of log-probabilities, as in scoring (generation/README.md 1)
};

/// What the plausibility filter keeps.
struct RelativeTopOptions {
  float relative_top = 0.1f;     ///< in [0, 1]: 0 keeps everything, 1 only the most probable and its equals
  Index min_tokens_to_keep = 1;  ///< at least this many stay, and whatever equals the last of them

  friend bool operator==(const RelativeTopOptions&, const RelativeTopOptions&) = default;

  /// Throws ArgumentError unless 0 <= relative_top <= 1 and min_tokens_to_keep >= 1.
  void validate() const;

  static void describe(auto& self, auto&& field) {
    field("relative_top", self.relative_top, "tokens less likely than this times the best one are left out; 0: none");
    field("min_tokens_to_keep", self.min_tokens_to_keep, "but never fewer than these");
  }
};

/// The plausibility filter (processors/README.md 1.2, step 2): an entry stays if its probability is at least
/// `relative_top` times the largest one. A constant added to all entries changes nothing, so logits do as well as
/// log-probabilities.
class RelativeTopFilter {
 public:
  /// Throws as RelativeTopOptions::validate().
  explicit RelativeTopFilter(RelativeTopOptions options = {});

  /// min(k-th largest, largest + ln(relative_top)) with k = min_tokens_to_keep, in nats: entries strictly below it go,
  /// equals stay. -inf if fewer than k entries are given. NaN is not allowed.
  [[nodiscard]] float threshold(std::span<const float> log_probs);

  /// The same for who knows the largest already.
  [[nodiscard]] float threshold(std::span<const float> log_probs, float largest);

  /// Sets the entries below the threshold to -inf; the others keep their value and are not renormalised.
  void process(std::span<float> log_probs);

  /// The same for candidates in any order. Throws ShapeError unless both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> log_probs);

 private:
  RelativeTopOptions options_;
  float log_relative_top_;
  detail::KthLargest kth_largest_;
};

inline void RelativeTopOptions::validate() const {
  if (!(relative_top >= 0 && relative_top <= 1))
    throw ArgumentError("relative_top: expected a number in [0, 1], got " + std::to_string(relative_top));
  detail::check_min_tokens_to_keep(min_tokens_to_keep);
}

inline RelativeTopFilter::RelativeTopFilter(RelativeTopOptions options)
    : options_((options.validate(), options)), log_relative_top_(std::log(options.relative_top)) {}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE float RelativeTopFilter::threshold(std::span<const float> log_probs) {
  float largest = -std::numeric_limits<float>::infinity();
  for (const float x : log_probs) largest = std::max(largest, x);
  return threshold(log_probs, largest);
}

ACTIVATION_TRACE_COMPILED_INLINE float RelativeTopFilter::threshold(std::span<const float> log_probs, float largest) {
  if (options_.relative_top == 0 || static_cast<Index>(log_probs.size()) < options_.min_tokens_to_keep)
    return -std::numeric_limits<float>::infinity();
  const float relative = largest + log_relative_top_;
  return options_.min_tokens_to_keep == 1 ? relative
                                          : std::min(relative, kth_largest_(log_probs, options_.min_tokens_to_keep));
}

ACTIVATION_TRACE_COMPILED_INLINE void RelativeTopFilter::process(std::span<float> log_probs) {
  const float lowest = threshold(log_probs);
  for (float& x : log_probs)
    if (x < lowest) x = -std::numeric_limits<float>::infinity();
}

ACTIVATION_TRACE_COMPILED_INLINE void RelativeTopFilter::process(std::span<const TokenId> ids,
                                                                 std::span<float> log_probs) {
  detail::check_candidates("RelativeTopFilter", ids, log_probs);
  process(log_probs);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
