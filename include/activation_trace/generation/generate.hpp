// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/beam_search.hpp"
#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/prefix_cache.hpp"
#include "activation_trace/generation/result.hpp"
#include "activation_trace/generation/score_chain.hpp"
#include "activation_trace/generation/text_run.hpp"
#include "activation_trace/generation/validate.hpp"

namespace activation_trace {
inline namespace v0 {

/// Continues `prompt` as `options` say (processors/README.md 1 to 4). The model's sequence 0 starts at position 0 and
/// is left with prompt and answer in its cache, except for the last token chosen; a beam search uses as many sequences
/// as it has beams, and leaves them as they are. Equal scores: the lowest id.
///
/// Throws ArgumentError, before anything is computed, for options that validate() refuses or that do not fit the
/// model, an empty prompt and one that is longer than the model's context; and what the model, the decoder, a
/// processor or a callback throws.
template <LanguageModel Model, class Decoder>
requires TextDecoder<std::remove_reference_t<Decoder>> GenerationResult
generate(Model& model, Decoder&& decoder, std::span<const TokenId> prompt, const GenerationOptions& options,
         const GenerationCallbacks& callbacks = {}, const Companions& with = {});

/// Continues every prompt, as many at once as the model has sequences: when a text ends, the next prompt takes its
/// place. The results are those of generate() one at a time, where prompt i draws from the random stream + i: prompts
/// are read one by one, so contexts and entropies are the same, and decoding together differs by rounding only. With
/// beams one prompt is searched after another. `make_decoder()` gives a decoder for each text. Processors that
/// the caller's chain holds by reference are shared by all texts. Throws as generate(); then no result is returned.
template <LanguageModel Model, class MakeDecoder>
requires TextDecoder<std::invoke_result_t<MakeDecoder&>> std::vector<GenerationResult> generate_batch(
    Model& model, MakeDecoder&& make_decoder, std::span<const std::vector<TokenId>> prompts,
    const GenerationOptions& options, const GenerationCallbacks& callbacks = {}, const Companions& with = {});

namespace detail {

/// The engine of both.
template <LanguageModel Model, class MakeDecoder>
class Generation {
 public:
  Generation(Model& model, MakeDecoder& make_decoder, std::span<const std::span<const TokenId>> prompts,
             const GenerationOptions& options, const GenerationCallbacks& callbacks, const Companions& with)
      : model_(model),
        make_decoder_(make_decoder),
        prompts_(prompts),
        options_(options),
        callbacks_(callbacks),
        with_(with),
        context_(context_source(model, options)),
        slots_(std::min({model.sequences(), static_cast<Index>(prompts.size()),
                         with.amateur != nullptr ? with.amateur->sequences() : model.sequences()})),
        forward_(model, exit_layers(options.mode, model.config().layers), slots_),
        running_(static_cast<std::size_t>(slots_)),
        results_(prompts.size()) {
    sequences_.reserve(running_.size());
    pieces_.reserve(running_.size());
    if constexpr (ChoosesTokens<Model>)
      if (model_may_choose())
        source_ = model.choose_tokens({options, forward_.layers(), context(), slots_, positions()});
  }

  std::vector<GenerationResult> run() {
    for (std::size_t next = 0;;) {
      for (Index slot = 0; slot < slots_; ++slot)
        while (at(slot) == nullptr && next < prompts_.size()) start(slot, next++);
      const bool cancelled = callbacks_.stop.stop_requested();
      sequences_.clear();
      for (Index slot = 0; slot < slots_; ++slot) {
        if (at(slot) == nullptr) continue;
        if (cancelled) {
          at(slot)->cancel();
          finish(slot);
        } else {
          sequences_.push_back(slot);
        }
      }
      if (!sequences_.empty())
        step();
      else if (next == prompts_.size())
        return std::move(results_);
    }
  }

 private:
  using Run = TextRun<std::invoke_result_t<MakeDecoder&>>;
  using Known = MatrixView<const float>;

  [[nodiscard]] std::unique_ptr<Run>& at(Index slot) { return running_[static_cast<std::size_t>(slot)]; }
  [[nodiscard]] Room room(Index slot) const {
    return model_.position(slot) == model_.max_context() ? Room::none : Room::some;
  }
  [[nodiscard]] const ContextSource* context() const { return context_ ? &*context_ : nullptr; }

  // Not where somebody else has a say in it.
  [[nodiscard]] bool model_may_choose() const {
    return with_.amateur == nullptr && (with_.processors == nullptr || with_.processors->empty());
  }
  // Of the longest context.
  [[nodiscard]] Index positions() const {
    std::size_t longest = 0;
    for (const std::span<const TokenId> prompt : prompts_) longest = std::max(longest, prompt.size());
    const Index room_left = model_.max_context() - static_cast<Index>(longest);
    const bool growing = context_ && context_->growth == ContextGrowth::growing;
    return static_cast<Index>(longest) + (growing ? std::min(options_.max_new_tokens, room_left) : 0);
  }

  // One more token of every text that goes on.
  void step() {
    if (source_ != nullptr) {
      const std::span<const TokenId> ids = source_->next(sequences_);
      for (std::size_t i = 0; i < sequences_.size(); ++i)
        if (!at(sequences_[i])->take(ids[i], source_->seen(sequences_[i]), room(sequences_[i]), callbacks_))
          finish(sequences_[i]);
      return;
    }
    pieces_.clear();
    for (const Index slot : sequences_) pieces_.push_back(at(slot)->piece(slot));
    forward_.run(pieces_);
    for (std::size_t p = 0; p < pieces_.size(); ++p) {
      const Index slot = sequences_[p];
      StepLogits logits = forward_[static_cast<Index>(p)];
      if (with_.amateur != nullptr) logits.amateur = with_.amateur->observe(slot, pieces_[p].ids.front());
      if (!at(slot)->step(logits, room(slot), callbacks_)) finish(slot);
    }
  }

  // Reads a prompt, and chooses the first token unless the model does; the slot stays free if that is all.
  void start(Index slot, std::size_t index) {
    const std::span<const TokenId> prompt = prompts_[index];
    const Index vocab = model_.config().vocab;
    ModeProcessor mode(options_.mode, record_options(options_), context_ ? context_->norm : std::nullopt,
                       forward_.early_layers(), vocab, model_.execution());
    ChoiceOptions choice{.sampling = options_.sampling, .alert_entropy = options_.alert_entropy};
    if (choice.sampling) choice.sampling->stream += index;
    TokenChooser chooser(choice, std::move(mode), make_score_chain(options_, with_.processors, vocab), vocab);
    at(slot) = std::make_unique<Run>(static_cast<Index>(index), prompt, make_decoder_(), options_, std::move(chooser),
                                     source_ == nullptr ? context() : nullptr);
    Run& text = *at(slot);
    text.reserve(std::min(options_.max_new_tokens, model_.max_context() - static_cast<Index>(prompt.size()) + 1));
    bool goes_on = options_.max_new_tokens != 0;
    const Index known = goes_on ? enter_prefix(text, slot, prompt) : 0;
    if (known == 0) model_.rewind(0, slot);
    if (goes_on && source_ != nullptr)
      source_->begin(slot, prompt, known != 0 && context_ ? with_.prefix->states(context_->layer) : Known(),
                     choice.sampling ? choice.sampling->stream : 0);
    if (goes_on && !prefill(model_, forward_, slot, prompt.subspan(static_cast<std::size_t>(known)),
                            options_.prefill_piece, text.observer(), callbacks_)) {
      text.cancel();
      goes_on = false;
    }
    text.end_prefill();
    if (goes_on && source_ != nullptr) {
      source_->end_prompt(slot);
    } else if (goes_on) {
      StepLogits logits = forward_[0];
      if (with_.amateur != nullptr) logits.amateur = with_.amateur->begin(slot, prompt);
      goes_on = text.step(logits, room(slot), callbacks_);
    }
    if (!goes_on) finish(slot);
  }

  // The positions of the prompt that need not be computed.
  Index enter_prefix(Run& text, Index slot, std::span<const TokenId> prompt) {
    const Index known = with_.prefix != nullptr ? with_.prefix->covers(prompt) : 0;
    if (known == 0) return 0;
    std::vector<Index> layers;
    if (context_) layers.push_back(context_->layer);
    with_.prefix->enter(model_, slot, layers, options_.prefill_piece);
    text.begin_with(*with_.prefix, model_.execution());
    return known;
  }

  void finish(Index slot) {
    const std::unique_ptr<Run> text = std::move(at(slot));
    GenerationResult& result = results_[static_cast<std::size_t>(text->index())];
    result = text->result();
    if (source_ != nullptr && !result.ids.empty()) {
      const std::span<const Index> histogram = source_->layer_histogram(slot);
      result.layer_histogram.assign(histogram.begin(), histogram.end());
    }
    if (callbacks_.on_finish) callbacks_.on_finish(text->index(), result);
  }

  Model& model_;
  MakeDecoder& make_decoder_;
  std::span<const std::span<const TokenId>> prompts_;
  const GenerationOptions& options_;
  const GenerationCallbacks& callbacks_;
  const Companions& with_;
  std::optional<ContextSource> context_;
  Index slots_;
  StepForward<Model> forward_;
  std::unique_ptr<TokenSource> source_;        // null: tokens are chosen here
  std::vector<std::unique_ptr<Run>> running_;  // by slot
  std::vector<Index> sequences_;               // of the texts that go on
  std::vector<SequencePiece<>> pieces_;        // their last tokens
  std::vector<GenerationResult> results_;
};

template <class Model, class MakeDecoder>
std::vector<GenerationResult> generate_all(Model& model, MakeDecoder& make_decoder,
                                           std::span<const std::span<const TokenId>> prompts,
                                           const GenerationOptions& options, const GenerationCallbacks& callbacks,
                                           const Companions& with) {
  check_generation(model, prompts, options, with);
  if (options.beams.count == 1) return Generation(model, make_decoder, prompts, options, callbacks, with).run();
  std::vector<GenerationResult> results;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto sequence = static_cast<Index>(i);
    results.push_back(BeamSearch(model, prompts[i], options, callbacks, with, sequence).run(make_decoder()));
    if (callbacks.on_finish) callbacks.on_finish(sequence, results.back());
  }
  return results;
}

/// The caller's decoder, as one that can be copied.
template <class Decoder>
struct DecoderReference {
  Decoder* decoder;

  auto push(TokenId id) { return decoder->push(id); }
  auto finish() { return decoder->finish(); }
};

}  // namespace detail

template <LanguageModel Model, class Decoder>
requires TextDecoder<std::remove_reference_t<Decoder>> GenerationResult generate(Model& model, Decoder&& decoder,
                                                                                 std::span<const TokenId> prompt,
                                                                                 const GenerationOptions& options,
                                                                                 const GenerationCallbacks& callbacks,
                                                                                 const Companions& with) {
  const auto reference = [&] { return detail::DecoderReference<std::remove_reference_t<Decoder>>{&decoder}; };
  return std::move(detail::generate_all(model, reference, std::span(&prompt, 1), options, callbacks, with).front());
}

template <LanguageModel Model, class MakeDecoder>
requires TextDecoder<std::invoke_result_t<MakeDecoder&>> std::vector<GenerationResult> generate_batch(
    Model& model, MakeDecoder&& make_decoder, std::span<const std::vector<TokenId>> prompts,
    const GenerationOptions& options, const GenerationCallbacks& callbacks, const Companions& with) {
  const std::vector<std::span<const TokenId>> spans(prompts.begin(), prompts.end());
  return detail::generate_all(model, make_decoder, spans, options, callbacks, with);
}

}  // namespace v0
}  // namespace activation_trace
