// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>

#include "activation_trace/processors/check.hpp"

namespace activation_trace {
inline namespace v0 {

/// Divides every score by a temperature: below 1 sharpens, above 1 flattens. -inf stays -inf. NaN stays NaN.
///
/// Where the largest quotient would leave the floats, or come so near to their end that its rounding would blur what
/// tells the scores apart, the largest score is subtracted first: the best token then has 0, and probabilities are
/// those of the exact quotients for every temperature.
class Temperature {
 public:
  /// Throws ArgumentError unless temperature is positive and finite. For temperature 0 take the largest score instead.
  explicit Temperature(float temperature) : temperature_(temperature) {
    if (!(temperature > 0 && std::isfinite(temperature)))
      throw ArgumentError("temperature: expected a positive number, got " + std::to_string(temperature));
  }

  /// scores[V], in place.
  void process(std::span<float> scores) const {
    if (temperature_ == 1) return;
    const float largest = largest_of(scores);
    if (std::isfinite(largest) && std::abs(largest / temperature_) > blurred) {
      for (float& x : scores) {  // in double, which holds every such difference and quotient
        const double quotient =
            (static_cast<double>(x) - static_cast<double>(largest)) / static_cast<double>(temperature_);
        x = quotient < std::numeric_limits<float>::lowest() ? -std::numeric_limits<float>::infinity()
                                                            : static_cast<float>(quotient);
      }
      return;
    }
    for (float& x : scores) x /= temperature_;
  }

  /// Throws ShapeError unless both are equally long.
  void process(std::span<const TokenId> ids, std::span<float> scores) const {
    detail::check_candidates("Temperature", ids, scores);
    process(scores);
  }

 private:
  // From here on neighbouring floats are 2^-13 apart or more, and probabilities would be wrong by such a share.
  static constexpr float blurred = 1024;

  static float largest_of(std::span<const float> scores) {
    std::array<float, 8> best;  // one after another would wait for each
    best.fill(-std::numeric_limits<float>::infinity());
    std::size_t i = 0;
    for (; i + best.size() <= scores.size(); i += best.size())
      for (std::size_t lane = 0; lane < best.size(); ++lane)
        best[lane] = scores[i + lane] > best[lane] ? scores[i + lane] : best[lane];
    for (; i < scores.size(); ++i) best[0] = scores[i] > best[0] ? scores[i] : best[0];
    return *std::max_element(best.begin(), best.end());
  }

  float temperature_;
};

}  // namespace v0
}  // namespace activation_trace
