// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/tensor/view.hpp"

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

/// log_sum is NaN for NaN or +inf among the logits, or nothing above -inf. Runs on the calling thread. Throws
/// ShapeError unless the logits are contiguous.
[[nodiscard]] LogNormalizer log_normalizer(const Execution<Host>& execution, VectorView<const float> logits);

/// out = logits - log sum e^logits in nats, the sum in double; returns the largest log-probability.
/// A logit of -inf stays -inf. NaN, +inf, or nothing above -inf makes every result NaN, as in torch; no logits
/// at all return NaN. `out` may be `logits`. Runs on the calling thread. Throws ShapeError for unequal lengths and
/// gaps.
float log_softmax(const Execution<Host>& execution, VectorView<const float> logits, VectorView<float> out);

namespace detail {

inline LogNormalizer log_normalizer(const Kernels& kernels, std::span<const float> logits) {
  const auto count = static_cast<Index>(logits.size());
  if (count == 0) return {};
  const float max = kernels.largest_of(logits.data(), count);
  // NaN logits arrive in the sum, as does max = -inf or +inf.
  return {max, std::log(kernels.sum_exponentials(logits.data(), count, max))};
}

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE LogNormalizer log_normalizer(const Execution<Host>& execution,
                                                              VectorView<const float> logits) {
  return detail::log_normalizer(detail::kernels(execution.isa()), logits.span());
}

ACTIVATION_TRACE_COMPILED_INLINE float log_softmax(const Execution<Host>& execution, VectorView<const float> logits,
                                                   VectorView<float> out) {
  detail::check_extent("log_softmax: length of out", out.size(), logits.size());
  const LogNormalizer normalizer = log_normalizer(execution, logits);
  std::ranges::transform(logits.span(), out.span().begin(), [&](float x) { return normalizer.log_prob(x); });
  return static_cast<float>(-normalizer.log_sum);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
