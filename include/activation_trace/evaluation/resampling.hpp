// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// For bootstrap intervals and permutation tests.
struct ResamplingOptions {
  Index resamples = 2000;    ///< drawn at random, >= 1
  double confidence = 0.95;  ///< of an interval, in (0, 1)
  std::uint64_t seed = 1;    ///< same seed, same numbers, on every machine
};

/// A confidence interval, both ends included.
struct Interval {
  double low = 0;   ///< its lower end
  double high = 0;  ///< its upper end
};

/// Percentile bootstrap: the interval that holds `confidence` of statistic(indices) over samples of n indices drawn
/// with replacement. `statistic` gets a std::span<const std::size_t>; a resample for which it returns NaN (say, all
/// labels alike) is left out. Throws ArgumentError for n < 1 or impossible options, and if nothing but NaN came.
template <std::invocable<std::span<const std::size_t>> Statistic>
[[nodiscard]] Interval bootstrap_interval(Index n, Statistic statistic, const ResamplingOptions& options = {});

/// The interval of a mean.
[[nodiscard]] Interval bootstrap_mean_interval(std::span<const double> values, const ResamplingOptions& options = {});

/// Two runs over the same questions: the probability, if it did not matter which run an answer came from, of a mean
/// difference at least as large as the one seen. Two-sided sign-flip permutation test with `resamples` random flips,
/// (1 + hits) / (1 + resamples). Throws ShapeError for unequal lengths, ArgumentError if they are empty.
[[nodiscard]] double paired_permutation_test(std::span<const double> a, std::span<const double> b,
                                             const ResamplingOptions& options = {});

namespace detail {

// Uniform below n from the top bits: exactly specified, where the standard's distributions are not.
[[nodiscard]] inline std::size_t uniform_below(std::mt19937_64& random, std::size_t n) {
  const std::uint64_t limit = n * (UINT64_MAX / n);
  std::uint64_t draw = random();
  while (draw >= limit) draw = random();
  return draw % n;
}

// Linear between the order statistics, as numpy.quantile.
[[nodiscard]] inline double quantile(std::span<const double> sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

inline void check_resampling(const ResamplingOptions& options) {
  if (options.resamples < 1)
    throw ArgumentError("resamples: expected at least 1, got " + std::to_string(options.resamples));
  if (!(options.confidence > 0 && options.confidence < 1))
    throw ArgumentError("confidence: expected a number between 0 and 1, got " + std::to_string(options.confidence));
}

}  // namespace detail

template <std::invocable<std::span<const std::size_t>> Statistic>
Interval bootstrap_interval(Index n, Statistic statistic, const ResamplingOptions& options) {
  detail::check_resampling(options);
  if (n < 1) throw ArgumentError("bootstrap_interval: expected at least one sample, got " + std::to_string(n));
  std::mt19937_64 random(options.seed);
  std::vector<std::size_t> indices(static_cast<std::size_t>(n));
  std::vector<double> results;
  results.reserve(static_cast<std::size_t>(options.resamples));
  for (Index r = 0; r < options.resamples; ++r) {
    for (std::size_t& i : indices) i = detail::uniform_below(random, indices.size());
    const double result = statistic(std::span<const std::size_t>(indices));
    if (!std::isnan(result)) results.push_back(result);
  }
  if (results.empty()) throw ArgumentError("bootstrap_interval: the statistic is NaN for every resample");
  std::sort(results.begin(), results.end());
  const double tail = (1 - options.confidence) / 2;
  return {detail::quantile(results, tail), detail::quantile(results, 1 - tail)};
}

inline Interval bootstrap_mean_interval(std::span<const double> values, const ResamplingOptions& options) {
  return bootstrap_interval(
      static_cast<Index>(values.size()),
      [&](std::span<const std::size_t> indices) {
        double sum = 0;
        for (const std::size_t i : indices) sum += values[i];
        return sum / static_cast<double>(indices.size());
      },
      options);
}

inline double paired_permutation_test(std::span<const double> a, std::span<const double> b,
                                      const ResamplingOptions& options) {
  detail::check_resampling(options);
  if (a.size() != b.size())
    throw ShapeError("paired_permutation_test: runs of " + std::to_string(a.size()) + " and " +
                     std::to_string(b.size()) + " answers");
  if (a.empty()) throw ArgumentError("paired_permutation_test: there are no answers");
  std::mt19937_64 random(options.seed);
  const auto flipped_sum = [&](auto sign) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += sign() * (a[i] - b[i]);
    return std::abs(sum);
  };
  const double seen = flipped_sum([] { return 1.0; });
  const double rounding = 1e-12 * static_cast<double>(a.size());  // sums of equal differences in another order
  Index hits = 0;
  std::uint64_t bits = 0;
  int left = 0;
  const auto coin = [&] {
    if (left == 0) {
      bits = random();
      left = 64;
    }
    --left;
    const double sign = (bits & 1) == 0 ? 1.0 : -1.0;
    bits >>= 1;
    return sign;
  };
  for (Index r = 0; r < options.resamples; ++r) hits += flipped_sum(coin) >= seen - rounding;
  return static_cast<double>(1 + hits) / static_cast<double>(1 + options.resamples);
}

}  // namespace v0
}  // namespace activation_trace
