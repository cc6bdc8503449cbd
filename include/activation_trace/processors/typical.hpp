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

/// Locally typical sampling (Meister et al. 2022): keeps the tokens whose surprise, -log p, is nearest to the
/// distribution's entropy, as many as it takes for their probabilities to reach `mass`, and whatever is as near as the
/// last of them; at least min_tokens_to_keep, equals by the lower id. As Hugging Face's TypicalLogitsWarper. Takes
/// O(V).
class Typical {
 public:
  /// Throws ArgumentError unless 0 < mass < 1 and min_tokens_to_keep >= 1.
  explicit Typical(float mass, Index min_tokens_to_keep = 1);

  /// scores[V], in place. Throws ArgumentError for NaN or +inf.
  void process(std::span<float> scores) { mask({}, scores); }

  /// The same for candidates in any order. Throws ShapeError unless both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> scores) {
    detail::check_candidates("Typical", ids, scores);
    mask(ids, scores);
  }

 private:
  void mask(std::span<const TokenId> ids, std::span<float> scores);

  float mass_;
  Index min_tokens_to_keep_;
  std::vector<detail::RankedEntry> entries_;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE Typical::Typical(float mass, Index min_tokens_to_keep)
    : mass_(mass), min_tokens_to_keep_(min_tokens_to_keep) {
  if (!(mass > 0 && mass < 1))
    throw ArgumentError("typical_p: expected a number between 0 and 1, got " + std::to_string(mass));
  detail::check_min_tokens_to_keep(min_tokens_to_keep);
}

ACTIVATION_TRACE_COMPILED_INLINE void Typical::mask(std::span<const TokenId> ids, std::span<float> scores) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  detail::check_scores("scores", scores);
  const LogNormalizer normalizer = detail::log_normalizer(detail::kernels(best_isa()), scores);
  if (std::isnan(normalizer.log_sum)) return;
  entries_.clear();
  entries_.reserve(scores.size());
  // Every e^d is kept, so that the sums are made of them: SoftmaxState would compute each again.
  double sum = 0;
  double weighted = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] == -infinity) continue;
    const double d = static_cast<double>(scores[i]) - static_cast<double>(normalizer.max);
    const double weight = std::exp(d);
    sum += weight;
    weighted += weight * d;
    entries_.push_back({.weight = weight,
                        .key = d,
                        .id = ids.empty() ? static_cast<TokenId>(i) : ids[i],
                        .at = static_cast<unsigned>(i)});
  }
  // Surprise minus entropy is (log sum - d) - (log sum - weighted / sum).
  for (detail::RankedEntry& entry : entries_) entry.key = std::abs(weighted / sum - entry.key);
  const auto before = [](const detail::RankedEntry& a, const detail::RankedEntry& b) {
    return a.key < b.key || (a.key == b.key && a.id < b.id);
  };
  const std::size_t enough = detail::shortest_prefix(entries_, static_cast<double>(mass_) * sum, before);
  double farthest = 0;
  for (std::size_t i = 0; i < enough; ++i) farthest = std::max(farthest, entries_[i].key);
  const std::size_t kept = static_cast<Index>(enough) < min_tokens_to_keep_
                               ? detail::first_entries(entries_, min_tokens_to_keep_, before)
                               : enough;
  for (std::size_t i = kept; i < entries_.size(); ++i)
    if (entries_[i].key > farthest) scores[entries_[i].at] = -infinity;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
