// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/presets.hpp"
#include "activation_trace/generation/validate.hpp"
#include "activation_trace/processors/dola.hpp"
#include "support/command_line.hpp"
#include "support/output_files.hpp"

namespace activation_trace::examples {

enum class When { never, automatic, always };

/// What the command line of `generate` says, checked as far as it can be without the model.
struct Settings {
  ModelSettings model;
  std::string prompt;       ///< the text itself, wherever it came from
  std::string prompt_file;  ///< where it came from, or empty
  bool chat = false;
  std::string system_prompt;
  GenerationOptions generation;
  std::optional<PresetData> preset;
  std::optional<DolaBucket> bucket;  ///< candidate layers by name
  std::string student;               ///< of contrastive decoding: "ngram", a model, or empty
  bool ignore_prefix = false;        ///< the student is shown the prompt's last token only
  bool ignore_eos = false;
  bool final_norm = false;           ///< the model's final norm in front of the LM head, also for the info layer
  std::optional<std::string> trace;  ///< a file name
  bool new_seed = false;             ///< that the user did not choose and wants to know
  bool overwrite = false;            ///< the trace may replace a file of somebody else
  When color = When::never;
  bool compare = false;
};

/// The settings, or an exit code if there is nothing more to do (--help, --version). Throws UsageError.
[[nodiscard]] std::variant<Settings, int> parse_command_line(int argc, char** argv);

/// Throws UsageError naming the first option that the others leave without a sense.
void refuse_senseless(const CLI::App& app, const Settings& settings);

namespace detail {

/// Texts of options that are parsed further.
struct RawSettings {
  std::string span;
  std::string early_exit_layers;
  std::string candidates;
  Index premature_layer = 0;
  Index mature_layer = 0;
  Index info_layer = 0;
  float temperature = 0;
  float alert = 0;
  SamplingOptions sampling;
  std::vector<std::string> logit_bias;
  bool escape = true;
};

inline std::uint64_t new_seed() {
  std::random_device random;
  return std::uint64_t{random()} << 32 | random();
}

inline void add_prompt_options(CLI::App& app, Settings& s, RawSettings& raw) {
  CLI::Option* prompt = app.add_option("-p,--prompt", s.prompt, "the prompt; - reads it from standard input");
  app.add_option("-f,--file", s.prompt_file, "a file with the prompt, taken as it is")->excludes(prompt);
  app.add_flag("-e,--escape,!--no-escape", raw.escape, "\\n, \\t and the like in -p and --stop are escapes (default)");
  app.add_flag("--chat", s.chat, "wrap the prompt in the model's chat template");
  app.add_option("--system,--system-prompt", s.system_prompt, "the system message of --chat");
  app.add_option("-n,--predict,--n-predict,--max-new-tokens,--max_new_tokens", s.generation.max_new_tokens,
                 "tokens to generate; -1: until the context is full")
      ->capture_default_str()
      ->check(whole_number<Index>(-1));
  app.add_option("--stop,--stop_words,--stop-words,-r,--reverse-prompt", s.generation.stop,
                 "text that ends the answer; may be repeated");
  app.add_flag("--ignore-eos", s.ignore_eos, "go on after the end token");
}

inline void add_mode_options(CLI::App& app, Settings& s, RawSettings& raw) {
  GenerationOptions& g = s.generation;
  app.option_defaults()->group("Decoding mode");
  add_choice<DecodingMode>(app, "--decoding_mode,--decoding-mode", g.decoding_mode,
                           {{"baseline", DecodingMode::baseline},
                            {"dola", DecodingMode::dola},
                            {"dola_static", DecodingMode::dola_static},
                            {"activation", DecodingMode::activation},
                            {"activation_dola", DecodingMode::activation_dola},
                            {"contrastive", DecodingMode::contrastive}},
                           "what a token's score is (default: activation)");
  app.add_option("--relative_top,--relative-top", g.relative_top,
                 "tokens less likely than this times the best one are left out")
      ->capture_default_str()
      ->check(number(0, 1));
  app.add_option("--min_tokens_to_keep,--min-tokens-to-keep", g.min_tokens_to_keep, "but never fewer than these")
      ->capture_default_str()
      ->check(whole_number<Index>(1));

  app.option_defaults()->group("Sharpness");
  app.add_option("--alpha", g.alpha, "weight of the entropy")->capture_default_str()->check(number(0));
  app.add_option("--info_layer,--info-layer", raw.info_layer,
                 "hidden state 0..N that is read, negative from the end (default: 80 % of N)")
      ->check(whole_number<Index>(std::numeric_limits<Index>::min()));
  app.add_option_function<std::string>(
         "--preset",
         [&s](const std::string& text) {
           for (const Preset& p : kPresets)
             if (name(p.data) == text) s.preset = p.data;
           if (!s.preset) throw CLI::ValidationError("--preset", "expected general|triviaqa|hotpotqa|nq, got " + text);
         },
         "the published alpha and info_layer for the model's depth")
      ->type_name("general|triviaqa|hotpotqa|nq");
  add_choice<DecodingStrategy>(app, "--decoding_strategy,--decoding-strategy,--strategy", g.strategy,
                               {{"entropy", DecodingStrategy::entropy},
                                {"single_entropy", DecodingStrategy::single_entropy},
                                {"subject", DecodingStrategy::subject},
                                {"entropy_inverse", DecodingStrategy::entropy_inverse},
                                {"tendency", DecodingStrategy::tendency},
                                {"ema", DecodingStrategy::ema},
                                {"majority_voting", DecodingStrategy::majority_voting}},
                               "what of the context is added (default: entropy)");
  add_choice<StrategyBase>(app, "--strategy_base,--strategy-base", g.strategy_base,
                           {{"log_probs", StrategyBase::log_probs}, {"logits", StrategyBase::logits}},
                           "to what, from subject on: log-probabilities that passed the filter (default), or as "
                           "published the raw logits of all tokens");
  app.add_option("--subject_key,--subject-key", g.subject_key, "position of strategy subject")
      ->check(whole_number<Index>(0));
  app.add_option("--mj_threshold,--mj-threshold", g.majority_threshold, "probability of strategy majority_voting")
      ->check(number(0, 1));
  app.add_option("--context-span,--context_span", raw.span, "positions of the prompt that count, BEGIN:END; 1: no BOS");
  app.add_flag("--final_norm,--final-norm", s.final_norm, "normalise the hidden states as before the LM head");
  add_choice<ContextGrowth>(app, "--context-growth,--context_growth", g.context_growth,
                            {{"prompt", ContextGrowth::prompt}, {"growing", ContextGrowth::growing}},
                            "whether generated tokens join the context (default: prompt)");

  app.option_defaults()->group("DoLa");
  app.add_option("--early_exit_layers,--early-exit-layers", raw.early_exit_layers,
                 "candidate layers and last the mature one, 0,2,4,32; or low or high");
  app.add_option("--candidate_premature_layers,--candidate-premature-layers", raw.candidates, "candidate layers alone");
  const auto layer = whole_number<Index>(std::numeric_limits<Index>::min());
  app.add_option("--premature_layer,--premature-layer", raw.premature_layer, "the one of mode dola_static")
      ->check(layer);
  app.add_option("--mature_layer,--mature-layer", raw.mature_layer, "the layer that decides (default: N)")
      ->check(layer);
  add_choice<LayerDivergence>(
      app, "--divergence", g.divergence,
      {{"reference", LayerDivergence::reference}, {"jensen_shannon", LayerDivergence::jensen_shannon}},
      "by which the layer is chosen (default: reference)");
  add_choice<DolaBase>(app, "--activation_dola_base,--activation-dola-base", g.activation_dola_base,
                       {{"logits", DolaBase::logits}, {"log_probs", DolaBase::log_probs}},
                       "what activation_dola subtracts (default: logits, as published)");

  app.option_defaults()->group("Contrastive");
  app.add_option("--student,--student_model,--student-model", s.student,
                 "the amateur: a model, or ngram (the prompt's)");
  app.add_option("--st_coef,--st-coef,--contrastive_coefficient,--contrastive-coefficient", g.contrastive_coefficient,
                 "weight of the amateur")
      ->capture_default_str()
      ->check(number(0));
  app.add_option("--student_temperature,--student-temperature", g.student_temperature, "divides its logits")
      ->capture_default_str()
      ->check(positive_number());
  app.add_flag("--ignore_prefix,--ignore-prefix", s.ignore_prefix, "it sees the prompt's last token only");
}

inline void add_choice_options(CLI::App& app, Settings& s, RawSettings& raw) {
  GenerationOptions& g = s.generation;
  SamplingOptions& draw = raw.sampling;
  app.option_defaults()->group("Penalties");
  app.add_option("--repetition_penalty,--repetition-penalty,--repeat-penalty", g.repetition_penalty, "1: none")
      ->capture_default_str()
      ->check(positive_number());
  const double most = std::numeric_limits<float>::max();
  app.add_option("--presence_penalty,--presence-penalty", g.presence_penalty, "of generated tokens, 0: none")
      ->check(number(-most));
  app.add_option("--frequency_penalty,--frequency-penalty", g.frequency_penalty, "times their number, 0: none")
      ->check(number(-most));
  app.add_option("-l,--logit-bias,--logit_bias", raw.logit_bias,
                 "ID+BIAS or ID-BIAS, inf allowed: only, or never; may be repeated");

  app.option_defaults()->group("Sampling and beams");
  app.add_option("--temp,--temperature", raw.temperature, "0: the best token; above: drawn")
      ->capture_default_str()
      ->check(number(0));
  app.add_option("--top-k,--top_k", draw.top_k, "0: all")->check(whole_number<Index>(0));
  app.add_option("--top-p,--top_p", draw.top_p, "1: all")->check(number(0, 1));
  app.add_option("--min-p,--min_p", draw.min_p, "0: all")->check(number(0, 1));
  app.add_option("--typical,--typical_p,--typical-p", draw.typical_p, "1: all")->check(number(0, 1));
  app.add_option_function<std::string>(
         "-s,--seed",
         [&s, &draw](const std::string& text) {
           const std::optional<std::uint64_t> seed = parse_number<std::uint64_t>(text);
           s.new_seed = text == "-1";
           if (s.new_seed)
             draw.seed = new_seed();
           else if (seed)
             draw.seed = *seed;
           else
             throw CLI::ValidationError("--seed", "expected a whole number in 0..2^64 - 1 or -1, got " + text);
         },
         "the same seed draws the same text (default: 0); -1: a new one, which is printed")
      ->type_name("UINT");
  app.add_option("--beams,--num_beams,--num-beams", g.beams.count, "texts that are followed at once")
      ->capture_default_str()
      ->check(whole_number<Index>(1, 1024));
  app.add_option("--length_penalty,--length-penalty", g.beams.length_penalty,
                 "a sum is divided by length to this power")
      ->capture_default_str()
      ->check(number(-most));
  add_choice<EarlyStopping>(app, "--early_stopping,--early-stopping", g.beams.early_stopping,
                            {{"no", EarlyStopping::no}, {"yes", EarlyStopping::yes}, {"never", EarlyStopping::never}},
                            "when enough texts have ended (default: no)");

  app.option_defaults()->group("Output");
  app.add_flag("--compare", s.compare, "answer greedily and by the mode, with each token's sharpness");
  app.add_option("--color", s.color,
                 "shade each token by its sharpness: auto (a terminal without NO_COLOR), always, never")
      ->expected(0, 1)
      ->default_str("auto")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, When>{{"auto", When::automatic}, {"always", When::always}, {"never", When::never}}));
  app.add_option("--trace", s.trace, "write one JSON object per token to this file, in place of an earlier trace")
      ->check(file_name());
  add_overwrite(app, s.overwrite, "--trace");
  app.add_option("--alert", raw.alert, "count and trace tokens whose context entropy is above this")->check(number(0));
  app.option_defaults()->group("Options");
}

