// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <string>

#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/ranking.hpp"

namespace activation_trace {
inline namespace v0 {

/// Masks everything below the k-th largest score; its equals stay, as in Hugging Face's TopKLogitsWarper. Takes
/// O(V log k).
class TopK {
 public:
  /// Throws ArgumentError unless both are at least 1. The larger of them counts.
  explicit TopK(Index k, Index min_tokens_to_keep = 1) : k_(std::max(k, min_tokens_to_keep)) {
    if (k < 1) throw ArgumentError("top_k: expected at least 1, got " + std::to_string(k));
    detail::check_min_tokens_to_keep(min_tokens_to_keep);
  }

  /// scores[V], in place. Throws ArgumentError for NaN or +inf.
  void process(std::span<float> scores) {
    detail::check_scores("scores", scores);
    if (static_cast<Index>(scores.size()) <= k_) return;
    const float lowest = kth_largest_(scores, k_);
    for (float& x : scores) x = x < lowest ? -std::numeric_limits<float>::infinity() : x;
  }

  /// The same for candidates in any order. Throws ShapeError unless both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> scores) {
    detail::check_candidates("TopK", ids, scores);
    process(scores);
  }

 private:
  Index k_;
  detail::KthLargest kth_largest_;
};

}  // namespace v0
}  // namespace activation_trace
