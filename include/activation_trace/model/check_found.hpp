// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "activation_trace/error.hpp"
#include "activation_trace/model/config.hpp"
#include "activation_trace/ops/first_not_finite.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Throws Error naming the model and the place if something was found; layer -1 is that of logits.
void check_found(const LlamaConfig& config, const std::optional<FoundNotFinite>& found);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void check_found(const LlamaConfig& config,
                                                  const std::optional<FoundNotFinite>& found) {
  if (!found) return;
  throw Error((config.source.empty() ? "Llama" : config.source) + ": " +
              (found->layer < 0
                   ? "the logit of token " + std::to_string(found->what.at)
                   : "h_" + std::to_string(found->layer) + " at position " + std::to_string(found->position)) +
              " is " + std::to_string(found->what.value) + ": the model's weights are damaged, or too large for float");
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
