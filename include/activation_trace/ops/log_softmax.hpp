// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/isa.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"

namespace activation_trace {
inline namespace v0 {

/// What turns a row's logits into log-probabilities, in nats: log_prob(x) = (x - max) - log_sum.
struct LogNormalizer {
  float max = -std::numeric_limits<float>::infinity();        ///< the largest logit
  double log_sum = std::numeric_limits<double>::quiet_NaN();  ///< of e^(x - max)

  /// Of a logit of that row; computed in double, rounded once.
  [[nodiscard]] float log_prob(float logit) const {
    return static_cast<float>((static_cast<double>(logit) - static_cast<double>(max)) - log_sum);
  }
};

/// log_sum is NaN for NaN or +inf among the logits, or nothing above -inf.
[[nodiscard]] LogNormalizer log_normalizer(std::span<const float> logits, Isa isa = best_isa());

/// out = logits - log sum e^logits in nats, the sum in double; returns the largest log-probability.
/// A logit of -inf stays -inf. NaN, +inf, or nothing above -inf makes every result NaN, as in torch; no logits
/// at all return NaN. `out` may be `logits`. Throws ShapeError for unequal lengths.
float log_softmax(std::span<const float> logits, std::span<float> out, Isa isa = best_isa());

inline LogNormalizer log_normalizer(std::span<const float> logits, Isa isa) {
  const detail::Kernels& kernels = detail::kernels(isa);
  const auto count = static_cast<Index>(logits.size());
  if (count == 0) return {};
  const float max = kernels.largest_of(logits.data(), count);
  // NaN logits arrive in the sum, as does max = -inf or +inf.
  return {max, std::log(kernels.sum_exponentials(logits.data(), count, max))};
}

inline float log_softmax(std::span<const float> logits, std::span<float> out, Isa isa) {
  detail::check_extent("log_softmax: length of out", static_cast<Index>(out.size()), static_cast<Index>(logits.size()));
  const LogNormalizer normalizer = log_normalizer(logits, isa);
  std::transform(logits.begin(), logits.end(), out.begin(), [&](float x) { return normalizer.log_prob(x); });
  return static_cast<float>(-normalizer.log_sum);
}

}  // namespace v0
}  // namespace activation_trace
