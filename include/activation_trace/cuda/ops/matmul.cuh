// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "activation_trace/cuda/ops/multiply_blocks.cuh"
#include "activation_trace/cuda/ops/multiply_direct.cuh"
#include "activation_trace/cuda/ops/multiply_halves.cuh"
#include "activation_trace/cuda/ops/multiply_rows.cuh"
#include "activation_trace/cuda/ops/multiply_tiles.cuh"
#include "activation_trace/ops/arithmetic.hpp"
#include "activation_trace/ops/matmul.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// Rows of x, whose distance is of no meaning where there is one.
inline StoredRows rows_of(const MatrixView<const float, Cuda>& x) { return StoredRows(StoredMatrix<Cuda>(x)); }

/// Calls multiply(type, products, x) for the targets, as many of one type as go into a launch.
template <class Multiply>
void for_each_launch(const MatrixView<const float, Cuda>& x, std::span<const MatmulTarget<Cuda>> targets,
                     const Multiply& multiply) {
  activation_trace::detail::check_matmul(x, targets);
  for (const MatmulTarget<Cuda>& target : targets) check_stored("matmul: w", target.w);
  if (x.extent(0) == 0) return;
  for (std::size_t i = 0; i < targets.size();) {
    const DType dtype = targets[i].w.dtype();
    Products products;
    for (; i < targets.size() && targets[i].w.dtype() == dtype && products.count < Products::most; ++i)
      if (const auto& [w, y] = targets[i]; w.rows() > 0)
        products.product[products.count++] = {StoredRows(w), y.data(), y.stride(0)};
    if (products.count > 0) visit_dtype(dtype, [&](auto type) { multiply(type, products, rows_of(x)); });
  }
}

/// Every row of x for itself.
template <class T>
void multiply_each(Execution<Cuda> execution, const Products& products, const StoredRows& x) {
  if constexpr (sizeof(T) == 2)
    if (has_multiply_direct<T, float>(execution)) return multiply_direct<T, float>(execution, products, x);
  if constexpr (QuantizedBlock<T>)
    if (has_multiply_blocks<T>(execution)) return multiply_blocks<T>(execution, products, x);
  multiply_rows<T>(execution, products, x);
}

/// `few_rows` and more of them, in tiles; false where the device has no tensor cores for them, or weights of 16 bits
/// lie where nothing is copied from.
template <class T>
bool multiply_many(Execution<Cuda> execution, const Products& products, const StoredRows& x, Arithmetic arithmetic) {
  if constexpr (sizeof(T) == 2) {
    constexpr int terms = exact_terms<T>;
    bool wide = has_multiply_halves<T, terms>(execution);
    for (int i = 0; i < products.count; ++i) wide = wide && products.product[i].w.wide;
    if (!wide) return false;
    arithmetic == Arithmetic::fast ? multiply_halves<T, 1>(execution, products, x)
                                   : multiply_halves<T, terms>(execution, products, x);
    return true;
  } else {
    if (!has_multiply_tiles<T>(execution)) return false;
    if constexpr (QuantizedBlock<T>) {
      if (arithmetic == Arithmetic::fast) {
        multiply_halves<T, 1>(execution, products, x);
        return true;
      }
    }
    multiply_tiles<T>(execution, products, x);
    return true;
  }
}

}  // namespace cuda::detail

// These are templates only so that their kernels, of all types of weights, are compiled where somebody calls them.

/// As matmul_by_row on the host: every row of y is, bit for bit, what matmul gives for that row of x alone, however
/// many there are. Few rows are what it takes to read w, and are exact by any arithmetic.
template <int = 0>
void matmul_by_row(Execution<Cuda> execution, MatrixView<const float, Cuda> x,
                   std::span<const MatmulTarget<Cuda>> targets, Arithmetic = Arithmetic::exact) {
  using namespace cuda::detail;
  for_each_launch(x, targets, [&]<class T>(std::type_identity<T>, const Products& products, const StoredRows& rows) {
    multiply_each<T>(execution, products, rows);
  });
}

/// y_i = x w_i^T for every target. x [n, d] and y_i [n, m_i] are float, w_i [m_i, d] in any stored form, laid out as
/// DeviceWeights and DeviceMatrix do it; y must not overlap x. Weights are widened exactly, and the error is that of
/// sums in float (cuda/README.md 6). Runs in the order of `execution`, does not synchronise, can be recorded once it
/// was run, for it takes scratch memory. The same bits every time, and for a row of x whatever other rows there are, if
/// there are `few_rows` or more, or fewer. Throws ShapeError.
///
/// By Arithmetic::fast, `few_rows` and more rows are rounded to f16 or, for bf16 weights, bf16 before they are
/// multiplied, and quantised weights to f16; f32 ones are multiplied exactly. An element of y is off by 2^-12 of sum
/// |x| max |w| by each f16 factor that was rounded, by 2^-9 by a bf16 one. f16 loses nothing to its range in x: 32
/// neighbouring elements are scaled by their largest.
template <int = 0>
void matmul(Execution<Cuda> execution, MatrixView<const float, Cuda> x, std::span<const MatmulTarget<Cuda>> targets,
            Arithmetic arithmetic = Arithmetic::exact) {
  using namespace cuda::detail;
  for_each_launch(x, targets, [&]<class T>(std::type_identity<T>, const Products& products, const StoredRows& rows) {
    if (rows.rows < few_rows || !multiply_many<T>(execution, products, rows, arithmetic))
      multiply_each<T>(execution, products, rows);
  });
}

/// One product.
template <int = 0>
void matmul(Execution<Cuda> execution, MatrixView<const float, Cuda> x, const StoredMatrix<Cuda>& w,
            MatrixView<float, Cuda> y) {
  const MatmulTarget<Cuda> target{w, y};
  matmul(execution, x, std::span(&target, 1));
}

}  // namespace v0
}  // namespace activation_trace
