// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "activation_trace/config.hpp"
#include "activation_trace/model/layer_observer.hpp"

namespace activation_trace {
inline namespace v0 {

/// What one sequence contributes to a call on several: a generated token, an answer to be scored, a prompt.
template <class Space = Host>
struct SequencePiece {
  Index sequence = 0;                              ///< of the model's
  std::span<const TokenId> ids;                    ///< appended to the sequence
  const LayerObserver<Space>* observer = nullptr;  ///< of this sequence's positions, which may be nobody
};

}  // namespace v0
}  // namespace activation_trace
