// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// How many right and wrong answers have their score in each of some bins of one width, from the least score to the
/// largest.
struct ScoreHistogram {
  double low = 0;            ///< where the first bin begins
  double width = 1;          ///< of a bin
  std::vector<Index> right;  ///< right answers in each bin
  std::vector<Index> wrong;  ///< wrong answers in each bin

  /// The score in the middle of a bin.
  [[nodiscard]] double middle(std::size_t bin) const { return low + width * (static_cast<double>(bin) + 0.5); }
};

/// Counts as numpy.histogram does over the range of all scores: a bin holds its lower end, the last one both; around
/// scores that are all the same the range is 1 wide. Throws ArgumentError without scores or bins, for another number of
/// labels, and for scores that are not finite or further apart than a double tells.
[[nodiscard]] inline ScoreHistogram score_histogram(std::span<const double> scores, std::span<const char> right,
                                                    std::size_t bins = 20) {
  if (scores.empty() || bins == 0) throw ArgumentError("score_histogram: it needs scores and bins");
  if (scores.size() != right.size())
    throw ArgumentError("score_histogram: expected a label for each of " + std::to_string(scores.size()) +
                        " scores, got " + std::to_string(right.size()));
  if (!std::ranges::all_of(scores, [](double x) { return std::isfinite(x); }))
    throw ArgumentError("score_histogram: a score is not finite");
  const auto [least, largest] = std::ranges::minmax(scores);
  const double low = least < largest ? least : least - 0.5;
  const double high = least < largest ? largest : largest + 0.5;
  const double width = (high - low) / static_cast<double>(bins);
  if (!std::isfinite(width)) throw ArgumentError("score_histogram: scores are too far apart");
  ScoreHistogram result{low, width, std::vector<Index>(bins), std::vector<Index>(bins)};
  // The bins' ends decide, not a quotient, which is rounded otherwise.
  const auto end = [&](std::size_t bin) { return bin + 1 == bins ? high : low + width * static_cast<double>(bin + 1); };
  for (std::size_t i = 0; i < scores.size(); ++i) {
    auto bin = static_cast<std::size_t>(std::clamp((scores[i] - low) / width, 0.0, static_cast<double>(bins - 1)));
    while (bin > 0 && scores[i] < end(bin - 1)) --bin;
    while (bin + 1 < bins && scores[i] >= end(bin)) ++bin;
    ++(right[i] != 0 ? result.right : result.wrong)[bin];
  }
  return result;
}

}  // namespace v0
}  // namespace activation_trace
