// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <random>
#include <string>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "processors/reference.hpp"

namespace activation_trace::test {

/// A model whose next logits depend on the last token only, by a table of random numbers, and whose hidden states
/// depend on layer, position and token: enough for generate(), and known exactly.
class FakeModel {
 public:
  struct Config {
    Index layers = 5;
    Index vocab = 40;
  };
  struct Weights {
    MatrixView<const float> lm_head;
  };

  explicit FakeModel(unsigned seed = 1, Index max_context = 64)
      : random_(seed),
        max_context_(max_context),
        lm_head_(random_matrix(random_, config_.vocab, 6, 1)),
        table_(random_matrix(random_, config_.vocab, config_.vocab, 2)),
        states_(random_matrix(random_, (config_.layers + 1) * config_.vocab, 6, 1.5f)) {}

  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] Weights weights() const { return {lm_head_.view()}; }
  [[nodiscard]] Index max_context() const { return max_context_; }
  [[nodiscard]] Index position() const { return static_cast<Index>(seen.size()); }
  [[nodiscard]] ThreadPool& pool() const { return pool_; }
  void rewind(Index position) { seen.resize(static_cast<std::size_t>(position)); }

  void fill(std::span<const TokenId> ids, const LayerObserver& observer) {
    calls.push_back(static_cast<Index>(ids.size()));
    REQUIRE(position() + static_cast<Index>(ids.size()) <= max_context_);
    for (const Index layer : observer.layers) {
      Matrix states{static_cast<Index>(ids.size()), 6, {}};
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const std::vector<float> row = state(layer, position() + static_cast<Index>(i), ids[i]);
        states.data.insert(states.data.end(), row.begin(), row.end());
      }
      observer.on_states(layer, position(), states.view());
    }
    seen.insert(seen.end(), ids.begin(), ids.end());
  }

  std::span<const float> forward(std::span<const TokenId> ids, const LayerObserver& observer) {
    fill(ids, observer);
    return table_.view().row(seen.back()).span();
  }

  [[nodiscard]] std::vector<float> state(Index layer, Index position, TokenId id) const {
    std::vector<float> row;
    for (Index k = 0; k < 6; ++k)
      row.push_back(states_.view()(layer * config_.vocab + id, k) + 0.1f * static_cast<float>(position));
    return row;
  }
  [[nodiscard]] const Matrix& lm_head() const { return lm_head_; }
  [[nodiscard]] Matrix& table() { return table_; }

  std::vector<TokenId> seen;
  std::vector<Index> calls;

 private:
  Config config_;
  std::mt19937 random_;
  Index max_context_;
  Matrix lm_head_;
  Matrix table_;
  Matrix states_;
  mutable ThreadPool pool_{1};
};

/// Token i is written as the i-th piece.
struct FakeDecoder {
  std::vector<std::string> pieces;
  std::string rest = {};

  std::string push(TokenId id) const { return pieces[static_cast<std::size_t>(id)]; }
  std::string finish() const { return rest; }
};

/// "<0>", "<1>", ...
inline FakeDecoder numbered(Index vocab) {
  FakeDecoder decoder;
  for (Index v = 0; v < vocab; ++v) decoder.pieces.push_back("<" + std::to_string(v) + ">");
  return decoder;
}

}  // namespace activation_trace::test
