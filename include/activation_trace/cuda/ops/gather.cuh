// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <string>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/step_rows.cuh"
#include "activation_trace/cuda/ops/stored_octets.cuh"
#include "activation_trace/ops/check.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// Rows that a launch gathers. They travel with it: nothing of the host's memory is read later.
struct GatheredIds {
  static constexpr int most = 512;
  const StepRow* step;  ///< whose token counts; null: `id`
  TokenId id[most];

  [[nodiscard]] __device__ TokenId at(unsigned i) const { return step == nullptr ? id[i] : step[i].token; }
};

/// A block per row, a thread per octet.
template <class T>
__global__ void __launch_bounds__(128)
    gather_kernel(StoredRows w, const __grid_constant__ GatheredIds ids, float* out, Index out_stride) {
  ptx::wait_for_previous();
  const TokenId id = ids.at(blockIdx.x);
  float* const row = out + blockIdx.x * out_stride;
  for (int octet = static_cast<int>(threadIdx.x); octet < w.octets(); octet += static_cast<int>(blockDim.x)) {
    float y[8];
    widen_octet<T>(w, id, octet, y);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (8 * octet + i < w.cols) row[8 * octet + i] = y[i];
  }
}

/// Rows [0, count) of `ids`, which exist.
template <int = 0>
void launch_gather(Execution<Cuda> execution, const StoredMatrix<Cuda>& w, const GatheredIds& ids, Index count,
                   float* out, Index out_stride) {
  visit_dtype(w.dtype(), [&]<class T>(std::type_identity<T>) {
    launch_dependent(execution, "gather_kernel", {blocks(count), 128}, gather_kernel<T>, StoredRows(w), ids, out,
                     out_stride);
  });
}

/// out [1, d] becomes the row of w of the step's token, which exists.
template <int = 0>
void gather_step(Execution<Cuda> execution, const StoredMatrix<Cuda>& w, const StepRow* step,
                 MatrixView<float, Cuda> out) {
  check_stored("gather: w", w);
  launch_gather(execution, w, {step, {}}, 1, out.data(), out.stride(0));
}

}  // namespace cuda::detail

/// As gather on the host, which the bits are those of: row i of out [n, d] becomes row ids[i] of w [m, d], in any
/// stored form. `ids` are read before it returns. Runs in the order of `execution`, does not synchronise, can be
/// recorded. Throws ShapeError, also for an id that w has no row for. A template only so that it is compiled where it
/// is called.
template <int = 0>
void gather(Execution<Cuda> execution, const StoredMatrix<Cuda>& w, std::span<const TokenId> ids,
            MatrixView<float, Cuda> out) {
  using namespace cuda::detail;
  activation_trace::detail::check_extent("gather: rows of out", out.extent(0), static_cast<Index>(ids.size()));
  activation_trace::detail::check_extent("gather: columns of out", out.extent(1), w.cols());
  activation_trace::detail::check_contiguous_rows("gather: out", out);
  check_stored("gather: w", w);
  for (const TokenId id : ids)
    if (id < 0 || id >= w.rows())
      throw ShapeError("StoredMatrix: no row " + std::to_string(id) + " of " + std::to_string(w.rows()));
  if (out.empty()) return;
  for (std::size_t first = 0; first < ids.size(); first += GatheredIds::most) {
    const std::span<const TokenId> part =
        ids.subspan(first, std::min<std::size_t>(GatheredIds::most, ids.size() - first));
    GatheredIds some{};
    std::ranges::copy(part, some.id);
    launch_gather(execution, w, some, static_cast<Index>(part.size()),
                  out.data() + static_cast<Index>(first) * out.stride(0), out.stride(0));
  }
}

}  // namespace v0
}  // namespace activation_trace
