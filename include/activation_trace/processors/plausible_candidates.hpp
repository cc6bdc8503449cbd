// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/relative_top.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// What becomes of an entry that survives the filter with a log-probability below -1000.
enum class FarBelow { masked, left_alone };

/// The first half of every step that adjusts plausible tokens: log-probabilities in place, -inf where the filter masks,
/// and a list of the survivors.
class PlausibleCandidates {
 public:
  explicit PlausibleCandidates(RelativeTopOptions options) : filter_(options) {
    // 1024 survivors are possible only while the best token's probability is below 0.01 (processors/README.md 1.4).
    ids_.reserve(1024);
    places_.reserve(1024);
  }

  /// Logits become filtered log-probabilities; ids may be empty for a full row. Entries below -1000 are not survivors,
  /// as in the published code. Throws ArgumentError for NaN or +inf; logits are then unchanged.
  void filter(const Execution<Host>& execution, std::span<const TokenId> ids, std::span<float> logits,
              FarBelow far_below);

  /// Scores that are filtered already: all above -inf survive, unchanged. Throws as above.
  void accept(std::span<const TokenId> ids, std::span<const float> scores);

  /// The survivors' scores s become s + weight * value(k), of survivor k; seen(k, s before, s after) is told of each.
  void add(std::span<float> scores, float weight, auto&& value, auto&& seen) const;

  /// The survivors, in the order in which they were given.
  [[nodiscard]] std::span<const TokenId> ids() const noexcept { return ids_; }

 private:
  static constexpr float kMasked = -1000;

  void clear() {
    ids_.clear();
    places_.clear();
  }
  void keep(std::span<const TokenId> ids, std::size_t place) {
    ids_.push_back(ids.empty() ? static_cast<TokenId>(place) : ids[place]);
    places_.push_back(place);
  }

  RelativeTopFilter filter_;
  std::vector<TokenId> ids_;
  std::vector<std::size_t> places_;  // of ids_ in what was given
};

void PlausibleCandidates::add(std::span<float> scores, float weight, auto&& value, auto&& seen) const {
  for (std::size_t k = 0; k < ids_.size(); ++k) {
    float& score = scores[places_[k]];
    const float before = score;
    score += weight * value(k);
    seen(k, before, score);
  }
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void PlausibleCandidates::filter(const Execution<Host>& execution,
                                                                  std::span<const TokenId> ids, std::span<float> logits,
                                                                  FarBelow far_below) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  check_scores("logits", logits);
  clear();
  const LogNormalizer normalizer = log_normalizer(execution, logits);
  if (std::isnan(normalizer.log_sum)) {  // nothing above -inf: no distribution, and nothing to choose
    std::fill(logits.begin(), logits.end(), -infinity);
    return;
  }
  const float lowest = filter_.threshold(logits, normalizer.max);
  // Nearly all entries are masked: 64 at a time without a branch, and only survivors become log-probabilities.
  constexpr std::size_t block = 64;
  for (std::size_t first = 0; first < logits.size(); first += block) {
    const std::span<float> part = logits.subspan(first, std::min(block, logits.size() - first));
    int survivors = 0;
    for (const float x : part) survivors += x >= lowest;
    if (survivors == 0) {
      std::fill(part.begin(), part.end(), -infinity);
      continue;
    }
    for (std::size_t i = first; i < first + part.size(); ++i) {
      const float log_prob = logits[i] < lowest ? -infinity : normalizer.log_prob(logits[i]);
      const bool kept = log_prob >= kMasked;
      logits[i] = kept || far_below == FarBelow::left_alone ? log_prob : -infinity;
      if (kept) keep(ids, i);
    }
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void PlausibleCandidates::accept(std::span<const TokenId> ids,
                                                                  std::span<const float> scores) {
  check_scores("scores", scores);
  clear();
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (scores[i] > -std::numeric_limits<float>::infinity()) keep(ids, i);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
