// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/ops/check.hpp"

namespace activation_trace {
inline namespace v0 {

/// What one sequence contributes to a call on several: a generated token, an answer to be scored, a prompt.
template <class Space = Host>
struct SequencePiece {
  Index sequence = 0;                              ///< of the model's
  std::span<const TokenId> ids;                    ///< appended to the sequence
  const LayerObserver<Space>* observer = nullptr;  ///< of this sequence's positions, which may be nobody
};

namespace detail {

/// What a model can take of pieces; `model` is its name in messages.
struct PieceLimits {
  std::string_view model;
  Index sequences;
  Index max_context;  ///< positions of a sequence
  Index vocab;
  Index layers;
};

/// `sequence` as an index. Throws ArgumentError unless there are more than that many.
inline std::size_t check_sequence(std::string_view model, Index sequence, Index sequences) {
  if (sequence < 0 || sequence >= sequences)
    throw ArgumentError(std::string(model) + ": sequence " + std::to_string(sequence) + " does not exist, there are " +
                        std::to_string(sequences));
  return static_cast<std::size_t>(sequence);
}

/// Throws ArgumentError for no pieces, none of a piece's ids, a sequence that does not exist or occurs twice, a token
/// outside the vocabulary and an observer of what does not exist, and StateError where a sequence, which holds
/// position_of(sequence) tokens, has no room.
template <class Space, class PositionOf>
void check_pieces(std::span<const SequencePiece<Space>> pieces, const PieceLimits& limits,
                  const PositionOf& position_of) {
  const std::string model = std::string(limits.model) + ": ";
  if (pieces.empty()) throw ArgumentError(model + "pieces must not be empty");
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    const auto& [sequence, ids, observer] = pieces[p];
    const auto name = [&] { return model + (pieces.size() == 1 ? "ids" : "pieces[" + std::to_string(p) + "].ids"); };
    static_cast<void>(check_sequence(limits.model, sequence, limits.sequences));
    for (std::size_t other = 0; other < p; ++other)
      if (pieces[other].sequence == sequence)
        throw ArgumentError(model + "sequence " + std::to_string(sequence) + " occurs in pieces[" +
                            std::to_string(other) + "] and pieces[" + std::to_string(p) + "]");
    if (ids.empty()) throw ArgumentError(name() + " must not be empty");
    const auto count = static_cast<Index>(ids.size());
    const Index position = position_of(sequence);
    if (count > limits.max_context - position)
      throw StateError(model + std::to_string(count) + " tokens at position " + std::to_string(position) +
                       (limits.sequences == 1 ? "" : " of sequence " + std::to_string(sequence)) +
                       " do not fit into a context of " + std::to_string(limits.max_context));
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (ids[i] < 0 || ids[i] >= limits.vocab)
        throw ArgumentError(name() + "[" + std::to_string(i) + "] is " + std::to_string(ids[i]) +
                            ", outside the vocabulary of " + std::to_string(limits.vocab));
    if (observer == nullptr) continue;
    if (!observer->layers.empty() && !observer->on_states)
      throw ArgumentError("LayerObserver: layers are given, but on_states is empty");
    for (const Index layer : observer->layers) static_cast<void>(resolve_layer(layer, limits.layers));
  }
}

/// Throws ShapeError unless these are logits [pieces, exits, V] whose rows are evenly spaced.
template <class Space>
void check_early_exits(const TensorView<float, 3, Space>& logits, Index pieces, Index exits, Index vocab) {
  using Shape = typename TensorView<float, 3, Space>::Extents;
  const auto text = [](const Shape& shape) {
    return "[" + (shape[0] == 1 ? "" : std::to_string(shape[0]) + ", ") + std::to_string(shape[1]) + ", " +
           std::to_string(shape[2]) + "]";
  };
  const Shape expected{pieces, exits, vocab};
  if (logits.extents() != expected)
    throw ShapeError("Llama: expected early-exit logits of " + text(expected) + ", got " + text(logits.extents()));
  check_contiguous_rows("Llama: early-exit logits", logits);
  if (pieces > 1 && exits > 0 && logits.stride(0) != exits * logits.stride(1))
    throw ShapeError("Llama: the rows of early-exit logits must be evenly spaced");
}

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
