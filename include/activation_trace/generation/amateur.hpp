// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/model/sequence_piece.hpp"
#include "activation_trace/processors/ngram.hpp"

namespace activation_trace {
inline namespace v0 {

/// The weaker model whose likings contrastive decoding subtracts (processors/README.md 4). It follows several texts at
/// once.
class Amateur {
 public:
  Amateur() = default;
  Amateur(const Amateur&) = delete;
  Amateur& operator=(const Amateur&) = delete;
  virtual ~Amateur() = default;

  /// V, which must be the expert's.
  [[nodiscard]] virtual Index vocab() const = 0;
  /// Texts that it can follow at once.
  [[nodiscard]] virtual Index sequences() const = 0;
  /// Tokens that a text may have.
  [[nodiscard]] virtual Index max_context() const = 0;

  /// Begins text `sequence` anew with `prompt`. The logits [V] of what follows, valid until the next call.
  virtual std::span<const float> begin(Index sequence, std::span<const TokenId> prompt) = 0;
  /// Appends a generated token.
  virtual std::span<const float> observe(Index sequence, TokenId id) = 0;
  /// Makes text `to` equal to `from`; only the last `tail` tokens of `from` may differ, or all if it has fewer.
  virtual void copy(Index from, Index to, Index tail) = 0;
};

/// What an amateur is shown of the prompt: the published option ignore_prefix.
enum class AmateurPrompt { whole, last_token };

/// Another language model, a smaller one of the same vocabulary.
template <class Model>
class ModelAmateur final : public Amateur {
 public:
  /// `model` must outlive the amateur, which uses all its sequences.
  explicit ModelAmateur(Model& model, AmateurPrompt prompt = AmateurPrompt::whole) : model_(&model), prompt_(prompt) {}

  [[nodiscard]] Index vocab() const override { return model_->config().vocab; }
  [[nodiscard]] Index sequences() const override { return model_->sequences(); }
  [[nodiscard]] Index max_context() const override { return model_->max_context(); }

  std::span<const float> begin(Index sequence, std::span<const TokenId> prompt) override {
    model_->rewind(0, sequence);
    if (prompt.empty()) throw ArgumentError("amateur: the prompt is empty");
    return forward(sequence, prompt_ == AmateurPrompt::whole ? prompt : prompt.last(1));
  }

  std::span<const float> observe(Index sequence, TokenId id) override {
    return forward(sequence, std::span<const TokenId>(&id, 1));
  }

  void copy(Index from, Index to, Index tail) override {
    model_->copy_sequence(from, to, std::max<Index>(model_->position(from) - tail, 0));
  }

 private:
  std::span<const float> forward(Index sequence, std::span<const TokenId> ids) {
    const SequencePiece<> piece{sequence, ids};
    return model_->forward(std::span(&piece, 1)).row(0).span();
  }

  Model* model_;
  AmateurPrompt prompt_;
};

/// The n-gram model of prompt and answer.
class NgramAmateur final : public Amateur {
 public:
  /// Throws as NgramModel does, and ArgumentError for sequences < 1.
  explicit NgramAmateur(Index vocab, NgramOptions options = {}, Index sequences = 1) {
    if (sequences < 1) throw ArgumentError("sequences: expected at least 1, got " + std::to_string(sequences));
    texts_.assign(static_cast<std::size_t>(sequences), NgramModel(vocab, options));
    log_probs_.resize(static_cast<std::size_t>(vocab));
  }

  [[nodiscard]] Index vocab() const override { return static_cast<Index>(log_probs_.size()); }
  [[nodiscard]] Index sequences() const override { return static_cast<Index>(texts_.size()); }
  [[nodiscard]] Index max_context() const override { return std::numeric_limits<Index>::max(); }

  std::span<const float> begin(Index sequence, std::span<const TokenId> prompt) override {
    text(sequence).reset();
    return append(sequence, prompt);
  }

  std::span<const float> observe(Index sequence, TokenId id) override {
    return append(sequence, std::span<const TokenId>(&id, 1));
  }

  void copy(Index from, Index to, Index) override { text(to) = text(from); }

 private:
  [[nodiscard]] NgramModel& text(Index sequence) { return texts_.at(static_cast<std::size_t>(sequence)); }

  std::span<const float> append(Index sequence, std::span<const TokenId> ids) {
    text(sequence).observe(ids);
    text(sequence).log_probs(log_probs_);
    return log_probs_;
  }

  std::vector<NgramModel> texts_;
  std::vector<float> log_probs_;
};

}  // namespace v0
}  // namespace activation_trace
