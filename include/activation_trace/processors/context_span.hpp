// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// The positions [begin, end) of the context that count, from its first observed one. The published method takes the
/// whole prompt, BOS included.
struct ContextSpan {
  Index begin = 0;                                ///< first position that counts
  Index end = std::numeric_limits<Index>::max();  ///< behind the last one; may lie beyond the context

  /// All but the first position.
  static constexpr ContextSpan without_bos() { return {.begin = 1}; }
  friend bool operator==(const ContextSpan&, const ContextSpan&) = default;
};

/// The RMSNorm in front of the LM head: weight[d] and epsilon.
struct FinalNorm {
  std::vector<float> weight;  ///< [d], the factors behind the normalisation
  float eps = 1e-5f;          ///< added to the mean square, > 0

  friend bool operator==(const FinalNorm&, const FinalNorm&) = default;
};

namespace detail {

/// What states of `layer`, 0..`blocks`, are normalised by: `norm`, but not those of the last, which have passed it.
[[nodiscard]] inline std::optional<FinalNorm> norm_at(Index layer, Index blocks, std::optional<FinalNorm> norm) {
  return layer == blocks ? std::nullopt : std::move(norm);
}

/// Throws ArgumentError for a negative or inverted span, or a norm with a weight or epsilon that is not positive.
void check_context(const ContextSpan& span, const std::optional<FinalNorm>& norm);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void check_context(const ContextSpan& span, const std::optional<FinalNorm>& norm) {
  if (span.begin < 0 || span.end < span.begin)
    throw ArgumentError("context span: [" + std::to_string(span.begin) + ", " + std::to_string(span.end) +
                        ") is not a range of positions");
  if (norm && (norm->weight.empty() || !(norm->eps > 0)))
    throw ArgumentError("final_norm: expected a weight per hidden component and a positive eps, got " +
                        std::to_string(norm->weight.size()) + " weights and eps " + std::to_string(norm->eps));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
