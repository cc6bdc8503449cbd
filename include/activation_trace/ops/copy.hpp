// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// to <- from, both [n, d] with rows that ascend in memory. They may overlap where `to` begins before `from`: rows are
/// then copied in order. Throws ShapeError.
void copy(Execution<Host>& execution, MatrixView<const float> from, MatrixView<float> to);
/// The same, rounded to the nearest; what is beyond 65504 becomes infinity.
void copy(Execution<Host>& execution, MatrixView<const float> from, MatrixView<Half> to);
/// The same of halves.
void copy(Execution<Host>& execution, MatrixView<const Half> from, MatrixView<Half> to);

/// Appends states[n, d], whose rows are contiguous, to `rows`, which is then [.., d].
inline void append_rows(MatrixView<const float> states, std::vector<float>& rows) {
  for (Index i = 0; i < states.extent(0); ++i) {
    const std::span<const float> row = states.row(i).span();
    rows.insert(rows.end(), row.begin(), row.end());
  }
}

namespace detail {

template <class From, class To>
void copy_matrix(Execution<Host>& execution, MatrixView<const From> from, MatrixView<To> to) {
  const Index rows = from.extent(0);
  check_extent("copy: rows of to", to.extent(0), rows);
  check_extent("copy: columns of to", to.extent(1), from.extent(1));
  check_contiguous_rows("copy: from", from);
  check_contiguous_rows("copy: to", to);
  const auto copy_rows = [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const From* source = from.data() + i * from.stride(0);
      To* target = to.data() + i * to.stride(0);
      for (Index c = 0; c < from.extent(1); ++c) target[c] = static_cast<To>(source[c]);
    }
  };
  if (rows == 0) return;
  const auto end_of = [&](const auto& m) -> const void* { return m.data() + (rows - 1) * m.stride(0) + m.extent(1); };
  const std::less_equal<> before;  // also of pointers into different arrays
  if (before(end_of(to), static_cast<const void*>(from.data())) ||
      before(end_of(from), static_cast<const void*>(to.data())))
    execution.for_each_rows(rows, from.extent(1), copy_rows);
  else
    copy_rows(0, rows);
}

}  // namespace detail

inline void copy(Execution<Host>& execution, MatrixView<const float> from, MatrixView<float> to) {
  detail::copy_matrix(execution, from, to);
}
inline void copy(Execution<Host>& execution, MatrixView<const float> from, MatrixView<Half> to) {
  detail::copy_matrix(execution, from, to);
}
inline void copy(Execution<Host>& execution, MatrixView<const Half> from, MatrixView<Half> to) {
  detail::copy_matrix(execution, from, to);
}

}  // namespace v0
}  // namespace activation_trace
