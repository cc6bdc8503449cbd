// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// An element that is NaN or an infinity.
struct NotFinite {
  Index at;     ///< its place
  float value;  ///< what it is
};

/// The first of x that is NaN or an infinity, if one is. Runs on the calling thread. Throws ShapeError for gaps in x.
[[nodiscard]] inline std::optional<NotFinite> first_not_finite(const Execution<Host>&, VectorView<const float> x) {
  const std::span<const float> row = x.span();
  if (detail::all_finite(row)) return std::nullopt;
  const auto place = std::ranges::find_if(row, [](float v) { return !std::isfinite(v); });
  return NotFinite{place - row.begin(), *place};
}

}  // namespace v0
}  // namespace activation_trace
