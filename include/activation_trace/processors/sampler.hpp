// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/processors/check.hpp"

namespace activation_trace {
inline namespace v0 {

/// Random numbers for drawing tokens. The generator and its seeding are those that the C++ standard specifies exactly,
/// so the numbers are the same on every platform.
class Sampler {
 public:
  /// Different streams of one seed are independent.
  explicit Sampler(std::uint64_t seed, std::uint64_t stream = 0);

  /// The next number in [0, 1), a multiple of 2^-53.
  [[nodiscard]] double next() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

  /// The place in `scores` that `uniform` in [0, 1) falls on, with probabilities proportional to e^score: the first
  /// where the cumulative sum in order exceeds uniform times the total, in double. -inf is never drawn. Depends on the
  /// library's std::exp only where the two differ by rounding. Throws ArgumentError for NaN, +inf, or nothing above
  /// -inf, and unless 0 <= uniform < 1.
  [[nodiscard]] Index draw(std::span<const float> scores, double uniform);

  /// The same with the next number of the stream.
  [[nodiscard]] Index draw(std::span<const float> scores) { return draw(scores, next()); }

 private:
  static std::mt19937_64 seeded(std::uint64_t seed, std::uint64_t stream);

  std::mt19937_64 random_;
  std::vector<double> weights_;  // of the last scores; grows to V once
};

inline Sampler::Sampler(std::uint64_t seed, std::uint64_t stream) : random_(seeded(seed, stream)) {}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::mt19937_64 Sampler::seeded(std::uint64_t seed, std::uint64_t stream) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  std::seed_seq sequence{low(seed), low(seed >> 32), low(stream), low(stream >> 32)};
  return std::mt19937_64(sequence);
}

ACTIVATION_TRACE_COMPILED_INLINE Index Sampler::draw(std::span<const float> scores, double uniform) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  if (!(uniform >= 0 && uniform < 1))
    throw ArgumentError("uniform: expected a number in [0, 1), got " + std::to_string(uniform));
  detail::check_scores("scores", scores);
  const float largest = scores.empty() ? -infinity : *std::max_element(scores.begin(), scores.end());
  if (largest == -infinity) throw ArgumentError("scores: none is above -inf");
  weights_.resize(scores.size());
  double total = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    weights_[i] = scores[i] == -infinity ? 0 : std::exp(static_cast<double>(scores[i]) - static_cast<double>(largest));
    total += weights_[i];
  }
  const double target = uniform * total;
  double sum = 0;
  Index last = 0;  // where rounding lets the target reach the total
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (weights_[i] == 0) continue;
    last = static_cast<Index>(i);
    sum += weights_[i];
    if (sum > target) break;
  }
  return last;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
