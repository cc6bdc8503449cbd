// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>

#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {
// Eigen spells constness on the mapped type.
template <class T, class Plain>
using EigenMapped = std::conditional_t<std::is_const_v<T>, const Plain, Plain>;
}  // namespace detail

/// What Eigen calls a VectorView: any stride, no assumption about alignment.
template <class T>
using EigenVectorMap = Eigen::Map<detail::EigenMapped<T, Eigen::Vector<std::remove_cv_t<T>, Eigen::Dynamic>>,
                                  Eigen::Unaligned, Eigen::InnerStride<>>;
/// What Eigen calls a MatrixView: any strides, no assumption about alignment.
template <class T>
using EigenMatrixMap = Eigen::Map<
    detail::EigenMapped<T, Eigen::Matrix<std::remove_cv_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>,
    Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

/// The same memory as an Eigen vector. Host views only: another space does not compile.
template <class T>
[[nodiscard]] EigenVectorMap<T> as_eigen(VectorView<T, Host> view) {
  return {view.data(), view.extent(0), Eigen::InnerStride<>(view.stride(0))};
}

/// The same memory as an Eigen matrix, whatever its strides.
template <class T>
[[nodiscard]] EigenMatrixMap<T> as_eigen(MatrixView<T, Host> view) {
  return {view.data(), view.extent(0), view.extent(1),
          Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(view.stride(0), view.stride(1))};
}

/// An Eigen vector or row-major or column-major matrix (or a Map or Block of one) as a view; strides follow it.
template <class Derived>
[[nodiscard]] auto as_view(const Eigen::DenseBase<Derived>& matrix) {
  using T = const typename Derived::Scalar;
  if constexpr (Derived::IsVectorAtCompileTime) {
    return VectorView<T>(matrix.derived().data(), {matrix.size()}, {matrix.derived().innerStride()});
  } else {
    return MatrixView<T>(matrix.derived().data(), {matrix.rows(), matrix.cols()},
                         {matrix.derived().rowStride(), matrix.derived().colStride()});
  }
}

}  // namespace v0
}  // namespace activation_trace
