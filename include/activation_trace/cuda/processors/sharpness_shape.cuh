// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "activation_trace/processors/repetition_penalty.hpp"
#include "activation_trace/processors/sharpness_options.hpp"
#include "activation_trace/tensor/dtype.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// What the device memory of a processor is made for.
struct SharpnessShape {
  Index vocab = 0;               ///< V
  Index hidden = 0;              ///< d
  Index positions = 0;           ///< room for the longest context, T
  Index sequences = 1;           ///< B
  DType dtype = DType::bf16;     ///< of hidden states, f32, f16 or bf16; the LM head's, or any of f32 states
  float repetition_penalty = 1;  ///< of the tokens that observe_tokens() was given, as in RepetitionPenalty
  /// Tokens of one step and sequence whose rows of the LM head are gathered. When more are new, all V entropies of the
  /// sequence are computed. 1024 are possible only while the best token's probability is below 0.01
  /// (processors/README.md 1.4).
  Index candidates = 1024;
};

namespace detail {

/// Throws what the constructor of EntropySharpnessBatch<Cuda> says.
inline const SharpnessShape& checked(const SharpnessShape& shape, const EntropySharpnessOptions& options) {
  const auto positive = [](const char* name, Index value) {
    if (value < 1 || value > Index{1} << 30)
      throw ArgumentError(std::string(name) + ": expected a number in [1, 2^30], got " + std::to_string(value));
  };
  positive("vocab", shape.vocab);
  positive("hidden", shape.hidden);
  positive("positions", shape.positions);
  positive("candidates", shape.candidates);
  positive("sequences", shape.sequences);
  if (shape.sequences > 65535)  // the y extent of a grid
    throw ArgumentError("sequences: expected at most 65535, got " + std::to_string(shape.sequences));
  if (shape.dtype != DType::f32 && shape.dtype != DType::f16 && shape.dtype != DType::bf16)
    throw ArgumentError("dtype: hidden states on the device are f32, f16 or bf16");
  const RepetitionPenalty checks_penalty(shape.repetition_penalty, 0);
  v0::detail::check_alpha(options.alpha);
  v0::detail::check_context(options.context, options.final_norm);
  const RelativeTopFilter checks_filter(options.filter);
  if (options.final_norm && static_cast<Index>(options.final_norm->weight.size()) != shape.hidden)
    throw ShapeError("final_norm: expected " + std::to_string(shape.hidden) + " weights, got " +
                     std::to_string(options.final_norm->weight.size()));
  return shape;
}

}  // namespace detail
}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
