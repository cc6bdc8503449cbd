// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "activation_trace/ops/check.hpp"

namespace activation_trace {
inline namespace v0 {

/// out = logits - log sum e^logits in nats, the sum in double; returns the largest log-probability.
/// A logit of -inf stays -inf. NaN, +inf, or nothing above -inf makes every result NaN, as in torch; no logits
/// at all return NaN. `out` may be `logits`. Throws ShapeError for unequal lengths.
float log_softmax(std::span<const float> logits, std::span<float> out);

inline float log_softmax(std::span<const float> logits, std::span<float> out) {
  detail::check_extent("log_softmax: length of out", static_cast<Index>(out.size()), static_cast<Index>(logits.size()));
  float max = -std::numeric_limits<float>::infinity();
  for (const float x : logits) max = x > max ? x : max;
  double sum = 0;  // NaN logits arrive here, as does max = -inf or +inf
  for (const float x : logits) sum += static_cast<double>(std::exp(x - max));
  const double log_sum = std::log(sum);
  std::transform(logits.begin(), logits.end(), out.begin(), [&](float x) {
    return static_cast<float>((static_cast<double>(x) - static_cast<double>(max)) - log_sum);
  });
  return logits.empty() ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(-log_sum);
}

}  // namespace v0
}  // namespace activation_trace