// The reference's list: premature layers, and last the mature one.
inline void read_layers(const CLI::App& app, const RawSettings& raw, Settings& s) {
  GenerationOptions& g = s.generation;
  if (app.count("--mature_layer") != 0) g.mature_layer = raw.mature_layer;
  if (app.count("--premature_layer") != 0) g.candidate_layers = {raw.premature_layer};
  if (app.count("--candidate_premature_layers") != 0)
    g.candidate_layers = parse_layers("--candidate_premature_layers", raw.candidates);
  if (app.count("--early_exit_layers") == 0) return;
  for (const char* other : {"--premature_layer", "--candidate_premature_layers"})
    if (app.count(other) != 0) throw UsageError("--early_exit_layers: names the same as " + std::string(other));
  if (raw.early_exit_layers == "low" || raw.early_exit_layers == "high") {
    s.bucket = raw.early_exit_layers == "low" ? DolaBucket::low : DolaBucket::high;
    return;
  }
  if (g.mature_layer) throw UsageError("--early_exit_layers: its last layer is the mature one, as is --mature_layer");
  g.candidate_layers = parse_layers("--early_exit_layers", raw.early_exit_layers);
  g.mature_layer = g.candidate_layers.back();
  g.candidate_layers.pop_back();
}

// 29871+1.5, 13-inf
inline std::pair<TokenId, float> parse_logit_bias(const std::string& text) {
  const std::size_t sign = text.find_first_of("+-", 1);
  if (sign != std::string::npos) {
    const std::optional<TokenId> id = parse_number<TokenId>(std::string_view(text).substr(0, sign));
    const std::optional<float> bias = parse_number<float>(std::string_view(text).substr(sign));
    if (id && bias) return {*id, *bias};
  }
  throw UsageError("--logit-bias: expected ID+BIAS or ID-BIAS, got " + text);
}

}  // namespace detail

