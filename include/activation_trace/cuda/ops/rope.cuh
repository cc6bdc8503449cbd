// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/elements.cuh"
#include "activation_trace/cuda/ops/step_rows.cuh"
#include "activation_trace/ops/rope.hpp"

namespace activation_trace {
inline namespace v0 {

/// In the memory of the device that is current when it is made. The same numbers as the host's.
template <>
class RopeTable<Cuda> {
 public:
  /// As on the host, which computes it. Waits for the device. Throws CudaError, too.
  RopeTable(std::span<const float> inverse_frequencies, Index max_positions, Index head_dim = 0, float amplitude = 1)
      : RopeTable(RopeTable<Host>(inverse_frequencies, max_positions, head_dim, amplitude)) {}

  /// A copy of the host's.
  explicit RopeTable(const RopeTable<Host>& table)
      : positions_(table.positions()),
        head_dim_(table.head_dim()),
        rotary_dim_(table.rotary_dim()),
        values_(positions_ * rotary_dim_) {
    std::vector<float> values;
    values.reserve(static_cast<std::size_t>(values_.size()));
    for (Index position = 0; position < positions_; ++position)
      for (const std::span<const float> part : {table.cosines(position), table.sines(position)})
        values.insert(values.end(), part.begin(), part.end());
    const Execution<Cuda> execution;
    cuda::copy(execution, VectorView<const float>(values), values_.view());
    execution.synchronize();
  }

  /// As on the host.
  [[nodiscard]] Index positions() const noexcept { return positions_; }
  /// As on the host.
  [[nodiscard]] Index head_dim() const noexcept { return head_dim_; }
  /// As on the host.
  [[nodiscard]] Index rotary_dim() const noexcept { return rotary_dim_; }
  /// [positions, R]: the cosines of a position, then its sines.
  [[nodiscard]] MatrixView<const float, Cuda> values() const { return values_.matrix(positions_, rotary_dim_); }

 private:
  Index positions_;
  Index head_dim_;
  Index rotary_dim_;
  Buffer<float, Cuda> values_;
};

namespace cuda::detail {

/// `column` counts the pairs of a row.
struct Rotated {
  ElementRows<float> x;
  const float* table;  ///< from the first row's position on, or from 0 where `at` has it
  const StepRow* at;   ///< the step of one row, or null
  Index head_dim;
  Index pairs;
  Index step;     ///< from pair to pair
  Index partner;  ///< between the two of a pair
  __device__ void operator()(Index row, Index column) const {
    const Index pair = column % pairs;
    const Index place = at == nullptr ? row : at->position;
    const float cosine = table[2 * place * pairs + pair];
    const float sine = table[(2 * place + 1) * pairs + pair];
    float& first = x.at(row, column / pairs * head_dim + pair * step);
    float& second = (&first)[partner];
    const float a = first;
    const float b = second;
    first = a * cosine - b * sine;
    second = b * cosine + a * sine;
  }
};

/// By first_position, or one row by that of `step`.
template <int = 0>
void rotate(Execution<Cuda> execution, MatrixView<float, Cuda> x, Index heads, Index first_position,
            const StepRow* step, const RopeTable<Cuda>& table, RopeLayout layout) {
  activation_trace::detail::check_rope(x, heads, first_position, table);
  const Index pairs = table.rotary_dim() / 2;
  const bool half_split = layout == RopeLayout::half_split;
  each_element(execution, x.extent(0), heads * pairs,
               Rotated{ElementRows<float>(x), table.values().data() + first_position * table.rotary_dim(), step,
                       table.head_dim(), pairs, half_split ? 1 : 2, half_split ? pairs : 1});
}

}  // namespace cuda::detail

/// As on the host.
template <int = 0>
void rope(Execution<Cuda> execution, MatrixView<float, Cuda> x, Index heads, Index first_position,
          const RopeTable<Cuda>& table, RopeLayout layout) {
  cuda::detail::rotate(execution, x, heads, first_position, nullptr, table, layout);
}

}  // namespace v0
}  // namespace activation_trace
