// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/generation/score.hpp"
#include "activation_trace/model/layer_observer.hpp"

namespace activation_trace {
inline namespace v0 {

/// One answer of A tokens, at L layers.
struct LayerEntropies {
  std::vector<TokenId> ids;                    ///< [A]
  std::vector<double> log_probs;               ///< [A], as ContinuationScore::log_probs
  std::vector<std::vector<double>> entropies;  ///< [L][A], in nats
  std::string moved_space = {};                ///< as ContinuationScore::moved_space
};

/// What score_sequences() computes at one info layer after the other, at all of `layers` in one forward pass: the
/// log-probabilities, and entropies[k] the same numbers as with info_layer = layers[k]. No layers: all, 0..N. Of
/// `options`, alpha, info_layer, strategy and single_entropy have no effect.
///
/// A whole grid of alpha and layers follows from it: score = sum of log_probs - alpha * sum of entropies[k].
/// Memory beside the model's: L times the prompt's states [T, d], and 20 L V bytes.
///
/// Throws as score_sequences(), and ArgumentError for a layer that is given twice and a mode that reads no entropies.
template <LanguageModel Model>
std::vector<LayerEntropies> layer_entropies(Model& model, std::span<const std::vector<TokenId>> sequences,
                                            Index prompt_length, std::span<const Index> layers = {},
                                            const ScoreOptions& options = {}, const ScoreCallbacks& callbacks = {},
                                            const Companions& with = {});

/// The same for text, as score_text().
template <LanguageModel Model, PromptTokenizer Tokens>
std::vector<LayerEntropies> layer_entropies_of_text(Model& model, const Tokens& tokenizer, std::string_view prompt,
                                                    std::span<const std::string> continuations,
                                                    std::span<const Index> layers = {},
                                                    const ScoreOptions& options = {},
                                                    const ScoreCallbacks& callbacks = {}, const Companions& with = {});

/// `layers` as 0..N, or all of them if there are none. Throws ArgumentError for one that does not exist or comes twice.
[[nodiscard]] std::vector<Index> resolve_layers(std::span<const Index> layers, Index blocks);

template <LanguageModel Model>
std::vector<LayerEntropies> layer_entropies(Model& model, std::span<const std::vector<TokenId>> sequences,
                                            Index prompt_length, std::span<const Index> layers,
                                            const ScoreOptions& options, const ScoreCallbacks& callbacks,
                                            const Companions& with) {
  if (options.entropies() == nullptr)
    throw ArgumentError("layer_entropies: decoding_mode " + std::string(name(options.mode)) +
                        " reads no entropies; give it a context to record");
  detail::Scoring<Model> scoring(model, sequences, prompt_length, options, callbacks, with,
                                 resolve_layers(layers, model.config().layers));
  detail::ScoredAnswers scored = scoring.run();
  std::vector<LayerEntropies> result;
  for (std::size_t i = 0; i < scored.answers.size(); ++i)
    result.push_back(
        {std::move(scored.answers[i].ids), std::move(scored.answers[i].log_probs), std::move(scored.entropies[i])});
  return result;
}

template <LanguageModel Model, PromptTokenizer Tokens>
std::vector<LayerEntropies> layer_entropies_of_text(Model& model, const Tokens& tokenizer, std::string_view prompt,
                                                    std::span<const std::string> continuations,
                                                    std::span<const Index> layers, const ScoreOptions& options,
                                                    const ScoreCallbacks& callbacks, const Companions& with) {
  const detail::DividedText text = detail::divide_text(tokenizer, model.config().vocab, prompt, continuations);
  std::vector<LayerEntropies> result =
      layer_entropies(model, text.sequences, text.prompt_length, layers, options, callbacks, with);
  for (LayerEntropies& answer : result) answer.moved_space = text.moved_space;
  return result;
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::vector<Index> resolve_layers(std::span<const Index> layers, Index blocks) {
  std::vector<Index> resolved;
  for (const Index layer : layers) {
    resolved.push_back(resolve_layer(layer, blocks));
    if (std::ranges::count(resolved, resolved.back()) > 1)
      throw ArgumentError("layers: layer " + std::to_string(resolved.back()) + " is there twice");
  }
  for (Index layer = 0; layers.empty() && layer <= blocks; ++layer) resolved.push_back(layer);
  return resolved;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
