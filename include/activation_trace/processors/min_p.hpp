// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/relative_top.hpp"

namespace activation_trace {
inline namespace v0 {

/// Masks what is less than min_p times as probable as the most probable token. This is RelativeTopFilter under the
/// name of Hugging Face's MinPLogitsWarper; of equals at the border of min_tokens_to_keep all stay, where that picks
/// some.
class MinP {
 public:
  /// Throws ArgumentError unless 0 <= min_p <= 1 and min_tokens_to_keep >= 1.
  explicit MinP(float min_p, Index min_tokens_to_keep = 1)
      : filter_({.relative_top = checked(min_p), .min_tokens_to_keep = min_tokens_to_keep}) {}

  /// scores[V], in place. Throws ArgumentError for NaN or +inf.
  void process(std::span<float> scores) {
    detail::check_scores("scores", scores);
    filter_.process(scores);
  }

  /// The same for candidates in any order. Throws ShapeError unless both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> scores) {
    detail::check_candidates("MinP", ids, scores);
    process(scores);
  }

 private:
  static float checked(float min_p) {
    if (!(min_p >= 0 && min_p <= 1))
      throw ArgumentError("min_p: expected a number in [0, 1], got " + std::to_string(min_p));
    return min_p;
  }

  RelativeTopFilter filter_;
};

}  // namespace v0
}  // namespace activation_trace
