// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// x <- x + bias, row by row; x [n, d], bias [d]. Throws ShapeError.
void add_bias(Execution<Host>& execution, MatrixView<float> x, VectorView<const float> bias);

inline void add_bias(Execution<Host>& execution, MatrixView<float> x, VectorView<const float> bias) {
  const Index d = x.extent(1);
  detail::check_extent("add_bias: length of bias", bias.size(), d);
  detail::check_contiguous_rows("add_bias: bias", bias);
  detail::check_contiguous_rows("add_bias: x", x);
  execution.for_each_rows(x.extent(0), d, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      float* row = x.data() + i * x.stride(0);
      for (Index c = 0; c < d; ++c) row[c] += bias.data()[c];
    }
  });
}

}  // namespace v0
}  // namespace activation_trace
