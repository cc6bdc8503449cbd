// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string>

#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/relative_top.hpp"

namespace activation_trace {
inline namespace v0 {

/// Contrastive decoding (processors/README.md 4): log p_expert - coefficient log p_amateur / student_temperature, for
/// tokens that the expert finds plausible.
struct ContrastiveOptions {
  float coefficient = 1;           ///< of the amateur, >= 0, and over student_temperature at most 1e30
  float student_temperature = 1;   ///< divides the amateur's log-probabilities, which are not normalised again; > 0
  RelativeTopOptions filter = {};  ///< on the expert
  Unfiltered unfiltered = Unfiltered::logits;  ///< what relative_top 0 gives
};

namespace detail {

/// Throws ArgumentError for a coefficient that is negative or not finite, a temperature that is not positive and
/// finite, and a quotient of the two above largest_weight.
inline void check_contrastive(float coefficient, float student_temperature) {
  if (!(coefficient >= 0 && std::isfinite(coefficient)))
    throw ArgumentError("contrastive_coefficient: expected a number >= 0, got " + std::to_string(coefficient));
  if (!(student_temperature > 0 && std::isfinite(student_temperature)))
    throw ArgumentError("student_temperature: expected a positive number, got " + std::to_string(student_temperature));
  check_weight("contrastive_coefficient / student_temperature", coefficient / student_temperature);
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
