// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// The index 0..N of a hidden state of a model of `blocks` = N decoder blocks: h_0 is the embedding, h_k the
/// residual stream after k blocks, not normalised, h_N the final RMSNorm's output. Negative indices count from
/// the end, -1 is h_N (model/README.md 1). Throws ArgumentError naming a layer that does not exist.
[[nodiscard]] inline Index resolve_layer(Index layer, Index blocks) {
  const Index resolved = layer < 0 ? layer + blocks + 1 : layer;
  if (resolved < 0 || resolved > blocks)
    throw ArgumentError("layer " + std::to_string(layer) + " does not exist: a model of " + std::to_string(blocks) +
                        " blocks has the hidden states " + std::to_string(-blocks - 1) + ".." + std::to_string(blocks));
  return resolved;
}

/// Is shown hidden states while a forward pass computes them.
template <class Space = Host>
struct LayerObserver {
  /// Hidden states wanted, as for resolve_layer; an index given twice is shown once.
  std::vector<Index> layers;
  /// Called for each wanted layer, in ascending order, for each run of positions that the model handles at
  /// once, in ascending order: layer in 0..N, position of the first row, and states as [n, d], to be copied or
  /// used before returning. What it throws leaves the forward pass, which then has changed no position.
  std::function<void(Index layer, Index first_position, MatrixView<const float, Space> states)> on_states;
  /// Positions wanted: [begin, end) of the sequence.
  Index begin = 0;
  Index end = std::numeric_limits<Index>::max();  ///< behind the last one wanted
};

}  // namespace v0
}  // namespace activation_trace
