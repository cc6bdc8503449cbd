// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Appends states[n, d], whose rows are contiguous, to `rows`, which is then [.., d].
inline void append_rows(MatrixView<const float> states, std::vector<float>& rows) {
  for (Index i = 0; i < states.extent(0); ++i) {
    const std::span<const float> row = states.row(i).span();
    rows.insert(rows.end(), row.begin(), row.end());
  }
}

}  // namespace v0
}  // namespace activation_trace
