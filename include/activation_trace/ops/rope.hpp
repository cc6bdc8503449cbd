// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Which two of the R components of a head that are rotated, which are its first ones, one rotation turns.
enum class RopeLayout {
  half_split,   ///< (i, i + R/2): Hugging Face weights
  interleaved,  ///< (2i, 2i + 1): GGUF weights of the llama family, whose q and k rows are permuted to match
};

/// Cosines and sines of position * inverse_frequencies[i] for every position below `max_positions`, times `amplitude`,
/// computed in double, for heads of `head_dim` = D components, of which the first R = 2 inverse_frequencies.size() are
/// rotated; 0: all of them. Throws ArgumentError for a frequency or amplitude that is not finite, a negative number of
/// positions, and heads of fewer components.
template <class Space = Host>
class RopeTable;

/// In the host's memory.
template <>
class RopeTable<Host> {
 public:
  RopeTable() = default;
  /// inverse_frequencies[R / 2], in radians per position.
  RopeTable(std::span<const float> inverse_frequencies, Index max_positions, Index head_dim = 0, float amplitude = 1);

  /// Positions that it knows, from 0 on.
  [[nodiscard]] Index positions() const noexcept { return positions_; }
  /// D.
  [[nodiscard]] Index head_dim() const noexcept { return head_dim_; }
  /// R, twice the frequencies.
  [[nodiscard]] Index rotary_dim() const noexcept { return 2 * pairs_; }
  /// [R / 2] of one position.
  [[nodiscard]] std::span<const float> cosines(Index position) const { return part(position, 0); }
  /// As cosines().
  [[nodiscard]] std::span<const float> sines(Index position) const { return part(position, 1); }

 private:
  [[nodiscard]] std::span<const float> part(Index position, Index which) const {
    return std::span(values_).subspan(static_cast<std::size_t>((2 * position + which) * pairs_),
                                      static_cast<std::size_t>(pairs_));
  }

  Index pairs_ = 0;
  Index positions_ = 0;
  Index head_dim_ = 0;
  std::vector<float> values_;  // per position the cosines, then the sines
};

/// Of the host.
RopeTable(std::span<const float> inverse_frequencies, Index max_positions, Index head_dim = 0, float amplitude = 1)
    ->RopeTable<Host>;

/// Rotates the first R components of every head of x [n, heads * D] in place, row i by position first_position + i.
/// Throws ShapeError if a row is not `heads` heads of the table's size, ArgumentError beyond its positions.
void rope(Execution<Host>& execution, MatrixView<float> x, Index heads, Index first_position,
          const RopeTable<Host>& table, RopeLayout layout);

namespace detail {

/// Throws as rope.
template <class Space>
void check_rope(MatrixView<float, Space> x, Index heads, Index first_position, const RopeTable<Space>& table) {
  check_extent("rope: columns of x", x.extent(1), heads * table.head_dim());
  check_contiguous_rows("rope: x", x);
  if (first_position < 0 || x.extent(0) > table.positions() - first_position)
    throw ArgumentError("rope: positions " + std::to_string(first_position) + " to " +
                        std::to_string(first_position + x.extent(0)) + " lie beyond the table's " +
                        std::to_string(table.positions()));
}

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE RopeTable<Host>::RopeTable(std::span<const float> inverse_frequencies,
                                                            Index max_positions, Index head_dim, float amplitude)
    : pairs_(static_cast<Index>(inverse_frequencies.size())),
      positions_(max_positions),
      head_dim_(head_dim == 0 ? 2 * pairs_ : head_dim) {
  if (max_positions < 0) throw ArgumentError("RopeTable: max_positions must not be negative");
  if (head_dim_ < 2 * pairs_)
    throw ArgumentError("RopeTable: head_dim must be at least twice the frequencies, " + std::to_string(2 * pairs_) +
                        ", got " + std::to_string(head_dim_));
  if (!std::isfinite(amplitude)) throw ArgumentError("RopeTable: amplitude must be finite");
  values_.reserve(static_cast<std::size_t>(2 * pairs_ * positions_));
  for (const float frequency : inverse_frequencies)
    if (!std::isfinite(frequency)) throw ArgumentError("RopeTable: inverse frequencies must be finite");
  const double a = amplitude;
  for (Index position = 0; position < positions_; ++position) {
    for (const float f : inverse_frequencies)
      values_.push_back(static_cast<float>(a * std::cos(static_cast<double>(position) * static_cast<double>(f))));
    for (const float f : inverse_frequencies)
      values_.push_back(static_cast<float>(a * std::sin(static_cast<double>(position) * static_cast<double>(f))));
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void rope(Execution<Host>& execution, MatrixView<float> x, Index heads,
                                           Index first_position, const RopeTable<Host>& table, RopeLayout layout) {
  detail::check_rope(x, heads, first_position, table);
  const Index pairs = table.rotary_dim() / 2;
  // Distance from pair to pair and between the two of a pair.
  const Index step = layout == RopeLayout::half_split ? 1 : 2;
  const Index partner = layout == RopeLayout::half_split ? pairs : 1;
  const auto turn = [&](Index i) {
    const float* cosines = table.cosines(first_position + i).data();
    const float* sines = table.sines(first_position + i).data();
    float* head = x.data() + i * x.stride(0);
    for (Index h = 0; h < heads; ++h, head += table.head_dim()) {
      for (Index p = 0; p < pairs; ++p) {
        float& first = head[p * step];
        float& second = head[p * step + partner];
        const float a = first;
        const float b = second;
        first = a * cosines[p] - b * sines[p];
        second = b * cosines[p] + a * sines[p];
      }
    }
  };
  execution.for_each_rows(x.extent(0), x.extent(1), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) turn(i);
  });
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
