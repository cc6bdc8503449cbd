// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/resampling.hpp"

namespace activation_trace {
inline namespace v0 {

/// An AUROC and how far to trust it.
struct AurocEstimate {
  double auroc = 0;   ///< over all answers
  Interval interval;  ///< where it lies in resamples of the questions
};

/// The probability that a right answer's value is above a wrong one's, ties half, as DetectionMetrics::auroc, with a
/// bootstrap interval that draws questions rather than answers: answers to one question are not independent, and
/// drawing them alone would make the interval too narrow. `questions[i]` is what answer i belongs to, any number >= 0.
/// Throws ShapeError for unequal lengths, ArgumentError for NaN, a negative question, or if all are right or all wrong.
[[nodiscard]] AurocEstimate grouped_auroc(std::span<const double> values, std::span<const char> right,
                                          std::span<const Index> questions, const ResamplingOptions& options = {});

inline AurocEstimate grouped_auroc(std::span<const double> values, std::span<const char> right,
                                   std::span<const Index> questions, const ResamplingOptions& options) {
  if (values.size() != right.size() || values.size() != questions.size())
    throw ShapeError("grouped_auroc: got " + std::to_string(right.size()) + " labels and " +
                     std::to_string(questions.size()) + " questions for " + std::to_string(values.size()) + " values");
  std::vector<Index> names(questions.begin(), questions.end());
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::vector<std::size_t> group(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) throw ArgumentError("grouped_auroc: values[" + std::to_string(i) + "] is NaN");
    if (questions[i] < 0) throw ArgumentError("grouped_auroc: questions[" + std::to_string(i) + "] is negative");
    group[i] = static_cast<std::size_t>(std::ranges::lower_bound(names, questions[i]) - names.begin());
  }
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });

  // Of answers counted as often as their question was drawn; NaN if all are right or all wrong.
  std::vector<double> drawn(names.size(), 1);
  const auto auroc = [&] {
    double rights = 0;
    double wrongs = 0;
    double pairs = 0;  // in the right order
    for (std::size_t begin = 0; begin < order.size();) {
      const double value = values[order[begin]];
      double tied_rights = 0;
      double tied_wrongs = 0;
      for (; begin < order.size() && values[order[begin]] == value; ++begin)
        (right[order[begin]] != 0 ? tied_rights : tied_wrongs) += drawn[group[order[begin]]];
      pairs += tied_wrongs * (rights + tied_rights / 2);
      rights += tied_rights;
      wrongs += tied_wrongs;
    }
    return rights > 0 && wrongs > 0 ? pairs / (rights * wrongs) : std::numeric_limits<double>::quiet_NaN();
  };
  AurocEstimate result;
  result.auroc = auroc();
  if (std::isnan(result.auroc))
    throw ArgumentError("grouped_auroc: all " + std::to_string(values.size()) +
                        " answers are alike: there is nothing to tell apart");
  result.interval = bootstrap_interval(
      static_cast<Index>(names.size()),
      [&](std::span<const std::size_t> indices) {
        std::ranges::fill(drawn, 0);
        for (const std::size_t i : indices) ++drawn[i];
        return auroc();
      },
      options);
  return result;
}

}  // namespace v0
}  // namespace activation_trace
