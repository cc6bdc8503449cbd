// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>

#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/generation/score_options.hpp"
#include "activation_trace/processors/dola_options.hpp"
#include "activation_trace/tokenizer/tokenizer.hpp"

// What an engine gives to the programs: a model whose files are read, and with a context a LanguageModel.
namespace activation_trace::examples {

/// What is asked of a model's size.
struct ModelShape {
  Index layers = 0;       ///< N
  Index vocab = 0;        ///< V
  Index max_context = 0;  ///< positions that it was trained on
};

/// A LanguageModel of whatever engine: what generates and scores is compiled once for all of them.
class AnyModel {
 public:
  AnyModel() = default;
  AnyModel(const AnyModel&) = delete;
  AnyModel& operator=(const AnyModel&) = delete;
  virtual ~AnyModel() = default;

  [[nodiscard]] virtual const ModelShape& config() const = 0;
  [[nodiscard]] virtual LmHead<> lm_head() const = 0;
  [[nodiscard]] virtual FinalNorm final_norm() const = 0;
  [[nodiscard]] virtual Execution<Host>& execution() const = 0;
  [[nodiscard]] virtual Index sequences() const = 0;
  [[nodiscard]] virtual Index max_context() const = 0;
  [[nodiscard]] virtual Index position(Index sequence) const = 0;
  [[nodiscard]] virtual std::span<const TokenId> ids(Index sequence) const = 0;
  virtual void rewind(Index position, Index sequence) = 0;
  virtual void copy_sequence(Index from, Index to, Index begin) = 0;
  virtual void fill(std::span<const SequencePiece<>> pieces) = 0;
  virtual MatrixView<const float> forward(std::span<const SequencePiece<>> pieces) = 0;
  virtual void early_exit(std::span<const SequencePiece<>> pieces, std::span<const Index> layers,
                          TensorView<float, 3> logits) = 0;
  [[nodiscard]] virtual std::unique_ptr<TokenSource> choose_tokens(const TokenRules& rules) = 0;
  [[nodiscard]] virtual std::unique_ptr<AnswerScorer> score_answers(const ScoreOptions& options,
                                                                    std::span<const Index> layers) = 0;
};
static_assert(ChoosesTokens<AnyModel>);

/// The one that a Model is.
template <LanguageModel Model>
class ModelOf final : public AnyModel {
 public:
  /// A Model made of the rest, whose contexts have `context` positions, be there room for more or not.
  template <class... Args>
  ModelOf(const ModelShape& shape, Index context, Args&&... args)
      : shape_(shape), context_(context), model_(std::forward<Args>(args)...) {}

  [[nodiscard]] const ModelShape& config() const override { return shape_; }
  [[nodiscard]] LmHead<> lm_head() const override { return model_.lm_head(); }
  [[nodiscard]] FinalNorm final_norm() const override { return model_.final_norm(); }
  [[nodiscard]] Execution<Host>& execution() const override { return model_.execution(); }
  [[nodiscard]] Index sequences() const override { return model_.sequences(); }
  [[nodiscard]] Index max_context() const override { return std::min(context_, model_.max_context()); }
  [[nodiscard]] Index position(Index sequence) const override { return model_.position(sequence); }
  [[nodiscard]] std::span<const TokenId> ids(Index sequence) const override { return model_.ids(sequence); }
  void rewind(Index position, Index sequence) override { model_.rewind(position, sequence); }
  void copy_sequence(Index from, Index to, Index begin) override { model_.copy_sequence(from, to, begin); }
  void fill(std::span<const SequencePiece<>> pieces) override { model_.fill(pieces); }
  MatrixView<const float> forward(std::span<const SequencePiece<>> pieces) override { return model_.forward(pieces); }
  void early_exit(std::span<const SequencePiece<>> pieces, std::span<const Index> layers,
                  TensorView<float, 3> logits) override {
    model_.early_exit(pieces, layers, logits);
  }
  /// Null of models that leave the choice to others.
  [[nodiscard]] std::unique_ptr<TokenSource> choose_tokens(const TokenRules& rules) override {
    if constexpr (ChoosesTokens<Model>) return model_.choose_tokens(rules);
    return nullptr;
  }
  /// Null of models that leave scores to others.
  [[nodiscard]] std::unique_ptr<AnswerScorer> score_answers([[maybe_unused]] const ScoreOptions& options,
                                                            [[maybe_unused]] std::span<const Index> layers) override {
    if constexpr (requires { model_.score_answers(options, layers); }) return model_.score_answers(options, layers);
    return nullptr;
  }

 private:
  ModelShape shape_;
  Index context_;
  Model model_;
};

/// A model's files, read by an engine.
class LoadedModel {
 public:
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;
  virtual ~LoadedModel() = default;

  [[nodiscard]] virtual ModelShape shape() const = 0;
  [[nodiscard]] virtual Embeddings embeddings() const = 0;
  /// Made for the model's vocabulary.
  [[nodiscard]] virtual Tokenizer tokenizer() const = 0;
  /// What the last bits of all numbers depend on besides the model's files, the options and our own code, for
  /// manifests: an object.
  [[nodiscard]] virtual nlohmann::ordered_json identity() const = 0;
  /// With memory for `sequences` texts of `context` positions. This object and `execution` must outlive it. Throws
  /// Error for more memory than there is, ArgumentError for a context longer than the model's.
  [[nodiscard]] virtual std::unique_ptr<AnyModel> run(Index context, Index sequences, Execution<Host>& execution) = 0;

 protected:
  LoadedModel() = default;
};

struct ModelSettings;

/// The name of the function of llama_cpp_engine.cpp and cuda_engine.cu by which load_model() is found, and its type. It
/// throws FormatError and Error naming the file, or the option.
inline constexpr const char* kLoadModel = "activation_trace_load_model";
using LoadModel = LoadedModel*(const ModelSettings& settings);

}  // namespace activation_trace::examples
