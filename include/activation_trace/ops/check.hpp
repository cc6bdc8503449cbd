// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "activation_trace/config.hpp"
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
template <class T, int Rank, class Space>
void check_contiguous_rows(const char* what, const TensorView<T, Rank, Space>& view) {
  if (view.extent(Rank - 1) > 1 && view.stride(Rank - 1) != 1)
    throw ShapeError(std::string(what) + ": elements of a row must be contiguous, got stride " +
                     std::to_string(view.stride(Rank - 1)));
}

/// Whether no number is NaN or an infinity: eight at a time and without branches, for rows of V.
[[nodiscard]] bool all_finite(std::span<const float> row) noexcept;

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE bool all_finite(std::span<const float> row) noexcept {
  std::array<std::uint32_t, 8> seen{};
  const auto look = [&](std::size_t i, std::size_t lane) {
    seen[lane] |= (std::bit_cast<std::uint32_t>(row[i]) & 0x7f800000u) + 0x00800000u;  // all ones carry into the sign
  };
  std::size_t i = 0;
  for (; i + seen.size() <= row.size(); i += seen.size())
    for (std::size_t lane = 0; lane < seen.size(); ++lane) look(i + lane, lane);
  for (; i < row.size(); ++i) look(i, 0);
  return std::none_of(seen.begin(), seen.end(), [](std::uint32_t x) { return x >> 31 != 0; });
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
