// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/ranking.hpp"

namespace activation_trace {
inline namespace v0 {

/// Nucleus sampling: keeps the fewest most probable tokens whose probabilities reach p, and at least
/// min_tokens_to_keep, as Hugging Face's TopPLogitsWarper. Of equals the lower id goes first; there it is left to a
/// sort that is not stable. p = 1 keeps all. Takes O(V), and an order among those tokens only that are not hopeless.
class TopP {
 public:
  /// Throws ArgumentError unless 0 <= p <= 1 and min_tokens_to_keep >= 1.
  explicit TopP(float p, Index min_tokens_to_keep = 1);

  /// scores[V], in place. Throws ArgumentError for NaN or +inf.
  void process(std::span<float> scores) { mask({}, scores); }

  /// The same for candidates in any order. Throws ShapeError unless both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> scores) {
    detail::check_candidates("TopP", ids, scores);
    mask(ids, scores);
  }

 private:
  void mask(std::span<const TokenId> ids, std::span<float> scores);
  void collect(std::span<const TokenId> ids, std::span<const float> scores, float max, double lowest);

  float p_;
  Index min_tokens_to_keep_;
  std::vector<detail::RankedEntry> entries_;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE TopP::TopP(float p, Index min_tokens_to_keep)
    : p_(p), min_tokens_to_keep_(min_tokens_to_keep) {
  if (!(p >= 0 && p <= 1)) throw ArgumentError("top_p: expected a number in [0, 1], got " + std::to_string(p));
  detail::check_min_tokens_to_keep(min_tokens_to_keep);
}

ACTIVATION_TRACE_COMPILED_INLINE void TopP::mask(std::span<const TokenId> ids, std::span<float> scores) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  detail::check_scores("scores", scores);
  const LogNormalizer normalizer = detail::log_normalizer(detail::kernels(best_isa()), scores);
  if (p_ == 1 || std::isnan(normalizer.log_sum)) return;
  const double p = static_cast<double>(p_);
  // All tokens less probable than (1 - p) / V have less than 1 - p together: none of them is needed.
  const double hopeless =
      static_cast<double>(normalizer.max) + normalizer.log_sum + std::log((1 - p) / static_cast<double>(scores.size()));
  collect(ids, scores, normalizer.max, hopeless);
  if (static_cast<Index>(entries_.size()) < min_tokens_to_keep_)
    collect(ids, scores, normalizer.max, -std::numeric_limits<double>::infinity());
  const auto before = [](const detail::RankedEntry& a, const detail::RankedEntry& b) {
    return a.key > b.key || (a.key == b.key && a.id < b.id);
  };
  std::size_t kept = detail::shortest_prefix(entries_, p * std::exp(normalizer.log_sum), before);
  if (static_cast<Index>(kept) < min_tokens_to_keep_)
    kept = detail::first_entries(entries_, min_tokens_to_keep_, before);
  std::fill(scores.begin(), scores.end(), -infinity);
  for (std::size_t i = 0; i < kept; ++i) scores[entries_[i].at] = static_cast<float>(entries_[i].key);
}

ACTIVATION_TRACE_COMPILED_INLINE void TopP::collect(std::span<const TokenId> ids, std::span<const float> scores,
                                                    float max, double lowest) {
  entries_.clear();
  entries_.reserve(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const double x = static_cast<double>(scores[i]);
    if (x < lowest || scores[i] == -std::numeric_limits<float>::infinity()) continue;
    entries_.push_back({.weight = std::exp(x - static_cast<double>(max)),
                        .key = x,
                        .id = ids.empty() ? static_cast<TokenId>(i) : ids[i],
                        .at = static_cast<unsigned>(i)});
  }
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
