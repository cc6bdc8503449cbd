// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/generation/generate_grid.hpp"
#include "activation_trace/generation/layer_entropies.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/result.hpp"
#include "activation_trace/generation/score_options.hpp"
#include "activation_trace/ops/isa.hpp"
#include "activation_trace/processors/dola.hpp"
#include "activation_trace/report/activation_map.hpp"
#include "activation_trace/tokenizer/chat_template.hpp"
#include "activation_trace/tokenizer/tokenizer.hpp"
#include "support/engine_options.hpp"
#include "support/loaded_model.hpp"

namespace activation_trace::examples {

/// A model with its tokenizer and its student, and what the programs ask of them: each loads, sizes and runs its model
/// through this. What computes is known to engine.cpp alone, where the forward pass is compiled once for all programs,
/// and to llama_cpp_engine.cpp and cuda_engine.cu, which are files of their own, loaded where they are asked for.
///
///     Engine engine(settings.model, settings.student);
///     engine.reserve(engine.context(longest), 1);
///     engine.generate(...);
class Engine {
 public:
  /// Reads the model's files. The student is an argument of whatever contrastive decoding generates or scores; if it is
  /// a model, reserve() reads it. Throws FormatError naming the file that is wrong, Error for an engine that does not
  /// run here.
  explicit Engine(const ModelSettings& settings, const StudentSettings& student = {});
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  [[nodiscard]] const ModelShape& config() const noexcept { return shape_; }
  [[nodiscard]] Embeddings embeddings() const noexcept { return loaded_->embeddings(); }
  /// Its end tokens are all that the model's configuration or the tokenizer names.
  [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return tokenizer_; }
  /// Of the model; plain if it names none that is known. `date` is what it writes as today's date and as its
  /// date_string, if it has them; without one that is today's, and what the template has itself.
  [[nodiscard]] ChatTemplate chat_template(const std::optional<std::chrono::year_month_day>& date) const;
  /// The ids of a text that goes on: as Tokenizer::encode_prompt, without an EOS.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text) const;

  /// What the last bits of all numbers depend on besides model and options, for manifests: {"version", "compiler",
  /// "isa", "engine"}, the last an object of what another than our own was told, and of our own {"arithmetic",
  /// "cache"}.
  [[nodiscard]] nlohmann::ordered_json program() const;

  /// Positions of a context for texts of `needed` ones: as many as the command line says, or else as are needed, but no
  /// more than the model was trained on.
  [[nodiscard]] Index context(Index needed) const;
  /// Memory for `sequences` texts of `context` positions at once; to be called before the functions below. Throws Error
  /// for more memory than there is, ArgumentError for a context longer than the model's or the student's, and what
  /// reading the student throws.
  void reserve(Index context, Index sequences);

  /// As score_text(). `prefix`, here and below: what prompts begin with, or null.
  [[nodiscard]] std::vector<ContinuationScore> score(std::string_view prompt,
                                                     std::span<const std::string> continuations,
                                                     const ScoreOptions& options, const ScoreCallbacks& callbacks = {},
                                                     PrefixCache* prefix = nullptr);
  /// As layer_entropies_of_text().
  [[nodiscard]] std::vector<LayerEntropies> layer_entropies(std::string_view prompt,
                                                            std::span<const std::string> continuations,
                                                            std::span<const Index> layers, const ScoreOptions& options,
                                                            const ScoreCallbacks& callbacks = {},
                                                            PrefixCache* prefix = nullptr);
  /// As generate_batch(), with the text of the model's tokenizer.
  std::vector<GenerationResult> generate(std::span<const std::vector<TokenId>> prompts,
                                         const GenerationOptions& options, const GenerationCallbacks& callbacks = {},
                                         PrefixCache* prefix = nullptr);
  /// As generate_grid(), the same.
  std::vector<GenerationResult> generate_grid(std::span<const TokenId> prompt, std::span<const GridPoint> points,
                                              const GenerationOptions& options,
                                              const GenerationCallbacks& callbacks = {}, PrefixCache* prefix = nullptr);
  /// As activation_maps(), with the model's own final norm if `normalised`.
  [[nodiscard]] ActivationMaps activation_maps(std::span<const TokenId> prompt, std::span<const TokenId> ids,
                                               ActivationMapOptions options, bool normalised,
                                               const std::function<void(Index done, Index total)>& on_progress = {});

 private:
  struct Running;

  [[nodiscard]] Running& running() const;
  [[nodiscard]] Companions with(const Mode& mode, PrefixCache* prefix) const;

  ModelSettings settings_;
  StudentSettings student_;
  Isa isa_ = best_isa();
  std::unique_ptr<LoadedModel> loaded_;
  ModelShape shape_;
  Tokenizer tokenizer_;
  std::unique_ptr<Running> running_;
};

}  // namespace activation_trace::examples
