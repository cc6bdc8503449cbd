// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// x <- factor x; x [n, d], elements of a row contiguous. Throws ShapeError.
void scale(Execution<Host>& execution, MatrixView<float> x, float factor);

inline void scale(Execution<Host>& execution, MatrixView<float> x, float factor) {
  detail::check_contiguous_rows("scale: x", x);
  execution.for_each_rows(x.extent(0), x.extent(1), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      float* row = x.data() + i * x.stride(0);
      for (Index c = 0; c < x.extent(1); ++c) row[c] *= factor;
    }
  });
}

}  // namespace v0
}  // namespace activation_trace
