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

namespace detail {

/// A row of states, and its position, which is for the one who looks.
struct WatchedRow {
  Index row;
  Index position;
};
/// Where something is not finite.
struct FoundNotFinite {
  Index layer;
  Index position;
  NotFinite what;
};

/// Looks for what is not finite in rows that are computed one after another. This one looks at once, by
/// first_not_finite(). Of a space where that would wait for what computes, another looks in the order of the work, and
/// says only at the end.
template <class Space>
class FiniteWatch {
 public:
  /// From here on.
  void begin(Execution<Space>&) {}
  /// The first of these rows of h_`layer` that is not finite, if that is known now.
  [[nodiscard]] std::optional<FoundNotFinite> look(Execution<Space>& execution, MatrixView<const float, Space> states,
                                                   std::span<const WatchedRow> rows, Index layer) {
    for (const WatchedRow& r : rows)
      if (const std::optional<NotFinite> what = first_not_finite(execution, states.row(r.row)))
        return FoundNotFinite{layer, r.position, *what};
    return std::nullopt;
  }
  /// The first since begin(), if there was one that look() did not give.
  [[nodiscard]] std::optional<FoundNotFinite> end(Execution<Space>&) { return std::nullopt; }
  /// Whether nothing was found since a recorded begin(), where the space records work.
  [[nodiscard]] bool all_finite(Execution<Space>&) { return true; }
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
