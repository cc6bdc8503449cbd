// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/result.hpp"
#include "activation_trace/generation/validate.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/model/sequence_piece.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/processors/lm_head.hpp"
#include "activation_trace/processors/mode_processor.hpp"
#include "activation_trace/processors/token_chooser.hpp"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {

/// What generate(), score() and the like ask of a model: the class Llama is one, and another engine is after a page
/// (tests/generation/other_engine.cpp).
template <class M>
concept LanguageModel = requires(M& model, const M& seen, std::span<const SequencePiece<>> pieces,
                                 std::span<const Index> layers, TensorView<float, 3> exits, Index i) {
  // N, which is also the number of the last hidden state, and V.
  { seen.config().layers } -> std::convertible_to<Index>;
  { seen.config().vocab } -> std::convertible_to<Index>;
  // What makes logits of states, a matrix or rows on request, and the norm in front of it, of use to options that apply
  // it only.
  { seen.lm_head() } -> std::convertible_to<LmHead<>>;
  { seen.final_norm() } -> std::convertible_to<FinalNorm>;
  // The host's threads, for what is computed from logits and states while the model does not run.
  { seen.execution() } -> std::convertible_to<Execution<Host>&>;

  // Sequences 0 .. sequences() - 1, of up to max_context() tokens each; what they hold, and how that changes:
  // rewind(position, sequence) forgets, copy_sequence(from, to, begin) makes `to` equal to `from`, where both have the
  // positions before `begin` already.
  { seen.sequences() } -> std::convertible_to<Index>;
  { seen.max_context() } -> std::convertible_to<Index>;
  { seen.position(i) } -> std::convertible_to<Index>;
  { seen.ids(i) } -> std::convertible_to<std::span<const TokenId>>;
  {model.rewind(i, i)};
  {model.copy_sequence(i, i, i)};

  // Append the ids of each piece to its sequence and show its observer their hidden states. forward() returns logits
  // [pieces, V] after each piece, valid until the next call, early_exit() writes those of h_k, k of `layers`, 0..N, as
  // [pieces, layers, V].
  {model.fill(pieces)};
  { model.forward(pieces) } -> std::convertible_to<MatrixView<const float>>;
  {model.early_exit(pieces, layers, exits)};
};

/// What generate() asks of a detokeniser: complete characters as they become known, and at the end the rest.
template <class D>
concept TextDecoder = requires(D& decoder, TokenId id) {
  { decoder.push(id) } -> std::convertible_to<std::string_view>;
  { decoder.finish() } -> std::convertible_to<std::string_view>;
};

namespace detail {

/// The norm of a context's states at `layer`, 0..N.
template <LanguageModel Model>
[[nodiscard]] std::optional<FinalNorm> norm_of(const Model& model, const ContextOptions& context, Index layer) {
  return context.final_norm ? norm_at(layer, model.config().layers, model.final_norm()) : std::nullopt;
}

/// Where the context of a call comes from.
struct ContextSource {
  Index layer;  ///< 0..N
  ContextSpan span;
  std::optional<FinalNorm> norm;
  ContextGrowth growth;
  LmHead<> lm_head;
};

}  // namespace detail

/// What a model that chooses the tokens of a call's texts itself is told of them.
struct TokenRules {
  const GenerationOptions& options;      ///< whose record_options() are to be kept
  std::span<const Index> layers;         ///< 0..N, whose logits the mode wants, the mature one's first
  const detail::ContextSource* context;  ///< the mode's or the records'; null: they read none
  Index texts;                           ///< at once, in the sequences 0 .. texts - 1
  Index positions;                       ///< of the longest context
};

/// Tokens from a model that chooses them itself, of logits that nobody else sees. For the texts of one call.
class TokenSource {
 public:
  TokenSource() = default;
  TokenSource(const TokenSource&) = delete;
  TokenSource& operator=(const TokenSource&) = delete;
  virtual ~TokenSource() = default;
  /// A text begins in `sequence`: what the sequence reads from now on is its prompt, behind positions that it has
  /// already, whose states at the context's layer are `known`[T, d]. Random numbers are those of `stream`.
  virtual void begin(Index sequence, std::span<const TokenId> prompt, MatrixView<const float> known,
                     std::uint64_t stream) = 0;
  /// The prompt is read: right after the forward() or early_exit() of its last piece alone.
  virtual void end_prompt(Index sequence) = 0;
  /// The next token of the texts in `sequences`, valid until the next call. The one before it is then in the sequence,
  /// as after forward(); the last is not. Throws as the model's calls and a TokenChooser.
  [[nodiscard]] virtual std::span<const TokenId> next(std::span<const Index> sequences) = 0;
  /// How the token that next() told last of `sequence` was chosen, valid until the next call; null where the options
  /// make no records.
  [[nodiscard]] virtual const ChosenStep* seen(Index sequence) const = 0;
  /// How often DoLa took each of the premature layers for the tokens that were told; empty in other modes.
  [[nodiscard]] virtual std::span<const Index> layer_histogram(Index sequence) const = 0;
};