inline void refuse_senseless(const CLI::App& app, const Settings& s) {
  const GenerationOptions& g = s.generation;
  const auto given = [&](const char* option) { return app.count(option) != 0; };
  const auto need = [&](std::initializer_list<const char*> options, bool useful, const std::string& reason) {
    for (const char* option : options)
      if (given(option) && !useful) throw UsageError(std::string(option) + ": " + reason);
  };
  const std::string mode = "--decoding_mode " + std::string(name(g.decoding_mode));
  const bool weighs = uses_context(g.decoding_mode);
  const bool records = s.trace || s.color != When::never || s.compare || g.alert_entropy;
  const bool baseline = g.decoding_mode == DecodingMode::baseline;
  const bool contrastive = g.decoding_mode == DecodingMode::contrastive;
  const bool chooses = g.decoding_mode == DecodingMode::dola || g.decoding_mode == DecodingMode::activation_dola;

  need({"--system"}, s.chat, "needs --chat");
  need({"--alpha", "--decoding_strategy", "--preset"}, weighs, mode + " weighs nothing of the context");
  need({"--info_layer", "--context-span", "--final_norm", "--context-growth"}, weighs || records,
       mode + " reads no context without --trace, --alert, --color or --compare");
  need({"--relative_top", "--min_tokens_to_keep"}, !baseline || records, mode + " leaves no token out");
  need({"--alpha"}, g.strategy != DecodingStrategy::single_entropy, "--decoding_strategy single_entropy adds nothing");
  need({"--strategy_base"},
       weighs && g.strategy != DecodingStrategy::entropy && g.strategy != DecodingStrategy::single_entropy,
       "needs --decoding_strategy subject, entropy_inverse, tendency, ema or majority_voting");
  need({"--relative_top", "--min_tokens_to_keep"}, g.strategy_base == StrategyBase::log_probs || records,
       "--strategy_base logits leaves no token out");
  need({"--subject_key"}, g.strategy == DecodingStrategy::subject, "needs --decoding_strategy subject");
  need({"--mj_threshold"}, g.strategy == DecodingStrategy::majority_voting,
       "needs --decoding_strategy majority_voting");
  need({"--preset"}, !given("--alpha") && !given("--info_layer"), "sets --alpha and --info_layer");
  need({"--final_norm"}, g.info_layer != Index{-1}, "--info_layer -1 is normalised already");

  need({"--premature_layer"}, g.decoding_mode == DecodingMode::dola_static, "needs --decoding_mode dola_static");
  need({"--candidate_premature_layers"}, chooses, "needs --decoding_mode dola or activation_dola");
  const bool candidates = s.bucket || !g.candidate_layers.empty();
  need({"--early_exit_layers"}, uses_candidate_layers(g.decoding_mode) || !candidates, mode + " compares no layers");
  need({"--divergence"}, chooses, mode + " chooses no layer");
  need({"--activation_dola_base"}, g.decoding_mode == DecodingMode::activation_dola,
       "needs --decoding_mode activation_dola");
  if (chooses && !candidates)
    throw UsageError(mode + ": needs --early_exit_layers (0,2,4,32, low or high) or --candidate_premature_layers");
  if (g.decoding_mode == DecodingMode::dola_static && (s.bucket || g.candidate_layers.size() != 1))
    throw UsageError(mode + ": needs one --premature_layer");

  need({"--student", "--student_temperature", "--st_coef", "--ignore_prefix"}, contrastive,
       "needs --decoding_mode contrastive");
  if (contrastive && s.student.empty()) throw UsageError(mode + ": needs --student, a model or ngram");
  need({"--ignore_prefix"}, s.student != "ngram", "--student ngram has nothing but the prompt");

  need({"--top-k", "--top-p", "--min-p", "--typical", "--seed"}, g.sampling.has_value(),
       "needs --temp above 0: without it the best token is taken");
  const bool search = g.beams.count > 1;
  need({"--length_penalty", "--early_stopping"}, search, "needs --beams above 1");
  need({"--temp"}, !search || !g.sampling, "not with --beams, which takes the best");
  need({"--stop"}, !search, "not with --beams, whose texts are known only at the end");
  need({"--trace", "--alert", "--compare"}, !search, "not with --beams, whose steps have no records");
  need({"--color"}, !search || s.color == When::never, "not with --beams, whose steps have no records");
  need({"--context-growth"}, !search || g.context_growth == ContextGrowth::prompt,
       "growing: not with --beams, which share the context");
  need({"--overwrite"}, s.trace.has_value(), "needs --trace");
  need({"--compare"}, !baseline, "of greedy with itself: choose another --decoding_mode");
  need({"--compare"}, !g.sampling, "not with --temp above 0, whose text is one of many");

  GenerationOptions known = g;
  if (records) known.recording = Recording::always;
  if (s.bucket) known.candidate_layers = {0};  // until the model's depth is known
  try {
    validate(known);
  } catch (const ArgumentError& e) {
    throw UsageError(e.what());
  }
}

