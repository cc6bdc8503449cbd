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

#include "activation_trace/error.hpp"
#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/processors/logit_bias.hpp"

namespace activation_trace {
inline namespace v0 {

/// Whether the mode compares candidate layers.
[[nodiscard]] constexpr bool uses_candidate_layers(DecodingMode mode) {
  return mode == DecodingMode::dola_static || mode == DecodingMode::dola || mode == DecodingMode::activation_dola;
}

/// Whether the mode reads the context's hidden states.
[[nodiscard]] constexpr bool uses_context(DecodingMode mode) {
  return mode == DecodingMode::activation || mode == DecodingMode::activation_dola;
}

/// Whether every step has a record beyond what the mode needs.
[[nodiscard]] inline bool records_always(const GenerationOptions& options) {
  return options.recording == Recording::always || options.alert_entropy.has_value();
}

/// What can be said about options without a model. Throws ArgumentError naming the first value that cannot be, or the
/// two that make no sense together. An amateur is not looked for.
void validate(const GenerationOptions& options);

namespace detail {

template <class Number>
void require(bool ok, const char* option, const char* expected, Number found) {
  if (!ok) throw ArgumentError(std::string(option) + ": expected " + expected + ", got " + std::to_string(found));
}

inline void require(bool ok, const std::string& problem) {
  if (!ok) throw ArgumentError(problem);
}

inline void validate_values(const GenerationOptions& o) {
  const auto in = [](float x, float low, float high) { return x >= low && x <= high; };
  require(o.alpha >= 0 && std::isfinite(o.alpha), "alpha", "a number >= 0", o.alpha);
  require(in(o.relative_top, 0, 1), "relative_top", "a number in [0, 1]", o.relative_top);
  require(o.min_tokens_to_keep >= 1, "min_tokens_to_keep", "at least 1", o.min_tokens_to_keep);
  require(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition_penalty", "a positive number",
          o.repetition_penalty);
  require(std::isfinite(o.presence_penalty), "presence_penalty", "a number", o.presence_penalty);
  require(std::isfinite(o.frequency_penalty), "frequency_penalty", "a number", o.frequency_penalty);
  require(o.max_new_tokens >= 0, "max_new_tokens: must not be negative, got " + std::to_string(o.max_new_tokens));
  require(o.prefill_piece >= 1, "prefill_piece: must be positive, got " + std::to_string(o.prefill_piece));
  require(o.subject_key >= 0, "subject_key", "a position >= 0", o.subject_key);
  require(in(o.majority_threshold, 0, 1), "majority_threshold", "a number in [0, 1]", o.majority_threshold);
  require(o.contrastive_coefficient >= 0 && std::isfinite(o.contrastive_coefficient), "contrastive_coefficient",
          "a number >= 0", o.contrastive_coefficient);
  require(o.student_temperature > 0 && std::isfinite(o.student_temperature), "student_temperature", "a positive number",
          o.student_temperature);
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

inline void validate_mode(const GenerationOptions& o) {
  const std::string mode = "decoding_mode " + std::string(name(o.decoding_mode));
  const std::size_t candidates = o.candidate_layers.size();
  if (o.decoding_mode == DecodingMode::dola_static)
    require(candidates == 1, "candidate_layers: " + mode + " takes one, got " + std::to_string(candidates));
  else if (uses_candidate_layers(o.decoding_mode))
    require(candidates != 0, "candidate_layers: " + mode + " needs at least one");
  else
    require(candidates == 0, "candidate_layers: " + mode + " has no use for them");

  const std::string strategy = "strategy " + std::string(name(o.strategy));
  const bool plain = o.strategy == DecodingStrategy::entropy || o.strategy == DecodingStrategy::single_entropy;
  if (o.decoding_mode == DecodingMode::activation_dola)
    require(plain, strategy + ": " + mode + " knows entropy and single_entropy only");
  else if (o.decoding_mode != DecodingMode::activation)
    require(o.strategy == DecodingStrategy::entropy, strategy + ": " + mode + " has none");
  require(o.strategy_base == StrategyBase::log_probs || !plain,
          "strategy_base logits: " + strategy + " is added to log-probabilities");
  require(o.amateur == nullptr || o.decoding_mode == DecodingMode::contrastive,
          "amateur: " + mode + " has no use for one");

  if (o.context_growth == ContextGrowth::growing) {
    require(uses_context(o.decoding_mode) || records_always(o),
            "context_growth growing: " + mode + " without records reads no context");
    require(o.context.end == std::numeric_limits<Index>::max(), "context_growth growing: the context span ends at " +
                                                                    std::to_string(o.context.end) +
                                                                    ", so nothing would join it");
  }
}

inline void validate_beams(const GenerationOptions& o) {
  if (o.beams.count == 1) return;
  require(!o.sampling, "sampling: not with beams, which take the best");
  require(o.stop.empty(), "stop: not with beams, whose texts are known only at the end; stop_sequences are");
  require(!o.alert_entropy, "alert_entropy: not with beams, whose steps have no records");
  require(o.recording == Recording::as_needed, "recording: not with beams, whose steps have no records");
  require(o.context_growth == ContextGrowth::prompt, "context_growth growing: not with beams, which share the context");
}

/// The layer as 0..N whose states are the context. Throws ArgumentError for one that does not exist.
[[nodiscard]] inline Index resolve_info_layer(std::optional<Index> layer, Index blocks) {
  return resolve_layer(layer.value_or(default_info_layer(blocks)), blocks);
}

/// Layers as 0..N, the mature one first. Throws ArgumentError for one that does not exist or is there twice.
inline std::vector<Index> exit_layers(std::optional<Index> mature_layer, std::span<const Index> candidate_layers,
                                      Index blocks) {
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

inline std::vector<Index> exit_layers(const GenerationOptions& options, Index blocks) {
  return exit_layers(options.mature_layer, options.candidate_layers, blocks);
}

/// The rest of validate(): what depends on the model and the prompts.
template <class Model>
void check_generation(const Model& model, std::span<const std::span<const TokenId>> prompts,
                      const GenerationOptions& options) {
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
  exit_layers(options, blocks);
  const Index info = resolve_info_layer(options.info_layer, blocks);
  require(!options.final_norm || info != blocks,
          "final_norm: the states of info layer " + std::to_string(info) + ", the last, are normalised already");
  require(options.beams.count <= model.sequences(), "beams: " + std::to_string(options.beams.count) +
                                                        " need as many sequences of the model, which has " +
                                                        std::to_string(model.sequences()));
  if (options.decoding_mode != DecodingMode::contrastive) return;
  require(options.amateur != nullptr, "amateur: decoding_mode contrastive needs one");
  const Amateur& amateur = *options.amateur;
  require(amateur.vocab() == vocab, "amateur: its vocabulary has " + std::to_string(amateur.vocab()) +
                                        " tokens, the model's " + std::to_string(vocab));
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

}  // namespace detail

inline void validate(const GenerationOptions& options) {
  detail::validate_values(options);
  detail::validate_mode(options);
  detail::validate_beams(options);
}

}  // namespace v0
}  // namespace activation_trace
