// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// The same view as if it were of the host: for checks of shapes that are written for views of it, and read no element.
template <class T, int Rank>
[[nodiscard]] TensorView<T, Rank> shape_of(const TensorView<T, Rank, Cuda>& view) {
  return {view.data(), view.extents(), view.strides()};
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