inline std::variant<Settings, int> parse_command_line(int argc, char** argv) {
  Settings s;
  GenerationOptions& g = s.generation;
  detail::RawSettings raw;
  CLI::App app("Answers a prompt with a LLaMA, by activation decoding or another mode.", "generate");
  add_version(app);
  add_model_options(app, s.model);
  detail::add_prompt_options(app, s, raw);
  detail::add_mode_options(app, s, raw);
  detail::add_choice_options(app, s, raw);
  if (const std::optional<int> done = parse(app, argc, argv)) return *done;

  if (app.count("--info_layer") != 0) g.info_layer = raw.info_layer;
  if (app.count("--alert") != 0) g.alert_entropy = raw.alert;
  if (!raw.span.empty()) g.context = parse_span(raw.span);
  if (g.max_new_tokens < 0) g.max_new_tokens = std::numeric_limits<Index>::max();
  if (raw.temperature > 0) {
    g.sampling = raw.sampling;
    g.sampling->temperature = raw.temperature;
  }
  for (const std::string& bias : raw.logit_bias) g.logit_bias.push_back(detail::parse_logit_bias(bias));
  detail::read_layers(app, raw, s);
  if (raw.escape)
    for (std::string& stop : g.stop) stop = unescaped(stop);
  for (const std::string& stop : g.stop)
    if (stop.empty()) throw UsageError("--stop: a stop string is empty");
  g.prefill_piece = s.model.batch;
  refuse_senseless(app, s);

  read_prompt(app, s.prompt, s.prompt_file, raw.escape);
  return s;
}

}  // namespace activation_trace::examples
