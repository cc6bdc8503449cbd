// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/prefix_cache.hpp"
#include "activation_trace/generation/result.hpp"
#include "activation_trace/generation/score_chain.hpp"
#include "activation_trace/generation/text_end.hpp"
#include "activation_trace/generation/validate.hpp"
#include "activation_trace/processors/argmax.hpp"
#include "activation_trace/processors/context_entropy.hpp"
#include "activation_trace/processors/mode_processor.hpp"
#include "activation_trace/processors/plausible_candidates.hpp"

namespace activation_trace {
inline namespace v0 {

/// One setting of activation decoding.
struct GridPoint {
  float alpha;       ///< weight of the entropy
  Index info_layer;  ///< hidden state 0..N, negative from the end
};

/// What generate() gives at each of `points`, for the price of the texts that differ: points share a forward pass for
/// as long as they have chosen the same tokens, and the prompt is read once for all of them. Texts that part go on in
/// sequences of their own, as many at once as the model has, the others after them.
///
/// `options` are those of generate() in mode activation or activation_dola with strategy entropy; alpha and info_layer
/// have no effect. `make_decoder()` gives a decoder that
/// can be copied. Results have ids, text and reason. A stop that callbacks ask for cancels the texts that are not
/// complete; of the callbacks, on_token and on_finish are not called.
///
/// Throws as generate(), and ArgumentError for options that have no meaning here: another mode or strategy, sampling,
/// beams, records and a growing context.
template <LanguageModel Model, class MakeDecoder>
requires TextDecoder<std::invoke_result_t<MakeDecoder&>> std::vector<GenerationResult> generate_grid(
    Model& model, MakeDecoder&& make_decoder, std::span<const TokenId> prompt, std::span<const GridPoint> points,
    const GenerationOptions& options, const GenerationCallbacks& callbacks = {}, const Companions& with = {});

namespace detail {

template <LanguageModel Model, TextDecoder Decoder>
class GridGeneration {
 public:
  GridGeneration(Model& model, std::span<const TokenId> prompt, std::span<const GridPoint> points,
                 const GenerationOptions& options, const GenerationCallbacks& callbacks, const Companions& with)
      : model_(model),
        prompt_(prompt),
        points_(points),
        options_(options),
        callbacks_(callbacks),
        with_(with),
        context_(*context_of(options.mode)),
        forward_(model, exit_layers(options.mode, model.config().layers), model.sequences()),
        candidates_(*filter_of(options.mode)),
        holds_prompt_(static_cast<std::size_t>(model.sequences())),
        results_(points.size()) {
    if (const auto* on_dola = std::get_if<ActivationDola>(&options.mode)) {
      const std::span<const Index> early = forward_.early_layers();
      dola_.emplace(std::vector<Index>(early.begin(), early.end()), dola_options(*on_dola), model.execution());
    }
    for (const GridPoint& point : points_) {
      const Index layer = resolve_layer(point.info_layer, model.config().layers);
      layer_of_.push_back(layer);
      if (contexts_.contains(layer)) continue;
      contexts_.try_emplace(layer, model.execution(), context_.span, norm_of(model_, context_, layer));
      observer_.layers.push_back(layer);
    }
    observer_.on_states = [this](Index layer, Index, MatrixView<const float> states) {
      contexts_.at(layer).observe(states, model_.lm_head());
    };
    for (Index slot = model.sequences() - 1; slot > 0; --slot) free_.push_back(slot);
  }

  std::vector<GenerationResult> run(Decoder decoder) {
    auto root = std::make_unique<Text>(Text{{},
                                            make_score_chain(options_, with_.processors, model_.config().vocab),
                                            GrowingText<Decoder>(options_, std::move(decoder)),
                                            0});
    for (std::size_t i = 0; i < points_.size(); ++i) root->points.push_back(i);
    root->chain.observe_prompt(prompt_);
    holds_prompt_[0] = 1;
    if (options_.max_new_tokens == 0) return std::move(results_);
    const auto known = static_cast<std::size_t>(enter_prefix());
    if (known == 0) model_.rewind(0, 0);
    if (!prefill(model_, forward_, 0, prompt_.subspan(known), options_.prefill_piece, observer_, callbacks_)) {
      cancel(*root);
      return std::move(results_);
    }
    branch(std::move(root), forward_[0]);
    while (!texts_.empty()) step();
    return std::move(results_);
  }

 private:
  /// What some of the points have written so far.
  struct Text {
    std::vector<std::size_t> points;
    ProcessorChain chain;
    GrowingText<Decoder> text;
    Index slot;  ///< the model's sequence that has read all ids but some of the last; -1: waits for one
  };

  // The positions of the prompt that need not be computed.
  Index enter_prefix() {
    const Index known = with_.prefix != nullptr ? with_.prefix->covers(prompt_) : 0;
    if (known == 0) return 0;
    with_.prefix->enter(model_, 0, observer_.layers, options_.prefill_piece);
    for (auto& [layer, context] : contexts_)
      context.begin_with(with_.prefix->context(layer, context_.span, norm_of(model_, context_, layer), model_.lm_head(),
                                               model_.execution()));
    return known;
  }

  [[nodiscard]] Index prompt_length() const { return static_cast<Index>(prompt_.size()); }

  // Every text that has a sequence reads its next id: mostly the last, but one that had to wait reads them all again,
  // one by one, as it did before.
  void step() {
    if (callbacks_.stop.stop_requested()) {
      for (const std::unique_ptr<Text>& text : texts_) cancel(*text);
      texts_.clear();
      return;
    }
    std::vector<std::unique_ptr<Text>> running;
    std::vector<std::unique_ptr<Text>> waiting;
    std::vector<SequencePiece<>> pieces;
    for (std::unique_ptr<Text>& text : texts_) {
      if (text->slot < 0 && !free_.empty()) begin_again(*text);
      if (text->slot < 0) {
        waiting.push_back(std::move(text));
        continue;
      }
      const auto read = static_cast<std::size_t>(model_.position(text->slot) - prompt_length());
      pieces.push_back({text->slot, std::span(text->text.ids()).subspan(read, 1)});
      running.push_back(std::move(text));
    }
    texts_ = std::move(waiting);
    forward_.run(pieces);
    for (std::size_t p = 0; p < pieces.size(); ++p) {
      const bool read_all = model_.position(running[p]->slot) - prompt_length() == std::ssize(running[p]->text.ids());
      if (read_all)
        branch(std::move(running[p]), forward_[static_cast<Index>(p)]);
      else
        texts_.push_back(std::move(running[p]));
    }
  }

  // Every point of a text chooses its next token; those that choose another than the first go on as a text of their
  // own.
  void branch(std::unique_ptr<Text> text, const StepLogits& logits) {
    row_.assign(logits.mature.begin(), logits.mature.end());
    if (dola_) {
      dola_->observe_layers(logits.early);
      dola_->process(row_);
      candidates_.accept({}, row_);
    } else {
      candidates_.filter(model_.execution(), {}, row_, FarBelow::masked);
    }
    const std::span<const TokenId> ids = candidates_.ids();
    std::map<Index, std::vector<float>> entropies;
    std::vector<std::pair<TokenId, std::vector<std::size_t>>> choices;  // a token and the points that choose it
    std::vector<float> scores(ids.size());
    for (const std::size_t point : text->points) {
      const auto [entropy, missing] = entropies.try_emplace(layer_of_[point], ids.size());
      if (missing) read_entropies(layer_of_[point], ids, entropy->second);
      for (std::size_t i = 0; i < ids.size(); ++i)
        scores[i] = row_[static_cast<std::size_t>(ids[i])] - points_[point].alpha * entropy->second[i];
      text->chain.process(ids, scores);
      const TokenId id = ids[static_cast<std::size_t>(argmax(scores))];
      const auto same = std::find_if(choices.begin(), choices.end(), [&](const auto& c) { return c.first == id; });
      if (same != choices.end())
        same->second.push_back(point);
      else
        choices.push_back({id, {point}});
    }
    std::vector<std::unique_ptr<Text>> branches;
    for (std::size_t c = 1; c < choices.size(); ++c) branches.push_back(std::make_unique<Text>(*text));
    branches.insert(branches.begin(), std::move(text));
    for (std::size_t c = 0; c < choices.size(); ++c) {
      branches[c]->points = std::move(choices[c].second);
      if (c != 0) branches[c]->slot = copy_of(branches[0]->slot);
    }
    for (std::size_t c = 0; c < choices.size(); ++c)
      if (append(*branches[c], choices[c].first)) texts_.push_back(std::move(branches[c]));
  }

  void read_entropies(Index layer, std::span<const TokenId> ids, std::vector<float>& entropies) {
    contexts_.at(layer).entropy(ids, entropies);
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (std::isnan(entropies[i]))
        throw ArgumentError("the context entropy of token " + std::to_string(ids[i]) + " at layer " +
                            std::to_string(layer) + " is not a number: its products with the hidden states overflow");
  }

  /// A free sequence made equal to that one, or -1.
  [[nodiscard]] Index copy_of(Index slot) {
    if (free_.empty()) return -1;
    const Index copy = free_.back();
    free_.pop_back();
    char& holds = holds_prompt_[static_cast<std::size_t>(copy)];
    model_.copy_sequence(slot, copy, holds != 0 ? prompt_length() : 0);
    holds = 1;
    return copy;
  }

  /// A sequence with the prompt alone for a text that waited for one; sequence 0 always has the prompt.
  void begin_again(Text& text) {
    text.slot = free_.back();
    free_.pop_back();
    char& holds = holds_prompt_[static_cast<std::size_t>(text.slot)];
    if (holds == 0) model_.copy_sequence(0, text.slot, 0);
    holds = 1;
    model_.rewind(prompt_length(), text.slot);
  }

  /// Whether the text goes on after this token; else its points are done.
  bool append(Text& text, TokenId id) {
    text.chain.observe(std::span<const TokenId>(&id, 1));
    const Index read = prompt_length() + std::ssize(text.text.ids());
    const std::optional<FinishReason> reason =
        text.text.push(id, read == model_.max_context() ? Room::none : Room::some);
    if (reason) end(text, *reason);
    return !reason;
  }

  void cancel(Text& text) {
    text.text.finish();
    end(text, FinishReason::cancelled);
  }

  void end(Text& text, FinishReason reason) {
    if (text.slot >= 0) free_.push_back(text.slot);
    for (const std::size_t point : text.points) {
      results_[point].ids = text.text.ids();
      results_[point].text = text.text.text();
      results_[point].reason = reason;
    }
  }

  Model& model_;
  std::span<const TokenId> prompt_;
  std::span<const GridPoint> points_;
  const GenerationOptions& options_;
  const GenerationCallbacks& callbacks_;
  const Companions& with_;
  const ContextOptions& context_;
  StepForward<Model> forward_;
  std::optional<DolaProcessor> dola_;
  PlausibleCandidates candidates_;
  LayerObserver<> observer_;
  std::map<Index, ContextEntropy> contexts_;  // by layer
  std::vector<Index> layer_of_;               // a point's, as 0..N
  std::vector<Index> free_;                   // sequences
  std::vector<char> holds_prompt_;            // by sequence
  std::vector<std::unique_ptr<Text>> texts_;  // those that go on
  std::vector<float> row_;                    // [V]
  std::vector<GenerationResult> results_;
};

template <class Model>
void check_grid(const Model& model, std::span<const TokenId> prompt, std::span<const GridPoint> points,
                const GenerationOptions& options, const Companions& with) {
  const auto need = [](bool ok, const char* problem) { require(ok, std::string("generate_grid: ") + problem); };
  need(std::visit(
           [](const auto& mode) {
             if constexpr (requires { mode.strategy; }) return mode.strategy == ContextStrategy::entropy;
             return false;
           },
           options.mode),
       "expected mode activation or activation_dola and strategy entropy");
  need(!options.sampling && options.beams.count == 1, "takes the best token, without sampling or beams");
  need(!record_options(options), "makes no records");
  need(context_of(options.mode)->growth == ContextGrowth::prompt, "the context is the prompt");
  GenerationOptions checked = options;
  for (const GridPoint& point : points) {
    std::visit(
        [&](auto& mode) {
          if constexpr (requires { mode.context; }) {
            mode.alpha = point.alpha;
            mode.context.info_layer = point.info_layer;
          }
        },
        checked.mode);
    check_generation(model, std::span(&prompt, 1), checked, with);
  }
}

}  // namespace detail

template <LanguageModel Model, class MakeDecoder>
requires TextDecoder<std::invoke_result_t<MakeDecoder&>> std::vector<GenerationResult> generate_grid(
    Model& model, MakeDecoder&& make_decoder, std::span<const TokenId> prompt, std::span<const GridPoint> points,
    const GenerationOptions& options, const GenerationCallbacks& callbacks, const Companions& with) {
  detail::check_grid(model, prompt, points, options, with);
  if (points.empty()) return {};
  using Decoder = std::invoke_result_t<MakeDecoder&>;
  return detail::GridGeneration<Model, Decoder>(model, prompt, points, options, callbacks, with).run(make_decoder());
}

}  // namespace v0
}  // namespace activation_trace
