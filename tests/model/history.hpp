// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "activation_trace/generation/language_model.hpp"
#include "model/trace.hpp"

namespace activation_trace::test {

inline std::vector<float> numbers(MatrixView<const float> m) {
  std::vector<float> result;
  append_rows(m, result);
  return result;
}

/// All that a model of two sequences tells: prompts of `prompt` and 3 tokens together, a step, early exits, a rewind
/// and a copy. Every state of the first sequence and all logits, in the order in which they were shown.
template <LanguageModel Model>
std::vector<std::vector<float>> history(Model& model, std::size_t prompt) {
  const Index vocab = model.config().vocab;
  std::vector<std::vector<float>> seen;
  LayerObserver<> observer;
  for (Index layer = 0; layer <= model.config().layers; ++layer) observer.layers.push_back(layer);
  observer.on_states = [&](Index, Index, MatrixView<const float> states) { seen.push_back(numbers(states)); };
  const std::vector<TokenId> ids = some_ids(40, vocab);
  const auto pieces = [&](std::size_t begin, std::size_t first, std::size_t second) {
    return std::vector<SequencePiece<>>{{0, std::span(ids).subspan(begin, first), &observer},
                                        {1, std::span(ids).subspan(begin + 1, second), nullptr}};
  };
  seen.push_back(numbers(model.forward(pieces(0, prompt, 3))));
  seen.push_back(numbers(model.forward(pieces(prompt, 1, 1))));
  const std::vector<Index> layers{1, model.config().layers};
  std::vector<float> exits(static_cast<std::size_t>(2 * 2 * vocab));
  model.early_exit(pieces(prompt + 1, 1, 2), layers, {exits.data(), {2, 2, vocab}});
  seen.push_back(exits);
  model.rewind(5, 0);
  model.copy_sequence(0, 1, 0);
  seen.push_back(numbers(model.forward(pieces(30, 4, 4))));
  return seen;
}

}  // namespace activation_trace::test
