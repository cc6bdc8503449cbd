// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string>

#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// x <- cap tanh(x / cap), element by element: |x| stays below cap, small x stay what they are. NaN stays NaN. Runs on
/// the calling thread. Throws ArgumentError unless cap is positive and finite.
void soft_cap(std::span<float> x, float cap);

inline void soft_cap(std::span<float> x, float cap) {
  if (!(cap > 0) || std::isinf(cap))
    throw ArgumentError("soft_cap: cap must be positive and finite, got " + std::to_string(cap));
  for (float& v : x) v = cap * std::tanh(v / cap);
}

}  // namespace v0
}  // namespace activation_trace
