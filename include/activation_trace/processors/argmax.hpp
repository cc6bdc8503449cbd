// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <string>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// Index of the largest logit, the first of equals. Throws ArgumentError if one is NaN or +inf, or none above -inf.
[[nodiscard]] Index argmax(std::span<const float> logits);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE Index argmax(std::span<const float> logits) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  // Sixteen running maxima without branches: a vocabulary is read at the speed of the cache.
  constexpr std::size_t lanes = 16;
  std::array<float, lanes> best{};
  best.fill(-infinity);
  std::array<int, lanes> bad{};
  std::size_t i = 0;
  for (; i + lanes <= logits.size(); i += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const float x = logits[i + lane];
      best[lane] = x > best[lane] ? x : best[lane];
      bad[lane] |= !(x < infinity);
    }
  for (; i < logits.size(); ++i) {
    best[0] = logits[i] > best[0] ? logits[i] : best[0];
    bad[0] |= !(logits[i] < infinity);
  }
  if (std::any_of(bad.begin(), bad.end(), [](int lane) { return lane != 0; })) {
    const auto at = std::find_if(logits.begin(), logits.end(), [](float x) { return !(x < infinity); });
    throw ArgumentError("logits: [" + std::to_string(at - logits.begin()) + "] is " + std::to_string(*at));
  }
  const float largest = *std::max_element(best.begin(), best.end());
  if (largest == -infinity) throw ArgumentError("logits: none is above -inf");
  return std::find(logits.begin(), logits.end(), largest) - logits.begin();
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
