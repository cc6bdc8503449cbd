// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// x <- x + bias, row by row; x [n, d], bias [d]. Runs on the calling thread. Throws ShapeError.
void add_bias(MatrixView<float> x, std::span<const float> bias);

inline void add_bias(MatrixView<float> x, std::span<const float> bias) {
  const Index d = x.extent(1);
  detail::check_extent("add_bias: length of bias", static_cast<Index>(bias.size()), d);
  detail::check_contiguous_rows("add_bias: x", x);
  for (Index i = 0; i < x.extent(0); ++i) {
    float* row = x.data() + i * x.stride(0);
    for (Index c = 0; c < d; ++c) row[c] += bias[static_cast<std::size_t>(c)];
  }
}

}  // namespace v0
}  // namespace activation_trace
