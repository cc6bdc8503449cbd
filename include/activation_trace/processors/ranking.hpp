// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

/// The k-th largest of a row in O(V log k). Keeps its memory.
class KthLargest {
 public:
  /// Needs 1 <= k <= scores.size(); NaN is not allowed.
  [[nodiscard]] float operator()(std::span<const float> scores, Index k) {
    largest_.assign(scores.begin(), scores.begin() + k);
    std::make_heap(largest_.begin(), largest_.end(), std::greater<>());
    for (const float x : scores.subspan(static_cast<std::size_t>(k))) {
      if (x <= largest_.front()) continue;
      std::pop_heap(largest_.begin(), largest_.end(), std::greater<>());
      largest_.back() = x;
      std::push_heap(largest_.begin(), largest_.end(), std::greater<>());
    }
    return largest_.front();
  }

 private:
  std::vector<float> largest_;  // min-heap of the k largest so far
};

/// An entry of a row as top-p and typical see it.
struct RankedEntry {
  double weight;  ///< its probability, up to a common factor
  double key;     ///< what it is ranked by
  TokenId id;     ///< decides between equals, so that an order of candidates does not matter
  unsigned at;    ///< its place in the row
};

/// Moves those entries to the front that come first by `before` and are just enough for their weights to reach
/// `target`, at least one, and returns how many they are: all if the target is beyond reach. entries must not be
/// empty. In linear time: every round halves what is undecided.
template <class Before>
std::size_t shortest_prefix(std::span<RankedEntry> entries, double target, Before before) {
  std::size_t first = 0;
  std::size_t last = entries.size();
  double reached = 0;  // by the entries before `first`, which are fewer than needed
  while (last - first > 1) {
    const std::size_t middle = first + (last - first) / 2;
    const auto at = [&](std::size_t i) { return entries.begin() + static_cast<std::ptrdiff_t>(i); };
    std::nth_element(at(first), at(middle), at(last), before);
    double sum = reached;
    for (std::size_t i = first; i < middle; ++i) sum += entries[i].weight;
    if (sum >= target) {
      last = middle;
    } else {
      reached = sum;
      first = middle;
    }
  }
  return last;
}

/// The same for a number of entries: moves the first `count` to the front, or all.
template <class Before>
std::size_t first_entries(std::span<RankedEntry> entries, Index count, Before before) {
  if (static_cast<Index>(entries.size()) <= count) return entries.size();
  std::nth_element(entries.begin(), entries.begin() + count, entries.end(), before);
  return static_cast<std::size_t>(count);
}

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
