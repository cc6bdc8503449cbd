// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/processors/logit_bias.hpp"

namespace activation_trace {
inline namespace v0 {

/// What records are made by; none if the options ask for none. Modes that read a context make records anyway.
[[nodiscard]] inline std::optional<RecordOptions> record_options(const GenerationOptions& options) {
  if (!options.record && !options.alert_entropy) return std::nullopt;
  RecordOptions result = options.record.value_or(RecordOptions{});
  if (const ContextOptions* context = context_of(options.mode)) result.context = *context;
  if (const RelativeTopOptions* filter = filter_of(options.mode)) result.filter = *filter;
  return result;
}

/// The context that a generation reads, the mode's or the records'; none if it reads none.
[[nodiscard]] inline std::optional<ContextOptions> read_context(const GenerationOptions& options) {
  if (const ContextOptions* context = context_of(options.mode)) return *context;
  const std::optional<RecordOptions> record = record_options(options);
  return record ? std::optional(record->context) : std::nullopt;
}

/// What can be said about options without a model. Throws ArgumentError naming the first value that cannot be, or the
/// two that make no sense together. An amateur is not looked for.
void validate(const GenerationOptions& options);

/// Throws ArgumentError for a layer of the mode that a model of `blocks` blocks does not have, or that it names twice.
void check_layers(const Mode& mode, Index blocks);

namespace detail {

inline void validate_values(const GenerationOptions& o) {
  const auto in = [](float x, float low, float high) { return x >= low && x <= high; };
  require(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition_penalty", "a positive number",
          o.repetition_penalty);
  require(std::isfinite(o.presence_penalty), "presence_penalty", "a number", o.presence_penalty);
  require(std::isfinite(o.frequency_penalty), "frequency_penalty", "a number", o.frequency_penalty);
  require(o.max_new_tokens >= 0, "max_new_tokens: must not be negative, got " + std::to_string(o.max_new_tokens));
  require(o.prefill_piece >= 1, "prefill_piece: must be positive, got " + std::to_string(o.prefill_piece));
  require(o.beams.count >= 1, "beams", "at least 1", o.beams.count);
  require(std::isfinite(o.beams.length_penalty), "length_penalty", "a number", o.beams.length_penalty);
  [[maybe_unused]] const LogitBias checked(o.logit_bias);  // throws for a bias that is not a number
  if (o.alert_entropy) require(*o.alert_entropy >= 0, "alert_entropy", "nats >= 0", *o.alert_entropy);
  for (const std::string& stop : o.stop) require(!stop.empty(), "stop: a stop string is empty");
  for (const std::vector<TokenId>& ids : o.stop_sequences) require(!ids.empty(), "stop_sequences: a sequence is empty");
  if (!o.sampling) return;
  const SamplingOptions& s = *o.sampling;
  require(s.temperature > 0 && std::isfinite(s.temperature), "temperature", "a positive number (without sampling: 0)",
          s.temperature);
  require(s.top_k >= 0, "top_k", "at least 0", s.top_k);
  require(s.typical_p > 0 && s.typical_p <= 1, "typical_p", "a number in (0, 1]", s.typical_p);
  require(s.top_p > 0 && s.top_p <= 1, "top_p", "a number in (0, 1]", s.top_p);
  require(in(s.min_p, 0, 1), "min_p", "a number in [0, 1]", s.min_p);
}

inline void validate_beams(const GenerationOptions& o) {
  if (o.beams.count == 1) return;
  require(!o.sampling, "sampling: not with beams, which take the best");
  require(o.stop.empty(), "stop: not with beams, whose texts are known only at the end; stop_sequences are");
  require(!o.alert_entropy, "alert_entropy: not with beams, whose steps have no records");
  require(!o.record, "record: not with beams, whose steps have no records");
  const ContextOptions* context = context_of(o.mode);
  require(context == nullptr || context->growth == ContextGrowth::prompt,
          "context_growth growing: not with beams, which share the context");
}

/// The layer as 0..N whose states are the context. Throws ArgumentError for one that does not exist.
[[nodiscard]] inline Index resolve_info_layer(std::optional<Index> layer, Index blocks) {
  return resolve_layer(layer.value_or(default_info_layer(blocks)), blocks);
}

/// Layers as 0..N, the mature one first. Throws ArgumentError for one that does not exist or is there twice.
std::vector<Index> exit_layers(std::optional<Index> mature_layer, std::span<const Index> candidate_layers,
                               Index blocks);

inline std::vector<Index> exit_layers(const Mode& mode, Index blocks) {
  return exit_layers(mature_layer(mode), premature_layers(mode), blocks);
}

/// Throws ArgumentError unless there is an amateur of that vocabulary just where the mode subtracts one's.
void check_amateur(const Amateur* amateur, const Mode& mode, Index vocab);

/// The rest of validate(): what depends on the model and the prompts.
template <class Model>
void check_generation(const Model& model, std::span<const std::span<const TokenId>> prompts,
                      const GenerationOptions& options, const Companions& with) {
  validate(options);
  const Index vocab = model.config().vocab;
  const Index blocks = model.config().layers;
  const auto check_id = [&](const char* what, TokenId id) {
    require(id >= 0 && id < vocab,
            std::string(what) + ": " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(vocab));
  };
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::string prompt = prompts.size() == 1 ? "prompt" : "prompt " + std::to_string(i);
    const auto count = static_cast<Index>(prompts[i].size());
    require(count != 0, prompt + ": it is empty");
    require(count <= model.max_context(), prompt + ": its " + std::to_string(count) +
                                              " tokens do not fit into a context of " +
                                              std::to_string(model.max_context()));
  }
  for (const TokenId id : options.eos) check_id("eos", id);
  for (const auto& [id, bias] : options.logit_bias) check_id("logit_bias", id);
  check_layers(options.mode, blocks);
  if (const std::optional<ContextOptions> context = read_context(options))
    static_cast<void>(resolve_info_layer(context->info_layer, blocks));
  require(options.beams.count <= model.sequences(), "beams: " + std::to_string(options.beams.count) +
                                                        " need as many sequences of the model, which has " +
                                                        std::to_string(model.sequences()));
  check_amateur(with.amateur, options.mode, vocab);
  if (with.amateur == nullptr) return;
  const Amateur& amateur = *with.amateur;
  require(options.beams.count <= amateur.sequences(), "beams: " + std::to_string(options.beams.count) +
                                                          " need as many sequences of the amateur, which has " +
                                                          std::to_string(amateur.sequences()));
  for (const std::span<const TokenId> prompt : prompts) {
    const auto count = static_cast<Index>(prompt.size());
    const Index needed = std::min(model.max_context(), count + std::min(options.max_new_tokens, model.max_context()));
    require(amateur.max_context() >= needed, "amateur: its context of " + std::to_string(amateur.max_context()) +
                                                 " tokens is too short for the " + std::to_string(needed) +
                                                 " of prompt and answer");
  }
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::vector<Index> exit_layers(std::optional<Index> mature_layer,
                                                                std::span<const Index> candidate_layers, Index blocks) {
  std::vector<Index> layers{resolve_layer(mature_layer.value_or(blocks), blocks)};
  for (const Index candidate : candidate_layers) {
    const Index layer = resolve_layer(candidate, blocks);
    const auto found = std::find(layers.begin(), layers.end(), layer);
    require(found != layers.begin(),
            "candidate_layers: " + std::to_string(candidate) + " is the mature layer, " + std::to_string(layer));
    require(found == layers.end(), "candidate_layers: layer " + std::to_string(layer) + " is there twice");
    layers.push_back(layer);
  }
  return layers;
}

ACTIVATION_TRACE_COMPILED_INLINE void check_amateur(const Amateur* amateur, const Mode& mode, Index vocab) {
  const std::string decoding_mode = "amateur: decoding_mode " + std::string(name(mode));
  const bool needed = needs_amateur(mode);
  require(!needed || amateur != nullptr, decoding_mode + " needs one");
  require(needed || amateur == nullptr, decoding_mode + " has no use for one");
  if (amateur != nullptr)
    require(amateur->vocab() == vocab, "amateur: its vocabulary has " + std::to_string(amateur->vocab()) +
                                           " tokens, the model's " + std::to_string(vocab));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void check_layers(const Mode& mode, Index blocks) {
  detail::exit_layers(mode, blocks);
  if (const ContextOptions* context = context_of(mode))
    static_cast<void>(detail::resolve_info_layer(context->info_layer, blocks));
}

ACTIVATION_TRACE_COMPILED_INLINE void validate(const GenerationOptions& options) {
  detail::validate_values(options);
  validate(options.mode);
  if (options.record) {
    options.record->context.validate();
    options.record->filter.validate();
  }
  detail::validate_beams(options);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
