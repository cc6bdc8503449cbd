// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/isa.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"

namespace activation_trace {
inline namespace v0 {

/// y = silu(gate) * up element by element, silu(g) = g / (1 + e^-g): SwiGLU's activation.
/// Any of the three may be the same memory. Runs on the calling thread. Throws ShapeError for unequal lengths.
void silu_multiply(std::span<const float> gate, std::span<const float> up, std::span<float> y, Isa isa = best_isa());

inline void silu_multiply(std::span<const float> gate, std::span<const float> up, std::span<float> y, Isa isa) {
  detail::check_extent("silu_multiply: length of up", static_cast<Index>(up.size()), static_cast<Index>(gate.size()));
  detail::check_extent("silu_multiply: length of y", static_cast<Index>(y.size()), static_cast<Index>(gate.size()));
  detail::kernels(isa).silu_multiply(gate.data(), up.data(), static_cast<Index>(gate.size()), y.data());
}

}  // namespace v0
}  // namespace activation_trace
