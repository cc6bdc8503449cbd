// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/ops/copy.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/processors/context_entropy.hpp"

namespace activation_trace {
inline namespace v0 {

/// The ids that all of `prompts` begin with; none of no prompts.
[[nodiscard]] inline std::vector<TokenId> common_prefix(std::span<const std::vector<TokenId>> prompts) {
  std::vector<TokenId> common;
  if (!prompts.empty()) common = prompts.front();
  for (const std::vector<TokenId>& ids : prompts)
    common.erase(std::mismatch(common.begin(), common.end(), ids.begin(), ids.end()).first, common.end());
  return common;
}

/// What many prompts begin with, such as the demonstrations of a task, so that it is computed once: a prompt given to
/// score() or generate() that begins with these ids, and has `few_rows` more, is computed from there on. Its keys and
/// values stay in the model's sequences, and softmax states of the context are kept for every token that was asked for.
///
///     PrefixCache prefix(ids);
///     for (...) score(model, prompt, answers, options, {}, {.prefix = &prefix});
///
/// A prompt's results do not depend on the prompts before it or beside it. Beside those without a prefix they are the
/// same numbers to rounding. Whatever else the model does in between costs time only: sequences that do not begin with
/// the prefix any more get it again. Memory: d floats per position and layer that is read, and 20 V bytes per layer.
/// Belongs to the first model that it is used with. Not safe for concurrent use.
class PrefixCache {
 public:
  /// No ids: of no use to any prompt.
  explicit PrefixCache(std::vector<TokenId> ids) : ids_(std::move(ids)) {}
  PrefixCache(const PrefixCache&) = delete;  // contexts point to it
  PrefixCache& operator=(const PrefixCache&) = delete;

  /// What prompts have to begin with.
  [[nodiscard]] std::span<const TokenId> ids() const noexcept { return ids_; }

  // For score() and generate().

  /// Positions of a prompt that need not be computed: all of the prefix or none.
  [[nodiscard]] Index covers(std::span<const TokenId> prompt) const {
    const auto length = static_cast<Index>(ids_.size());
    return std::ssize(prompt) >= length + few_rows && begins_with(prompt) ? length : 0;
  }

  /// Makes `sequence` hold the prefix and nothing else, and knows h_k of `layers`, 0..N, from then on. Positions are
  /// computed `piece` at a time. Throws ArgumentError for another model than before.
  template <LanguageModel Model>
  void enter(Model& model, Index sequence, std::span<const Index> layers, Index piece);

  /// h_layer [T, d].
  [[nodiscard]] MatrixView<const float> states(Index layer) const;

  /// The entropies of the context that the prefix is at a layer.
  ContextEntropy& context(Index layer, ContextSpan span, const std::optional<FinalNorm>& norm, const LmHead<>& lm_head,
                          Execution<Host>& execution);

 private:
  struct Layer {
    std::vector<float> states;  // [T, d]
    ContextSpan span = {};
    std::optional<FinalNorm> norm = {};
    std::optional<ContextEntropy> context = {};
  };

  [[nodiscard]] bool begins_with(std::span<const TokenId> ids) const {
    return ids.size() >= ids_.size() && std::equal(ids_.begin(), ids_.end(), ids.begin());
  }
  template <class Model>
  void compute(Model& model, Index sequence, std::span<const Index> layers, Index piece);

  std::vector<TokenId> ids_;
  const void* model_ = nullptr;  // whose states these are
  std::map<Index, Layer> layers_;
};

template <LanguageModel Model>
void PrefixCache::enter(Model& model, Index sequence, std::span<const Index> layers, Index piece) {
  if (model_ != nullptr && model_ != &model) throw ArgumentError("PrefixCache: it belongs to another model");
  model_ = &model;
  const bool known = std::ranges::all_of(layers, [&](Index layer) { return layers_.contains(layer); });
  if (!known || !begins_with(model.ids(sequence))) {
    Index from = 0;
    while (known && from < model.sequences() && !begins_with(model.ids(from))) ++from;
    if (known && from < model.sequences())
      model.copy_sequence(from, sequence, 0);
    else
      compute(model, sequence, layers, piece);
  }
  model.rewind(static_cast<Index>(ids_.size()), sequence);
}

template <class Model>
void PrefixCache::compute(Model& model, Index sequence, std::span<const Index> layers, Index piece) {
  std::map<Index, Layer> added;
  LayerObserver<> observer;
  for (const Index layer : layers)
    if (!layers_.contains(layer)) observer.layers.push_back(layer);
  observer.on_states = [&](Index layer, Index, MatrixView<const float> states) {
    append_rows(states, added[layer].states);
  };
  model.rewind(0, sequence);
  detail::in_pieces(ids_, piece, [&](std::span<const TokenId> ids, Index) {
    const SequencePiece<> part{sequence, ids, &observer};
    model.fill(std::span(&part, 1));
    return true;
  });
  layers_.merge(added);
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE MatrixView<const float> PrefixCache::states(Index layer) const {
  const std::vector<float>& states = layers_.at(layer).states;
  const auto rows = static_cast<Index>(ids_.size());
  return as_matrix(std::span(states), rows, static_cast<Index>(states.size()) / rows);
}

ACTIVATION_TRACE_COMPILED_INLINE ContextEntropy& PrefixCache::context(Index layer, ContextSpan span,
                                                                      const std::optional<FinalNorm>& norm,
                                                                      const LmHead<>& lm_head,
                                                                      Execution<Host>& execution) {
  Layer& l = layers_.at(layer);
  if (!l.context || l.span != span || l.norm != norm) {
    l.context.emplace(execution, span, norm);
    l.context->observe(states(layer), lm_head);
    l.span = span;
    l.norm = norm;
  }
  return *l.context;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
