// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <type_traits>

#include "activation_trace/cuda/ops/matmul.cuh"
#include "activation_trace/ops/check.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// logits[C, V] = states[C, d] w[V, d]^T: what C layers, or C sequences, say of every token. w is read from memory
/// once. It is matmul_by_row, also for states of 16 bits: a row's bits are what it gets alone.
///
/// w is f32, f16 or bf16; states are f32, whose logits have the error of fp32 sums, or of w's type, which are
/// multiplied exactly too and need a device and code for sm_80. Columns contiguous; rows of 16-byte multiples are fast.
/// Runs in the order of `execution`, does not synchronise, allocates nothing. The same bits every time. Arguments must
/// not alias. Throws ShapeError, ArgumentError without code for the device.
template <class S, class T>
void lm_head_logits(Execution<Cuda> execution, MatrixView<S, Cuda> states, MatrixView<T, Cuda> w,
                    MatrixView<float, Cuda> logits) {
  using namespace detail;
  using activation_trace::detail::check_contiguous_rows;
  using activation_trace::detail::check_extent;
  using State = std::remove_const_t<S>;
  using Weight = std::remove_const_t<T>;
  static_assert(std::is_same_v<State, float> || std::is_same_v<State, Weight>, "states are f32 or of w's type");
  check_contiguous_rows("lm_head_logits: states", states);
  check_contiguous_rows("lm_head_logits: w", w);
  check_contiguous_rows("lm_head_logits: logits", logits);
  check_extent("lm_head_logits: columns of w", w.extent(1), states.extent(1));
  check_extent("lm_head_logits: rows of logits", logits.extent(0), states.extent(0));
  check_extent("lm_head_logits: columns of logits", logits.extent(1), w.extent(0));
  if (logits.empty()) return;
  const MatmulTarget<Cuda> target{StoredMatrix<Cuda>(w), logits};
  if constexpr (std::is_same_v<State, float>) {
    matmul_by_row(execution, states, std::span(&target, 1));
  } else {
    const StoredMatrix<Cuda> rows(states);
    check_stored("lm_head_logits: states", rows);
    check_stored("lm_head_logits: w", target.w);
    if (!has_multiply_direct<Weight, State>(execution))
      throw ArgumentError("lm_head_logits: states of 16 bits need a device and code for sm_80");
    Products products;
    products.product[products.count++] = {StoredRows(target.w), logits.data(), logits.stride(0)};
    multiply_direct<Weight, State>(execution, products, StoredRows(rows));
  }
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
