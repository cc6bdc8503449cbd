// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string>

#include "activation_trace/error.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// x <- cap tanh(x / cap), element by element: |x| stays below cap, small x stay what they are. NaN stays NaN. x [n,
/// d]. Throws ArgumentError unless cap is positive and finite, and ShapeError.
void soft_cap(Execution<Host>& execution, MatrixView<float> x, float cap);

namespace detail {

inline void soft_cap(std::span<float> x, float cap) {
  for (float& v : x) v = cap * std::tanh(v / cap);
}

}  // namespace detail

inline void soft_cap(Execution<Host>& execution, MatrixView<float> x, float cap) {
  if (!(cap > 0) || std::isinf(cap))
    throw ArgumentError("soft_cap: cap must be positive and finite, got " + std::to_string(cap));
  detail::check_contiguous_rows("soft_cap: x", x);
  execution.for_each_rows(x.extent(0), x.extent(1), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) detail::soft_cap(x.row(i).span(), cap);
  });
}

}  // namespace v0
}  // namespace activation_trace
