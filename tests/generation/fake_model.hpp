// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "processors/reference.hpp"

namespace activation_trace::test {

/// A model whose next logits depend on the last token only, by a table of random numbers per layer, and whose hidden
/// states depend on layer, position and token: enough for generate(), and known exactly.
class FakeModel {
 public:
  struct Config {
    Index layers = 5;
    Index vocab = 40;
  };

  explicit FakeModel(unsigned seed = 1, Index max_context = 64, Index sequences = 1, Index vocab = 40)
      : texts(static_cast<std::size_t>(sequences)),
        config_{.vocab = vocab},
        random_(seed),
        max_context_(max_context),
        lm_head_(random_matrix(random_, config_.vocab, 6, 1)),
        table_(random_matrix(random_, config_.vocab, config_.vocab, 2)),
        states_(random_matrix(random_, (config_.layers + 1) * config_.vocab, 6, 1.5f)),
        early_(random_matrix(random_, config_.layers * config_.vocab, config_.vocab, 2)),
        logits_{sequences, config_.vocab, std::vector<float>(static_cast<std::size_t>(sequences * config_.vocab))} {}

  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] MatrixView<const float> lm_head() const { return lm_head_.view(); }
  [[nodiscard]] FinalNorm final_norm() const { return {{1, 0.5f, 2, 1, 1, 0.7f}, 1e-5f}; }
  [[nodiscard]] Index max_context() const { return max_context_; }
  [[nodiscard]] Index sequences() const { return static_cast<Index>(texts.size()); }
  [[nodiscard]] Index position(Index sequence = 0) const { return static_cast<Index>(text(sequence).size()); }
  [[nodiscard]] std::span<const TokenId> ids(Index sequence) const { return text(sequence); }
  [[nodiscard]] Execution<Host>& execution() const { return execution_; }
  void rewind(Index position, Index sequence = 0) { text(sequence).resize(static_cast<std::size_t>(position)); }

  void copy_sequence(Index from, Index to, Index begin = 0) {
    const std::vector<TokenId>& source = text(from);
    std::vector<TokenId>& target = text(to);
    REQUIRE(begin <= std::min(position(from), position(to)));
    REQUIRE(std::equal(source.begin(), source.begin() + begin, target.begin()));  // what need not be copied
    target = source;
  }

  void fill(std::span<const SequencePiece<>> pieces) {
    for (const SequencePiece<>& piece : pieces) {
      const auto& [sequence, ids, observer] = piece;
      calls.push_back(static_cast<Index>(ids.size()));
      REQUIRE(!ids.empty());
      REQUIRE(position(sequence) + static_cast<Index>(ids.size()) <= max_context_);
      if (observer != nullptr)
        for (const Index layer : observer->layers) {
          Matrix states{static_cast<Index>(ids.size()), 6, {}};
          for (std::size_t i = 0; i < ids.size(); ++i) {
            const std::vector<float> row = state(layer, position(sequence) + static_cast<Index>(i), ids[i]);
            states.data.insert(states.data.end(), row.begin(), row.end());
          }
          observer->on_states(layer, position(sequence), states.view());
        }
      std::vector<TokenId>& all = text(sequence);
      all.insert(all.end(), ids.begin(), ids.end());
    }
    batches.push_back(static_cast<Index>(pieces.size()));
  }

  MatrixView<const float> forward(std::span<const SequencePiece<>> pieces) {
    fill(pieces);
    for (std::size_t p = 0; p < pieces.size(); ++p) {
      const std::span<const float> row = logits_of(config_.layers, text(pieces[p].sequence).back());
      std::copy(row.begin(), row.end(), logits_.data.begin() + static_cast<Index>(p) * config_.vocab);
    }
    return logits_.view().slice(0, 0, static_cast<Index>(pieces.size()));
  }

  void early_exit(std::span<const SequencePiece<>> pieces, std::span<const Index> layers, TensorView<float, 3> logits) {
    fill(pieces);
    for (std::size_t p = 0; p < pieces.size(); ++p)
      for (std::size_t i = 0; i < layers.size(); ++i) {
        const std::span<const float> row = logits_of(layers[i], text(pieces[p].sequence).back());
        std::copy(row.begin(), row.end(), &logits(static_cast<Index>(p), static_cast<Index>(i), 0));
      }
  }

  /// The logits of hidden state `layer`, 0..N, after `last`.
  [[nodiscard]] std::span<const float> logits_of(Index layer, TokenId last) const {
    return layer == config_.layers ? table_.view().row(last).span()
                                   : early_.view().row(layer * config_.vocab + last).span();
  }

  [[nodiscard]] std::vector<float> state(Index layer, Index position, TokenId id) const {
    std::vector<float> row;
    for (Index k = 0; k < 6; ++k)
      row.push_back(states_.view()(layer * config_.vocab + id, k) + 0.1f * static_cast<float>(position));
    return row;
  }
  [[nodiscard]] const Matrix& lm_head_matrix() const { return lm_head_; }
  [[nodiscard]] Matrix& table() { return table_; }

  std::vector<std::vector<TokenId>> texts;  ///< what each sequence holds
  std::vector<Index> calls;                 ///< lengths of all pieces
  std::vector<Index> batches;               ///< pieces of each call

 private:
  [[nodiscard]] const std::vector<TokenId>& text(Index sequence) const {
    REQUIRE(sequence >= 0);
    REQUIRE(sequence < sequences());
    return texts[static_cast<std::size_t>(sequence)];
  }
  [[nodiscard]] std::vector<TokenId>& text(Index sequence) {
    return const_cast<std::vector<TokenId>&>(std::as_const(*this).text(sequence));
  }

  Config config_;
  std::mt19937 random_;
  Index max_context_;
  Matrix lm_head_;
  Matrix table_;
  Matrix states_;
  Matrix early_;
  Matrix logits_;
  mutable Execution<Host> execution_{1};
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
