// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/isa.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"

namespace activation_trace {
inline namespace v0 {

/// y = gelu(gate) * up element by element, gelu(g) = g / 2 (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3))), the
/// approximation by tanh: GeGLU's activation. Any of the three may be the same memory. Runs on the calling thread.
/// Throws ShapeError for unequal lengths.
void gelu_tanh_multiply(std::span<const float> gate, std::span<const float> up, std::span<float> y,
                        Isa isa = best_isa());

inline void gelu_tanh_multiply(std::span<const float> gate, std::span<const float> up, std::span<float> y, Isa isa) {
  const auto n = static_cast<Index>(gate.size());
  detail::check_extent("gelu_tanh_multiply: length of up", static_cast<Index>(up.size()), n);
  detail::check_extent("gelu_tanh_multiply: length of y", static_cast<Index>(y.size()), n);
  detail::kernels(isa).gelu_tanh_multiply(gate.data(), up.data(), n, y.data());
}

}  // namespace v0
}  // namespace activation_trace
