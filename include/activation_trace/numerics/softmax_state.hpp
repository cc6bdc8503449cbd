// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
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
template <class Real>
struct BasicSoftmaxState {
  Real max = -std::numeric_limits<Real>::infinity();  ///< m
  Real sum = 0;                                       ///< l
  Real weighted = 0;                                  ///< a, never positive

  /// Of x(0), .., x(count - 1), which are read twice: from their maximum, so that no sum is scaled again.
  [[nodiscard]] static BasicSoftmaxState of(std::size_t count, auto&& x);

  /// Appends one logit.
  ACTIVATION_TRACE_HOST_DEVICE void push(Real x);

  /// Appends the sequence that `other` summarises. Commutative bit for bit, associative up to rounding.
  ACTIVATION_TRACE_HOST_DEVICE void merge(const BasicSoftmaxState& other);

  /// No logit above -inf has been seen.
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE bool empty() const { return sum == 0; }

  /// What the softmax gives to x, one of the logits.
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE Real probability(Real x) const;

  /// log sum e^x in nats; -inf when empty.
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE Real log_sum_exp() const;

  /// Entropy of the softmax in nats, log l - a / l, never negative; NaN when empty.
  /// In float the absolute error is about 1e-6 after 500 pushes and 1e-5 after 8000; parts of 500 that are merged keep
  /// 1e-6 at any length. Values below 1e-7 are noise.
  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE Real entropy() const;

 private:
  // As constants, because device code may read them but not call the functions that give them.
  static constexpr Real infinity_ = std::numeric_limits<Real>::infinity();
  static constexpr Real nan_ = std::numeric_limits<Real>::quiet_NaN();
  // e^x has long been 0 here.
  static constexpr Real lowest_ = sizeof(Real) == sizeof(float) ? -256 : -1024;

  // x - maximum, but at least lowest_: a finite factor keeps 0 * inf out of the sums. NaN passes, because it is not
  // less than anything.
  static ACTIVATION_TRACE_HOST_DEVICE Real difference(Real x, Real maximum) {
    const Real d = x - maximum;
    return d < lowest_ ? lowest_ : d;
  }

  ACTIVATION_TRACE_HOST_DEVICE void raise_maximum(Real maximum) {
    const Real d = difference(max, maximum);
    const Real scale = std::exp(d);
    weighted = scale * (weighted + d * sum);
    sum = scale * sum;
    max = maximum;
  }
};

/// What kernels keep of every token, twelve bytes.
using SoftmaxState = BasicSoftmaxState<float>;

template <class Real>
BasicSoftmaxState<Real> BasicSoftmaxState<Real>::of(std::size_t count, auto&& x) {
  BasicSoftmaxState state;
  for (std::size_t i = 0; i < count; ++i) {
    const Real value = x(i);
    if (value > state.max) state.max = value;
  }
  for (std::size_t i = 0; i < count; ++i) state.push(x(i));
  return state;
}

template <class Real>
ACTIVATION_TRACE_HOST_DEVICE void BasicSoftmaxState<Real>::push(Real x) {
  if (x == -infinity_) return;
  if (x > max) raise_maximum(x);
  const Real d = difference(x, max);
  const Real e = std::exp(d);
  sum += e;
  weighted += d * e;
}

template <class Real>
ACTIVATION_TRACE_HOST_DEVICE void BasicSoftmaxState<Real>::merge(const BasicSoftmaxState& other) {
  if (other.empty()) return;
  if (empty()) {
    *this = other;
    return;
  }
  BasicSoftmaxState tail = other;
  // Both sides are brought to the common maximum, also the one that has it: its NaNs must not be lost.
  const Real maximum = tail.max > max ? tail.max : max;
  raise_maximum(maximum);
  tail.raise_maximum(maximum);
  sum += tail.sum;
  weighted += tail.weighted;
}

template <class Real>
ACTIVATION_TRACE_HOST_DEVICE Real BasicSoftmaxState<Real>::probability(Real x) const {
  return std::exp(difference(x, max)) / sum;
}

template <class Real>
ACTIVATION_TRACE_HOST_DEVICE Real BasicSoftmaxState<Real>::log_sum_exp() const {
  return max + std::log(sum);
}

template <class Real>
ACTIVATION_TRACE_HOST_DEVICE Real BasicSoftmaxState<Real>::entropy() const {
  if (empty()) return nan_;
  const Real e = std::log(sum) - weighted / sum;
  return e < 0 ? 0 : e;
}

}  // namespace v0
}  // namespace activation_trace
