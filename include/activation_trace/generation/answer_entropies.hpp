// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/generation/prefix_cache.hpp"
#include "activation_trace/ops/copy.hpp"
#include "activation_trace/processors/context_entropy.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Context entropies of answers at one layer or several: the positions that all sequences begin with are taken once,
/// and each sequence adds its own.
class AnswerEntropies {
 public:
  /// The states of one sequence's own positions, [layers][n, d].
  using OwnStates = std::vector<std::vector<float>>;

  /// `layers` of 0..`blocks`, each once; none: nothing is computed. `norm` is applied to all but the last, which has
  /// passed it.
  AnswerEntropies(std::vector<Index> layers, Index blocks, LmHead<> lm_head, Execution<Host>& execution,
                  const std::optional<FinalNorm>& norm)
      : layers_(std::move(layers)),
        blocks_(blocks),
        norm_(norm),
        lm_head_(std::move(lm_head)),
        execution_(&execution),
        own_(execution, {}, norm),
        own_last_(execution) {
    for (const Index layer : layers_) common_.emplace_back(execution, ContextSpan{}, norm_of(layer));
  }

  [[nodiscard]] const std::vector<Index>& layers() const noexcept { return layers_; }
  [[nodiscard]] bool wanted() const noexcept { return !layers_.empty(); }

  /// All sequences begin with `prefix`, of whose positions those of `span` count.
  void begin_with(PrefixCache& prefix, ContextSpan span) {
    for (std::size_t k = 0; k < layers_.size(); ++k)
      common_[k].begin_with(prefix.context(layers_[k], span, norm_of(layers_[k]), lm_head_, *execution_));
  }

  /// Appends h_layer of positions that all sequences begin with. Other layers are let pass, here and below.
  void observe_common(Index layer, MatrixView<const float> states) {
    for (std::size_t k = 0; k < layers_.size(); ++k)
      if (layers_[k] == layer) common_[k].observe(states, lm_head_);
  }

  /// Computes the common part of the entropies of `ids` together.
  void prepare(std::span<const TokenId> ids) {
    for (ContextEntropy& common : common_)
      if (common.positions() != 0) common.prepare(ids);
  }

  /// Appends h_layer of further positions of one sequence.
  void observe_own(Index layer, MatrixView<const float> states, OwnStates& own) const {
    own.resize(layers_.size());
    for (std::size_t k = 0; k < layers_.size(); ++k)
      if (layers_[k] == layer) append_rows(states, own[k]);
  }

  /// The entropies of `ids`, [layers][ids], over the common positions and `own`. Throws ArgumentError for one that is
  /// not a number.
  [[nodiscard]] std::vector<std::vector<double>> entropies(std::span<const TokenId> ids, const OwnStates& own) {
    std::vector<std::vector<double>> result(layers_.size());
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      ContextEntropy& rest = layers_[k] < blocks_ ? own_ : own_last_;
      rest.reset();
      if (k < own.size() && !own[k].empty()) {
        const Index d = lm_head_.hidden();
        rest.observe(as_matrix(std::span(own[k]), static_cast<Index>(own[k].size()) / d, d), lm_head_);
        rest.prepare(ids);
      }
      for (const TokenId id : ids) result[k].push_back(entropy(common_[k], rest, id));
    }
    return result;
  }

 private:
  [[nodiscard]] std::optional<FinalNorm> norm_of(Index layer) const { return norm_at(layer, blocks_, norm_); }
  [[nodiscard]] static double entropy(ContextEntropy& common, ContextEntropy& rest, TokenId id) {
    SoftmaxState state = common.positions() == 0 ? SoftmaxState{} : common.state(id);
    if (rest.positions() != 0) state.merge(rest.state(id));
    const float entropy = state.entropy();
    if (std::isnan(entropy))
      throw ArgumentError("the context entropy of token " + std::to_string(id) +
                          " is not a number: its products with the hidden states overflow or lm_head holds a NaN");
    return static_cast<double>(entropy);
  }

  std::vector<Index> layers_;
  Index blocks_;
  std::optional<FinalNorm> norm_;
  LmHead<> lm_head_;
  Execution<Host>* execution_;
  std::vector<ContextEntropy> common_;  // one per layer
  ContextEntropy own_;                  // of one sequence and layer after the other
  ContextEntropy own_last_;             // the same for layer N
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
