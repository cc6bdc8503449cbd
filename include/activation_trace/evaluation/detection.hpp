// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// How well a number tells right answers from wrong ones (evaluation/README.md 2.4). Higher means "more likely right";
/// for an entropy, pass its negative. Equal values are one threshold, as in scikit-learn, whose definitions these are.
struct DetectionMetrics {
  double auroc = 0;              ///< probability that a right answer's value is above a wrong one's, ties half
  double average_precision = 0;  ///< sum over thresholds of (recall step) * precision
  double pr_area = 0;            ///< trapezoids under the precision-recall curve, from (recall 0, precision 1); the
                                 ///< published code calls it AURC
  double risk_coverage = 0;      ///< mean over coverages k / n of the share of wrong among the k most trusted answers,
                                 ///< those with equal values in their average order
};

/// `right[i]` != 0: answer i is right. Throws ShapeError for unequal lengths, ArgumentError for NaN or if all are
/// right or all wrong, because then there is nothing to tell apart.
[[nodiscard]] inline DetectionMetrics detection_metrics(std::span<const double> values, std::span<const char> right) {
  if (values.size() != right.size())
    throw ShapeError("detection_metrics: got " + std::to_string(right.size()) + " labels for " +
                     std::to_string(values.size()) + " values");
  for (std::size_t i = 0; i < values.size(); ++i)
    if (std::isnan(values[i])) throw ArgumentError("detection_metrics: values[" + std::to_string(i) + "] is NaN");
  const auto positives =
      static_cast<double>(std::count_if(right.begin(), right.end(), [](char label) { return label != 0; }));
  const double negatives = static_cast<double>(right.size()) - positives;
  if (positives == 0 || negatives == 0)
    throw ArgumentError("detection_metrics: all " + std::to_string(right.size()) +
                        " answers are alike: there is nothing to tell apart");
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });

  DetectionMetrics result;
  double true_positives = 0;
  double false_positives = 0;
  double last_precision = 1;
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    double rights = 0;
    for (; end < order.size() && values[order[end]] == values[order[begin]]; ++end) rights += right[order[end]] != 0;
    const double count = static_cast<double>(end - begin);
    const double wrongs = count - rights;
    result.auroc += rights * (negatives - false_positives - wrongs) + rights * wrongs / 2;
    // Within a tie every order is as likely: the k-th of them brings wrongs / count on average.
    for (double k = 1; k <= count; ++k)
      result.risk_coverage += (false_positives + wrongs * k / count) / (static_cast<double>(begin) + k);
    true_positives += rights;
    false_positives += wrongs;
    const double precision = true_positives / (true_positives + false_positives);
    const double recall_step = rights / positives;
    result.average_precision += recall_step * precision;
    result.pr_area += recall_step * (precision + last_precision) / 2;
    last_precision = precision;
    begin = end;
  }
  result.auroc /= positives * negatives;
  result.risk_coverage /= static_cast<double>(order.size());
  return result;
}

}  // namespace v0
}  // namespace activation_trace
