// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// What attention may do beside the softmax of q k^T / sqrt(D) over all earlier positions.
struct AttentionOptions {
  std::optional<float> scale = {};     ///< of q k^T, > 0; 1 / sqrt(D) unless given
  std::optional<float> soft_cap = {};  ///< scaled scores s become cap tanh(s / cap), > 0; none unless given
  Index window = 0;                    ///< positions that a query sees, its own included; 0: all
};

/// How attention of many queries cuts its work, in positive numbers, as MatmulTuning; no result depends on it.
struct AttentionTuning {
  Index query_tile = 96;     ///< queries that share a packed copy of their keys and values
  Index query_subtile = 24;  ///< of them, those whose scores are held at once
};

}  // namespace v0
}  // namespace activation_trace
