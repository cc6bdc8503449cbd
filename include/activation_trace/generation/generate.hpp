// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/generation/argmax.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/result.hpp"
#include "activation_trace/generation/stop_strings.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/repetition_penalty.hpp"

namespace activation_trace {
inline namespace v0 {

/// What generate() asks of a model: Llama is one.
template <class M>
concept LanguageModel = requires(M& model, const M& seen, std::span<const TokenId> ids, const LayerObserver& observer,
                                 Index position) {
  { seen.config().layers } -> std::convertible_to<Index>;
  { seen.config().vocab } -> std::convertible_to<Index>;
  { seen.weights().lm_head } -> std::convertible_to<LmHead>;
  { seen.max_context() } -> std::convertible_to<Index>;
  { seen.position() } -> std::convertible_to<Index>;
  { seen.pool() } -> std::convertible_to<ThreadPool&>;
  {model.rewind(position)};
  {model.fill(ids, observer)};
  { model.forward(ids, observer) } -> std::convertible_to<std::span<const float>>;
};

/// What generate() asks of a detokeniser: complete characters as they become known, and at the end the rest.
template <class D>
concept TextDecoder = requires(D& decoder, TokenId id) {
  { decoder.push(id) } -> std::convertible_to<std::string_view>;
  { decoder.finish() } -> std::convertible_to<std::string_view>;
};

/// Continues `prompt`, greedily or by activation decoding (ALGORITHMS.md 1). The model starts at position 0 and is
/// left with prompt and answer in its cache, except for the last token chosen. Equal scores: the lowest id.
///
/// Throws ArgumentError for an empty prompt, one that is longer than the model's context, an info layer that does not
/// exist, and other options that cannot be; and what the model, the decoder or a callback throws.
template <LanguageModel Model, TextDecoder Decoder>
GenerationResult generate(Model& model, Decoder&& decoder, std::span<const TokenId> prompt,
                          const GenerationOptions& options, const GenerationCallbacks& callbacks = {});

namespace detail {

/// The choice of one token after another: the part of generate() that knows scores and no text.
class TokenChooser {
 public:
  TokenChooser(const GenerationOptions& options, Index vocab, ThreadPool& pool)
      : options_(options),
        penalty_(options.repetition_penalty, vocab),
        processor_({.alpha = activation() ? options.alpha : 0,
                    .relative_top = options.relative_top,
                    .min_tokens_to_keep = options.min_tokens_to_keep,
                    .context = options.context,
                    .final_norm = options.final_norm},
                   pool) {
    scores_.reserve(static_cast<std::size_t>(vocab));
    kept_.reserve(1024);
  }

  [[nodiscard]] bool activation() const { return options_.decoding_mode == DecodingMode::activation; }
  [[nodiscard]] bool records() const { return activation() || options_.recording == Recording::always; }
  [[nodiscard]] EntropySharpnessProcessor<>& processor() { return processor_; }
  [[nodiscard]] const StepRecord& record() const { return record_; }

  /// Ids that the repetition penalty is to know.
  void observe(std::span<const TokenId> ids) { penalty_.observe(ids); }

  TokenId choose(std::span<const float> logits) {
    if (activation()) return by_sharpness(logits);
    const TokenId id = by_logit(logits);
    if (records()) record_baseline(logits, id);
    return id;
  }

 private:
  std::span<float> copy(std::span<const float> logits) {
    scores_.assign(logits.begin(), logits.end());
    return scores_;
  }

  TokenId by_logit(std::span<const float> logits) {
    if (options_.repetition_penalty == 1) return static_cast<TokenId>(argmax(logits));
    const std::span<float> scores = copy(logits);
    penalty_.process(scores);
    return static_cast<TokenId>(argmax(scores));
  }

  // Everything that the filter masked is -inf and stays so under the penalty: only survivors are looked at.
  TokenId by_sharpness(std::span<const float> logits) {
    kept_ = processor_.process(copy(logits)).kept;
    if (kept_.empty()) throw ArgumentError("logits: none is above -inf");
    const SharpnessCandidate* best = nullptr;
    const SharpnessCandidate* plain = nullptr;
    float plain_score = 0;
    for (SharpnessCandidate& c : kept_) {
      c.score = penalty_.penalised(c.id, c.score);
      const float score = penalty_.penalised(c.id, c.log_prob);
      if (best == nullptr || c.score > best->score) best = &c;
      if (plain == nullptr || score > plain_score) {
        plain = &c;
        plain_score = score;
      }
    }
    record_ = {.kept = kept_, .chosen = *best, .without_entropy = plain->id};
    return best->id;
  }

  void record_baseline(std::span<const float> logits, TokenId id) {
    const auto logit = [&](TokenId token) { return logits[static_cast<std::size_t>(token)]; };
    kept_ = processor_.process(copy(logits)).kept;
    // The penalty may have chosen a token that the filter masked: its log-probability follows from another's.
    const SharpnessCandidate reference = kept_.front();
    const float log_prob = reference.log_prob + (logit(id) - logit(reference.id));
    for (SharpnessCandidate& c : kept_) c.score = penalty_.penalised(c.id, logit(c.id));
    record_ = {.kept = kept_,
               .chosen = {.id = id,
                          .log_prob = id == reference.id ? reference.log_prob : log_prob,
                          .entropy = processor_.state(id).entropy(),
                          .score = penalty_.penalised(id, logit(id))},
               .without_entropy = id};
  }

  const GenerationOptions& options_;
  RepetitionPenalty penalty_;
  EntropySharpnessProcessor<> processor_;
  std::vector<float> scores_;             // [V]
  std::vector<SharpnessCandidate> kept_;  // scores after the penalty
  StepRecord record_;
};

template <class Model>
void check_generation(const Model& model, std::span<const TokenId> prompt, const GenerationOptions& options) {
  const auto count = static_cast<Index>(prompt.size());
  if (count == 0) throw ArgumentError("prompt: it is empty");
  if (count > model.max_context())
    throw ArgumentError("prompt: its " + std::to_string(count) + " tokens do not fit into a context of " +
                        std::to_string(model.max_context()));
  for (const TokenId id : options.eos)
    if (id < 0 || id >= model.config().vocab)
      throw ArgumentError("eos: " + std::to_string(id) + " is not in the vocabulary of " +
                          std::to_string(model.config().vocab));
  if (options.max_new_tokens < 0)
    throw ArgumentError("max_new_tokens: must not be negative, got " + std::to_string(options.max_new_tokens));
  if (options.prefill_piece < 1)
    throw ArgumentError("prefill_piece: must be positive, got " + std::to_string(options.prefill_piece));
}

}  // namespace detail

template <LanguageModel Model, TextDecoder Decoder>
GenerationResult generate(Model& model, Decoder&& decoder, std::span<const TokenId> prompt,
                          const GenerationOptions& options, const GenerationCallbacks& callbacks) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };

