// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "activation_trace/config.hpp"
#include "activation_trace/cuda/launch.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// A row of a decode step, in the memory of the device: what a kernel that was recorded once does its work for.
struct StepRow {
  TokenId token;
  int position;  ///< of the token
};

/// The rows of one step, as they travel with a launch.
struct StepRows {
  static constexpr Index most = 64;
  StepRow row[most];
};

template <int threads>
__global__ void __launch_bounds__(threads)
    set_step_rows_kernel(const __grid_constant__ StepRows rows, StepRow* target) {
  target[threadIdx.x] = rows.row[threadIdx.x];
}

/// Enqueues that all of `target` become `rows`.
template <int = 0>
void set_step_rows(Execution<Cuda> execution, const StepRows& rows, StepRow* target) {
  constexpr int threads = static_cast<int>(StepRows::most);
  launch(execution, "set_step_rows_kernel", {blocks(1), threads}, set_step_rows_kernel<threads>, rows, target);
}

/// Which rows the rows of a step are.
struct StepOrder {
  int row[StepRows::most];
};

template <int threads>
__global__ void __launch_bounds__(threads)
    order_step_rows_kernel(const StepRow* rows, const __grid_constant__ StepOrder order, int count, StepRow* target) {
  if (static_cast<int>(threadIdx.x) < count) target[threadIdx.x] = rows[order.row[threadIdx.x]];
}

/// Enqueues that row i of `target` becomes row order[i] of `rows`, which are others; at most StepRows::most.
template <int = 0>
void order_step_rows(Execution<Cuda> execution, const StepRow* rows, std::span<const Index> order, StepRow* target) {
  constexpr int threads = static_cast<int>(StepRows::most);
  StepOrder places{};
  for (std::size_t i = 0; i < order.size(); ++i) places.row[i] = static_cast<int>(order[i]);
  launch(execution, "order_step_rows_kernel", {blocks(1), threads}, order_step_rows_kernel<threads>, rows, places,
         static_cast<int>(order.size()), target);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
