// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// The softmax of a sequence of logits, summarised so that sequences can be appended to and joined:
/// m = max x, l = sum e^(x - m), a = sum (x - m) e^(x - m), in natural units (numerics/README.md 1).
///
/// A value of -inf has probability 0 and changes nothing. NaN or +inf makes `sum` NaN, and with it every
/// result, for good. Differences from the maximum are taken before anything is scaled: that keeps the
/// entropy of a sequence with one large spike right to 1e-9 instead of 3e-7.
struct SoftmaxState {
  float max = -std::numeric_limits<float>::infinity();  ///< m
  float sum = 0.0f;                                     ///< l
  float weighted = 0.0f;                                ///< a, never positive

  /// Appends one logit.
  ACTIVATION_TRACE_HOST_DEVICE void push(float x);

  /// Appends the sequence that `other` summarises. Commutative bit for bit, associative up to rounding.
  ACTIVATION_TRACE_HOST_DEVICE void merge(const SoftmaxState& other);

  /// No logit above -inf has been seen.
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE bool empty() const { return sum == 0.0f; }

  /// log sum e^x in nats; -inf when empty.
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE float log_sum_exp() const;

  /// Entropy of the softmax in nats, log l - a / l, never negative; NaN when empty.
  /// The absolute error is about 1e-6 after 500 pushes and 1e-5 after 8000; parts of 500 that are merged keep
  /// 1e-6 at any length. Values below 1e-7 are noise.
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE float entropy() const;

 private:
  // As constants, because device code may read them but not call the functions that give them.
  static constexpr float infinity_ = std::numeric_limits<float>::infinity();
  static constexpr float nan_ = std::numeric_limits<float>::quiet_NaN();

  // x - maximum, but at least -256, where e^x has long been 0 in float: a finite factor keeps 0 * inf out
  // of the sums. NaN passes, because it is not less than anything.
  static ACTIVATION_TRACE_HOST_DEVICE float difference(float x, float maximum) {
    const float d = x - maximum;
    return d < -256.0f ? -256.0f : d;
  }

  ACTIVATION_TRACE_HOST_DEVICE void raise_maximum(float maximum) {
    const float d = difference(max, maximum);
    const float scale = std::exp(d);
    weighted = scale * (weighted + d * sum);
    sum = scale * sum;
    max = maximum;
  }
};

inline ACTIVATION_TRACE_HOST_DEVICE void SoftmaxState::push(float x) {
  if (x == -infinity_) return;
  if (x > max) raise_maximum(x);
  const float d = difference(x, max);
  const float e = std::exp(d);
  sum += e;
  weighted += d * e;
}

inline ACTIVATION_TRACE_HOST_DEVICE void SoftmaxState::merge(const SoftmaxState& other) {
  if (other.empty()) return;
  if (empty()) {
    *this = other;
    return;
  }
  SoftmaxState tail = other;
  // Both sides are brought to the common maximum, also the one that has it: its NaNs must not be lost.
  const float maximum = tail.max > max ? tail.max : max;
  raise_maximum(maximum);
  tail.raise_maximum(maximum);
  sum += tail.sum;
  weighted += tail.weighted;
}

inline ACTIVATION_TRACE_HOST_DEVICE float SoftmaxState::log_sum_exp() const { return max + std::log(sum); }

inline ACTIVATION_TRACE_HOST_DEVICE float SoftmaxState::entropy() const {
  if (empty()) return nan_;
  const float e = std::log(sum) - weighted / sum;
  return e < 0.0f ? 0.0f : e;
}

}  // namespace v0
}  // namespace activation_trace
