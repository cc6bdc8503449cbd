// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string>

#include "activation_trace/processors/check.hpp"

namespace activation_trace {
inline namespace v0 {

/// Divides every score by a temperature: below 1 sharpens, above 1 flattens. -inf stays -inf. NaN stays NaN.
class Temperature {
 public:
  /// Throws ArgumentError unless temperature is positive and finite. For temperature 0 take the largest score instead.
  explicit Temperature(float temperature) : temperature_(temperature) {
    if (!(temperature > 0 && std::isfinite(temperature)))
      throw ArgumentError("temperature: expected a positive number, got " + std::to_string(temperature));
  }

  void process(std::span<float> scores) const {
    if (temperature_ == 1) return;
    for (float& x : scores) x /= temperature_;
  }

  /// Throws ShapeError unless both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> scores) const {
    detail::check_candidates("Temperature", ids, scores);
    process(scores);
  }

 private:
  float temperature_;
};

}  // namespace v0
}  // namespace activation_trace