/// A LanguageModel that does: choose_tokens(rules) gives the tokens that a TokenChooser would choose by these rules, or
/// null where it cannot. No two sources at once.
template <class M>
concept ChoosesTokens = LanguageModel<M> && requires(M& model, const TokenRules& rules) {
  { model.choose_tokens(rules) } -> std::same_as<std::unique_ptr<TokenSource>>;
};

namespace detail {

/// None if nothing is read. Throws ArgumentError for a layer that does not exist.
template <LanguageModel Model>
[[nodiscard]] std::optional<ContextSource> context_source(const Model& model, const GenerationOptions& options) {
  const std::optional<ContextOptions> context = read_context(options);
  if (!context) return std::nullopt;
  const Index layer = resolve_info_layer(context->info_layer, model.config().layers);
  return ContextSource{layer, context->span, norm_of(model, *context, layer), context->growth, model.lm_head()};
}

/// A model's forward pass with the logits that a decoding mode wants: of the mature layer and of the candidates.
template <LanguageModel Model>
class StepForward {
 public:
  /// `layers` as from exit_layers(), mature first; up to `pieces` at once.
  StepForward(Model& model, std::vector<Index> layers, Index pieces)
      : model_(&model),
        layers_(std::move(layers)),
        early_(layers_.size() > 1 || layers_.front() != model.config().layers),
        exits_(early_ ? pieces * exits() * vocab() : 0) {}

  void run(std::span<const SequencePiece<>> pieces) {
    if (!early_) {
      logits_ = model_->forward(pieces);
      return;
    }
    const auto count = static_cast<Index>(pieces.size());
    model_->early_exit(pieces, layers_, {exits_.data(), {count, exits(), vocab()}});
  }

  /// Of one of the pieces of the last run(), valid until the next.
  [[nodiscard]] StepLogits operator[](Index piece) const {
    if (!early_) return {.mature = logits_.row(piece).span()};
    const MatrixView<const float> rows(exits_.data() + piece * exits() * vocab(), {exits(), vocab()});
    return {.mature = rows.row(0).span(), .early = rows.slice(0, 1, exits())};
  }

  /// As given to the constructor.
  [[nodiscard]] std::span<const Index> layers() const { return layers_; }
  /// The candidates.
  [[nodiscard]] std::span<const Index> early_layers() const { return std::span(layers_).subspan(1); }

 private:
  [[nodiscard]] Index exits() const { return static_cast<Index>(layers_.size()); }
  [[nodiscard]] Index vocab() const { return model_->config().vocab; }

  Model* model_;
  std::vector<Index> layers_;
  bool early_;
  Buffer<float> exits_;             // [pieces, layers, V]
  MatrixView<const float> logits_;  // the model's
};

/// Calls read(piece, positions read by then) for at most `length` ids at a time; false once that says no.
template <class Read>
bool in_pieces(std::span<const TokenId> ids, Index length, Read&& read) {
  const auto total = static_cast<Index>(ids.size());
  for (Index done = 0; done < total;) {
    const Index count = std::min(total - done, length);
    if (!read(ids.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count)), done + count)) return false;
    done += count;
  }
  return true;
}

/// Reads a prompt in pieces; false if it was cancelled in between.
template <class Model>
bool prefill(Model& model, StepForward<Model>& forward, Index sequence, std::span<const TokenId> prompt, Index length,
             const LayerObserver<>& observer, const GenerationCallbacks& callbacks) {
  const auto total = static_cast<Index>(prompt.size());
  return in_pieces(prompt, length,
                   [&](std::span<const TokenId> ids, Index done) {
                     if (callbacks.stop.stop_requested()) return false;
                     const SequencePiece<> piece{sequence, ids, &observer};
                     if (done < total)
                       model.fill(std::span(&piece, 1));
                     else
                       forward.run(std::span(&piece, 1));
                     if (callbacks.on_prefill) callbacks.on_prefill(done, total);
                     return true;
                   }) &&
         !callbacks.stop.stop_requested();
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
