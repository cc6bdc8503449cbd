// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <type_traits>

#include "activation_trace/tensor/space.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// A thrust::device_vector, or another of Thrust's vectors whose pointers have a space.
template <class V>
concept ThrustVector = requires(V& vector) {
  *vector.data().get();
  vector.size();
};

/// All elements of a thrust::device_vector, for the CUDA ops and processors. The memory is the vector's: the view is
/// good until that grows or goes. Host code may call it, and Thrust's headers are the caller's to include.
template <ThrustVector V>
[[nodiscard]] auto as_view(V& vector) {
  using T = std::remove_reference_t<decltype(*vector.data().get())>;
  return VectorView<T, Cuda>(vector.data().get(), {static_cast<Index>(vector.size())});
}

/// The same as [rows, cols], row-major. Throws ShapeError unless it holds exactly rows * cols elements.
template <ThrustVector V>
[[nodiscard]] auto as_matrix(V& vector, Index rows, Index cols) {
  const auto all = as_view(vector);
  const MatrixView<typename decltype(all)::element_type, Cuda> view(all.data(), {rows, cols});
  if (view.size() != all.size())
    throw ShapeError("as_matrix: expected " + std::to_string(rows) + " x " + std::to_string(cols) + " elements, got " +
                     std::to_string(all.size()));
  return view;
}

}  // namespace v0
}  // namespace activation_trace
