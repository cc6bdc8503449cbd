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

/// Whether a step is a choice among the logits and nothing more: no record, no bias, penalty or caller's processor.
[[nodiscard]] inline bool needs_logits_only(const GenerationOptions& options, const Companions& with) {
  GenerationOptions plain = options;
  plain.sampling.reset();
  const auto* const baseline = std::get_if<Baseline>(&options.mode);
  return baseline != nullptr && !baseline->mature_layer && !record_options(options) && with.amateur == nullptr &&
         make_score_chain(plain, with.processors, 1).empty();
}

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
        results_(prompts.size()) {}

  std::vector<GenerationResult> run() {
    std::vector<std::unique_ptr<Run>> running(static_cast<std::size_t>(slots_));
    std::vector<SequencePiece<>> pieces;
    pieces.reserve(running.size());
    for (std::size_t next = 0;;) {
      for (std::size_t slot = 0; slot < running.size(); ++slot)
        while (running[slot] == nullptr && next < prompts_.size())
          running[slot] = start(static_cast<Index>(slot), next++);
      const bool cancelled = callbacks_.stop.stop_requested();
      pieces.clear();
      for (std::size_t slot = 0; slot < running.size(); ++slot) {
        if (running[slot] == nullptr) continue;
        if (cancelled) {
          running[slot]->cancel();
          finish(running[slot]);
        } else {
          pieces.push_back(running[slot]->piece(static_cast<Index>(slot)));
        }
      }
      if (pieces.empty()) {
        if (next == prompts_.size()) return std::move(results_);
        continue;
      }
      forward_.run(pieces);
      for (std::size_t p = 0; p < pieces.size(); ++p) {
        const Index slot = pieces[p].sequence;
        StepLogits logits = forward_[static_cast<Index>(p)];
        if (with_.amateur != nullptr) logits.amateur = with_.amateur->observe(slot, pieces[p].ids.front());
        std::unique_ptr<Run>& text = running[static_cast<std::size_t>(slot)];
        if (!text->step(logits, room(slot), callbacks_)) finish(text);
      }
    }
  }

 private:
  using Run = TextRun<std::invoke_result_t<MakeDecoder&>>;

  [[nodiscard]] Room room(Index slot) const {
    return model_.position(slot) == model_.max_context() ? Room::none : Room::some;
  }

  // Reads a prompt and chooses the first token; null if that is all.
  std::unique_ptr<Run> start(Index slot, std::size_t index) {
    const std::span<const TokenId> prompt = prompts_[index];
    const Index vocab = model_.config().vocab;
    ModeProcessor mode(options_.mode, record_options(options_), context_ ? context_->norm : std::nullopt,
                       forward_.early_layers(), vocab, model_.execution());
    ChoiceOptions choice{.sampling = options_.sampling, .alert_entropy = options_.alert_entropy};
    if (choice.sampling) choice.sampling->stream += index;
    TokenChooser chooser(choice, std::move(mode), make_score_chain(options_, with_.processors, vocab), vocab);
    auto text = std::make_unique<Run>(static_cast<Index>(index), prompt, make_decoder_(), options_, std::move(chooser),
                                      context_ ? &*context_ : nullptr);
    text->reserve(std::min(options_.max_new_tokens, model_.max_context() - static_cast<Index>(prompt.size()) + 1));
    bool goes_on = options_.max_new_tokens != 0;
    const Index known = goes_on ? enter_prefix(*text, slot, prompt) : 0;
    if (known == 0) model_.rewind(0, slot);
    if (goes_on && !prefill(model_, forward_, slot, prompt.subspan(static_cast<std::size_t>(known)),
                            options_.prefill_piece, text->observer(), callbacks_)) {
      text->cancel();
      goes_on = false;
    }
    text->end_prefill();
    if (goes_on && read_whole(*text, slot, choice.sampling)) goes_on = false;
    if (goes_on) {
      StepLogits logits = forward_[0];
      if (with_.amateur != nullptr) logits.amateur = with_.amateur->begin(slot, prompt);
      goes_on = text->step(logits, room(slot), callbacks_);
    }
    if (!goes_on) finish(text);
    return text;
  }

  // Where the model chooses tokens itself, one text at a time: the whole of it.
  bool read_whole(Run& text, Index slot, const std::optional<SamplingOptions>& sampling) {
    if constexpr (ChoosesTokens<Model>) {
      if (slots_ != 1 || !needs_logits_only(options_, with_)) return false;
      const std::unique_ptr<TokenSource> source = model_.choose_tokens(slot, sampling, options_.max_new_tokens);
      if (source == nullptr) return false;
      for (bool goes_on = true; goes_on;) {
        const TokenId id = source->next();
        goes_on = text.take(id, room(slot), callbacks_);
        if (!goes_on || !callbacks_.stop.stop_requested()) continue;
        text.cancel();
        goes_on = false;
      }
      return true;
    }
    return false;
  }

  // The positions of the prompt that need not be computed.
  Index enter_prefix(Run& text, Index slot, std::span<const TokenId> prompt) {
    const Index known = with_.prefix != nullptr ? with_.prefix->covers(prompt) : 0;
    if (known == 0) return 0;
    with_.prefix->enter(model_, slot, text.observer().layers, options_.prefill_piece);
    text.begin_with(*with_.prefix, model_.execution());
    return known;
  }

  void finish(std::unique_ptr<Run>& text) {
    GenerationResult& result = results_[static_cast<std::size_t>(text->index())];
    result = text->result();
    if (callbacks_.on_finish) callbacks_.on_finish(text->index(), result);
    text.reset();
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