  detail::check_generation(model, prompt, options);
  const Index layer =
      resolve_layer(options.info_layer.value_or(default_info_layer(model.config().layers)), model.config().layers);
  detail::TokenChooser chooser(options, model.config().vocab, model.pool());
  chooser.observe(prompt);
  StopStrings stops(options.stop);
  const LmHead lm_head = model.weights().lm_head;
  LayerObserver observer;
  if (chooser.records()) {
    observer.layers = {layer};
    observer.on_states = [&](Index, Index, MatrixView<const float> states) {
      chooser.processor().observe_context(states, lm_head);
    };
  }

  GenerationResult result;
  const auto total = static_cast<Index>(prompt.size());
  const Index room = std::min(options.max_new_tokens, model.max_context() - total + 1);
  result.ids.reserve(static_cast<std::size_t>(room));

  // Prefill.
  const Clock::time_point prefill_start = Clock::now();
  model.rewind(0);
  std::span<const float> logits;
  for (std::size_t done = 0; done < prompt.size() && options.max_new_tokens > 0;) {
    if (callbacks.stop.stop_requested()) {
      result.reason = FinishReason::cancelled;
      return result;
    }
    const std::size_t count = std::min(prompt.size() - done, static_cast<std::size_t>(options.prefill_piece));
    const std::span<const TokenId> piece = prompt.subspan(done, count);
    done += count;
    if (done < prompt.size())
      model.fill(piece, observer);
    else
      logits = model.forward(piece, observer);
    if (callbacks.on_prefill) callbacks.on_prefill(static_cast<Index>(done), total);
  }
  result.prefill_seconds = seconds_since(prefill_start);

  const Clock::time_point decode_start = Clock::now();
  const LayerObserver nobody;  // generated tokens do not join the context
  bool finished = options.max_new_tokens == 0;
  for (Index step = 0; !finished; ++step) {
    if (callbacks.stop.stop_requested()) {
      result.reason = FinishReason::cancelled;
      break;
    }
    const TokenId id = chooser.choose(logits);
    result.ids.push_back(id);
    const std::size_t before = result.text.size();
    finished = true;
    if (std::find(options.eos.begin(), options.eos.end(), id) != options.eos.end()) {
      result.reason = FinishReason::eos;
    } else {
      result.text += stops.push(decoder.push(id));
      if (stops.found())
        result.reason = FinishReason::stop_string;
      else if (step + 1 == options.max_new_tokens)
        result.reason = FinishReason::length;
      else if (model.position() == model.max_context())
        result.reason = FinishReason::context_full;
      else
        finished = false;
    }
    if (finished) {
      result.text += stops.push(decoder.finish());
      result.text += stops.finish();
    }
    if (callbacks.on_token &&
        callbacks.on_token({.step = step,
                            .id = id,
                            .text = std::string_view(result.text).substr(before),
                            .record = chooser.records() ? &chooser.record() : nullptr}) == Continue::no &&
        !finished) {
      result.reason = FinishReason::cancelled;
      break;
    }
    if (finished) break;
    chooser.observe(std::span<const TokenId>(&id, 1));
    logits = model.forward(std::span<const TokenId>(&id, 1), nobody);
  }
  if (result.reason == FinishReason::cancelled) {
    result.text += stops.push(decoder.finish());
    result.text += stops.finish();
  }
  result.decode_seconds = seconds_since(decode_start);
  return result;
}

}  // namespace v0
}  // namespace activation_trace
