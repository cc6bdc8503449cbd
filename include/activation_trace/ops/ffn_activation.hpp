// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace activation_trace {
inline namespace v0 {

/// What a feed-forward block does to its gate: silu(g) = g / (1 + e^-g), as in SwiGLU, or GELU by its tanh
/// approximation, g / 2 (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3))), as in GeGLU.
enum class FfnActivation { silu, gelu_tanh };

}  // namespace v0
}  // namespace activation_trace
