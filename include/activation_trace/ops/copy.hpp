// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// to <- from, both [n, d] with rows that ascend in memory. They may overlap where `to` begins before `from`: rows are
/// then copied in order. Throws ShapeError.
void copy(Execution<Host>& execution, MatrixView<const float> from, MatrixView<float> to);

/// Appends states[n, d], whose rows are contiguous, to `rows`, which is then [.., d].
inline void append_rows(MatrixView<const float> states, std::vector<float>& rows) {
  for (Index i = 0; i < states.extent(0); ++i) {
    const std::span<const float> row = states.row(i).span();
    rows.insert(rows.end(), row.begin(), row.end());
  }
}

inline void copy(Execution<Host>& execution, MatrixView<const float> from, MatrixView<float> to) {
  const Index rows = from.extent(0);
  detail::check_extent("copy: rows of to", to.extent(0), rows);
  detail::check_extent("copy: columns of to", to.extent(1), from.extent(1));
  detail::check_contiguous_rows("copy: from", from);
  detail::check_contiguous_rows("copy: to", to);
  const auto copy_rows = [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const float* source = from.data() + i * from.stride(0);
      std::copy(source, source + from.extent(1), to.data() + i * to.stride(0));
    }
  };
  if (rows == 0) return;
  const auto end_of = [&](MatrixView<const float> m) { return m.data() + (rows - 1) * m.stride(0) + m.extent(1); };
  const std::less_equal<> before;  // also of pointers into different arrays
  if (before(end_of(to), from.data()) || before(end_of(from), to.data()))
    execution.for_each_rows(rows, from.extent(1), copy_rows);
  else
    copy_rows(0, rows);
}

}  // namespace v0
}  // namespace activation_trace
