// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "activation_trace/error.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Throws ShapeError unless `found == expected`. `what` reads like "matmul: columns of x".
inline void check_extent(const char* what, Index found, Index expected) {
  if (found != expected)
    throw ShapeError(std::string(what) + ": expected " + std::to_string(expected) + ", got " + std::to_string(found));
}

/// Throws ShapeError unless the last dimension is contiguous: kernels load whole vectors of it.
template <class T, int Rank>
void check_contiguous_rows(const char* what, const TensorView<T, Rank>& view) {
  if (view.extent(Rank - 1) > 1 && view.stride(Rank - 1) != 1)
    throw ShapeError(std::string(what) + ": elements of a row must be contiguous, got stride " +
                     std::to_string(view.stride(Rank - 1)));
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
