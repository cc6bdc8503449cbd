// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/scale.hpp"
#include "activation_trace/ops/soft_cap.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// What an engine makes of products x = W h with the LM head before it calls them logits: cap tanh(scale x / cap).
struct LogitOptions {
  float scale = 1;                     ///< of the products
  std::optional<float> soft_cap = {};  ///< as in soft_cap(); none unless given

  /// Whether both make the same of the same.
  friend bool operator==(const LogitOptions&, const LogitOptions&) = default;
};

/// Products [n, V] become logits, in place. Throws as scale and soft_cap.
template <class Space>
void finish_logits(Execution<Space>& execution, MatrixView<float, Space> logits, const LogitOptions& options) {
  if (options.scale != 1) scale(execution, logits, options.scale);
  if (options.soft_cap) soft_cap(execution, logits, *options.soft_cap);
}

namespace detail {

/// The same of some of them.
inline void finish_logits(std::span<float> logits, const LogitOptions& options) {
  if (options.scale != 1)
    for (float& x : logits) x *= options.scale;
  if (options.soft_cap) soft_cap(logits, *options.soft_cap);
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
