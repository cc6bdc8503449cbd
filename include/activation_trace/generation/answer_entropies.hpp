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

  /// `layers` of 0..N, each once; none: nothing is computed.
  AnswerEntropies(std::vector<Index> layers, LmHead lm_head, ThreadPool& pool, const std::optional<FinalNorm>& norm)
      : layers_(std::move(layers)), lm_head_(std::move(lm_head)), own_(pool, {}, norm) {
    for (std::size_t k = 0; k < layers_.size(); ++k) common_.emplace_back(pool, ContextSpan{}, norm);
  }

  [[nodiscard]] const std::vector<Index>& layers() const noexcept { return layers_; }
  [[nodiscard]] bool wanted() const noexcept { return !layers_.empty(); }

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
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      if (layers_[k] != layer) continue;
      for (Index i = 0; i < states.extent(0); ++i) {
        const std::span<const float> state = states.row(i).span();
        own[k].insert(own[k].end(), state.begin(), state.end());
      }
    }
  }

  /// The entropies of `ids`, [layers][ids], over the common positions and `own`. Throws ArgumentError for one that is
  /// not a number.
  [[nodiscard]] std::vector<std::vector<double>> entropies(std::span<const TokenId> ids, const OwnStates& own) {
    std::vector<std::vector<double>> result(layers_.size());
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      own_.reset();
      if (k < own.size() && !own[k].empty()) {
        own_.observe(
            as_matrix(std::span(own[k]), static_cast<Index>(own[k].size()) / lm_head_.hidden(), lm_head_.hidden()),
            lm_head_);
        own_.prepare(ids);
      }
      for (const TokenId id : ids) result[k].push_back(entropy(common_[k], id));
    }
    return result;
  }

 private:
  [[nodiscard]] double entropy(ContextEntropy& common, TokenId id) {
    SoftmaxState state = common.positions() == 0 ? SoftmaxState{} : common.state(id);
    if (own_.positions() != 0) state.merge(own_.state(id));
    const float entropy = state.entropy();
    if (std::isnan(entropy))
      throw ArgumentError("the context entropy of token " + std::to_string(id) +
                          " is not a number: its products with the hidden states overflow or lm_head holds a NaN");
    return static_cast<double>(entropy);
  }

  std::vector<Index> layers_;
  LmHead lm_head_;
  std::vector<ContextEntropy> common_;  // one per layer
  ContextEntropy own_;                  // of one sequence and layer after the other
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
