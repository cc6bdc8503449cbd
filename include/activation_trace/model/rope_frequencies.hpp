// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <numbers>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/model/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// The [R / 2] angles, in radians per position, by which RoPE turns the pairs of the R components of a head that are
/// rotated, all head_dim unless `rope` says fewer: theta^(-2j / R), changed by the scaling and divided by the divisors
/// that `rope` has for sequences of at most `positions` (model/README.md 2). Computed in double and rounded once.
/// Throws ArgumentError if head_dim or R is not positive and even or the divisors do not number R / 2.
[[nodiscard]] std::vector<float> rope_frequencies(const RopeConfig& rope, Index head_dim, Index positions = 0);

namespace detail {

#if ACTIVATION_TRACE_BODIES

/// Llama 3: slow pairs are divided by the factor, fast ones kept, and those between blended linearly in the
/// number of turns they make over the original context.
ACTIVATION_TRACE_COMPILED_INLINE double scale_llama3(double frequency, const RopeConfig& rope) {
  const double low = rope.low_freq_factor;
  const double high = rope.high_freq_factor;
  const double turns = rope.original_context * frequency / (2 * std::numbers::pi);
  if (turns > high) return frequency;
  if (turns < low) return frequency / rope.factor;
  const double keep = (turns - low) / (high - low);
  return (1 - keep) * frequency / rope.factor + keep * frequency;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::vector<float> rope_frequencies(const RopeConfig& rope, Index head_dim,
                                                                     Index positions) {
  if (head_dim <= 0 || head_dim % 2 != 0)
    throw ArgumentError("rope_frequencies: head_dim must be positive and even, got " + std::to_string(head_dim));
  const Index rotated = rope.rotated(head_dim);
  if (rotated < 0 || rotated % 2 != 0 || rotated > head_dim)
    throw ArgumentError("rope_frequencies: rotary_dim must be even and in 0..head_dim, got " + std::to_string(rotated));
  const auto pairs = static_cast<std::size_t>(rotated / 2);
  const std::vector<float>& divisors = rope.divisors_for(positions);
  if (!divisors.empty() && divisors.size() != pairs)
    throw ArgumentError("rope_frequencies: expected " + std::to_string(pairs) + " divisors, got " +
                        std::to_string(divisors.size()));
  std::vector<float> frequencies(pairs);
  for (std::size_t j = 0; j < pairs; ++j) {
    double frequency =
        std::pow(static_cast<double>(rope.theta), -2.0 * static_cast<double>(j) / static_cast<double>(rotated));
    switch (rope.scaling) {
      case RopeScaling::none: break;
      case RopeScaling::linear: frequency /= rope.factor; break;
      case RopeScaling::llama3: frequency = detail::scale_llama3(frequency, rope); break;
    }
    if (!divisors.empty()) frequency /= divisors[j];
    frequencies[j] = static_cast<float>(frequency);
  }
  return frequencies;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
