// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/presets.hpp"
#include "activation_trace/generation/score_options.hpp"
#include "activation_trace/processors/dola.hpp"
#include "support/command_line.hpp"
#include "support/output_files.hpp"

namespace activation_trace::examples {

/// A column of the table.
struct ScoreColumn {
  std::string title;
  DecodingMode mode;
  DecodingStrategy strategy = DecodingStrategy::entropy;
};

/// What the command line of `score` says, checked as far as it can be without the model.
struct ScoreSettings {
  ModelSettings model;
  std::string prompt;
  std::string prompt_file;  ///< where it came from, or empty
  std::vector<std::string> answers;
  std::vector<ScoreColumn> columns;
  ScoreOptions options;  ///< mode, strategy and layers vary by column
  std::optional<PresetData> preset;
  std::optional<DolaBucket> bucket = DolaBucket::low;  ///< of dola and activation_dola, unless layers are listed
  std::vector<Index> layers;                           ///< of the same
  std::optional<Index> premature_layer;                ///< of dola_static
  /// Of activation_dola; none: as published, the logits in generation and log-probabilities in scoring.
  std::optional<DolaBase> activation_dola_base;
  bool final_norm = false;
  std::optional<std::string> trace;  ///< a file name
  bool overwrite = false;            ///< the trace may replace a file of somebody else
};

/// The settings, or an exit code if there is nothing more to do (--help, --version). Throws UsageError.
[[nodiscard]] std::variant<ScoreSettings, int> parse_score_command_line(int argc, char** argv);

namespace detail {

inline const std::vector<ScoreColumn>& score_columns() {
  static const std::vector<ScoreColumn> all{
      {"baseline", DecodingMode::baseline},
      {"dola_static", DecodingMode::dola_static},
      {"dola", DecodingMode::dola},
      {"activation", DecodingMode::activation},
      {"single_entropy", DecodingMode::activation, DecodingStrategy::single_entropy},
      {"activation_dola", DecodingMode::activation_dola},
  };
  return all;
}

// The modes listed, or all that need no further option.
inline std::vector<ScoreColumn> choose_columns(const std::vector<std::string>& names, const ScoreSettings& s) {
  std::vector<ScoreColumn> chosen;
  for (std::string name : names) {
    std::replace(name.begin(), name.end(), '-', '_');
    const auto& all = score_columns();
    const auto found = std::find_if(all.begin(), all.end(), [&](const ScoreColumn& c) { return c.title == name; });
    if (found == all.end()) {
      std::string words;
      for (const ScoreColumn& column : all) words += (words.empty() ? "" : "|") + column.title;
      throw UsageError("--decoding_mode: expected " + words + ", got " + name);
    }
    chosen.push_back(*found);
  }
  if (names.empty())
    std::copy_if(score_columns().begin(), score_columns().end(), std::back_inserter(chosen),
                 [&](const ScoreColumn& c) { return c.mode != DecodingMode::dola_static || s.premature_layer; });
  return chosen;
}

/// Texts of options that are parsed further.
struct RawScoreSettings {
  std::string span;
  std::string layers;
  Index info_layer = 0;
  Index mature_layer = 0;
  Index premature_layer = 0;
};

/// One of the modes that both generate and score; the default is what `mode` is.
inline void add_decoding_mode(CLI::App& app, DecodingMode& mode) {
  add_choice<DecodingMode>(app, "--decoding_mode,--decoding-mode", mode,
                           {{"baseline", DecodingMode::baseline},
                            {"dola", DecodingMode::dola},
                            {"dola_static", DecodingMode::dola_static},
                            {"activation", DecodingMode::activation},
                            {"activation_dola", DecodingMode::activation_dola}},
                           "what a token's score is (default: " + std::string(name(mode)) + ")");
}

/// How dola and activation_dola choose a layer, and what of it they subtract.
inline void add_dola_options(CLI::App& app, ScoreSettings& s, RawScoreSettings& raw) {
  app.add_option("--early_exit_layers,--early-exit-layers", raw.layers,
                 "candidate layers and last the mature one, 0,2,4,32; or low (default) or high");
  add_choice<LayerDivergence>(
      app, "--divergence", s.options.divergence,
      {{"reference", LayerDivergence::reference}, {"jensen_shannon", LayerDivergence::jensen_shannon}},
      "by which the layer is chosen (default: reference)");
  add_choice<std::optional<DolaBase>>(
      app, "--activation_dola_base,--activation-dola-base", s.activation_dola_base,
      {{"logits", DolaBase::logits}, {"log_probs", DolaBase::log_probs}},
      "what activation_dola subtracts (default, as published: logits in generation, log_probs in scoring)");
}

/// What a mode reads and weighs, in scoring and in generation.
inline void add_weighing_options(CLI::App& app, ScoreSettings& s, RawScoreSettings& raw) {
  ScoreOptions& o = s.options;
  app.add_option("--alpha", o.alpha, "weight of the entropy")->capture_default_str()->check(number(0));
  const auto layer = whole_number<Index>(std::numeric_limits<Index>::min());
  app.add_option("--info_layer,--info-layer", raw.info_layer,
                 "hidden state 0..N that is read, negative from the end (default: 80 % of N)")
      ->check(layer);
  add_choice<std::optional<PresetData>>(app, "--preset", s.preset,
                                        {{"general", PresetData::general},
                                         {"triviaqa", PresetData::triviaqa},
                                         {"hotpotqa", PresetData::hotpotqa},
                                         {"nq", PresetData::nq}},
                                        "the published alpha and info_layer for the model's depth");
  app.add_option("--context-span,--context_span", raw.span, "positions of it that count, BEGIN:END; 1: leaves out BOS");
  app.add_flag("--final_norm,--final-norm", s.final_norm, "normalise the hidden states as before the LM head");
  app.add_option("--relative_top,--relative-top", o.relative_top,
                 "tokens less likely than this times the best one are left out, where a mode filters")
      ->capture_default_str()
      ->check(number(0, 1));
  app.add_option("--min_tokens_to_keep,--min-tokens-to-keep", o.min_tokens_to_keep, "but never fewer than these")
      ->capture_default_str()
      ->check(whole_number<Index>(1));
  add_dola_options(app, s, raw);
  app.add_option("--premature_layer,--premature-layer", raw.premature_layer, "the one of mode dola_static")
      ->check(layer);
  app.add_option("--mature_layer,--mature-layer", raw.mature_layer, "the layer that decides (default: N)")
      ->check(layer);
}

/// The same, and what scoring knows besides.
inline void add_scoring_options(CLI::App& app, ScoreSettings& s, RawScoreSettings& raw) {
  ScoreOptions& o = s.options;
  add_weighing_options(app, s, raw);
  add_choice<ScoreContext>(app, "--context", o.context,
                           {{"whole", ScoreContext::whole}, {"prompt", ScoreContext::prompt}},
                           "what entropies are over: prompt and answer (default: whole), or the prompt");
  add_choice<SingleEntropy>(app, "--single_entropy,--single-entropy", o.single_entropy,
                            {{"reference", SingleEntropy::reference}, {"negated", SingleEntropy::negated}},
                            "the sign of mode single_entropy (default: reference, sharper is lower)");
  add_choice<ScoreFilter>(app, "--filter", o.filter, {{"off", ScoreFilter::off}, {"on", ScoreFilter::on}},
                          "whether activation filters (default: off)");
  app.add_option("--relative_top_value,--relative-top-value", o.relative_top_value, "of a token that it rejects")
      ->capture_default_str()
      ->check(number(-std::numeric_limits<float>::max()));
  add_choice<DolaOutput>(app, "--post_softmax,--post-softmax", o.post_softmax,
                         {{"on", DolaOutput::log_probs}, {"off", DolaOutput::difference}},
                         "whether a dola's differences are normalised again (default: on)");
}

/// --early_exit_layers, which may be the mature layer alone where no candidates are needed.
inline void read_early_exit_layers(const CLI::App& app, const RawScoreSettings& raw, ScoreSettings& s) {
  if (app.count("--early_exit_layers") == 0 || raw.layers == "low") return;
  if (raw.layers == "high") {
    s.bucket = DolaBucket::high;
    return;
  }
  std::optional<Index>& mature = s.options.mature_layer;
  if (mature) throw UsageError("--early_exit_layers: its last layer is the mature one, as is --mature_layer");
  s.layers = parse_layers("--early_exit_layers", raw.layers);
  s.bucket.reset();
  mature = s.layers.back();
  s.layers.pop_back();
}

/// Throws UsageError if dola and activation_dola have nothing to choose among.
inline void require_candidate_layers(const RawScoreSettings& raw, const ScoreSettings& s) {
  if (!s.bucket && s.layers.empty())
    throw UsageError("--early_exit_layers: expected candidate layers and last the mature one, got " + raw.layers);
}

/// Completes `s` from the texts.
inline void read_weighing_options(const CLI::App& app, const RawScoreSettings& raw, ScoreSettings& s) {
  ScoreOptions& o = s.options;
  if (app.count("--info_layer") != 0) o.info_layer = raw.info_layer;
  if (app.count("--mature_layer") != 0) o.mature_layer = raw.mature_layer;
  if (app.count("--premature_layer") != 0) s.premature_layer = raw.premature_layer;
  if (!raw.span.empty()) o.span = parse_span(raw.span);
  o.prefill_piece = s.model.batch;
  read_early_exit_layers(app, raw, s);
}

inline void refuse_senseless(const CLI::App& app, const ScoreSettings& s) {
  const auto any = [&](auto wanted) { return std::any_of(s.columns.begin(), s.columns.end(), wanted); };
  const auto need = [&](std::initializer_list<const char*> options, bool useful, const std::string& reason) {
    for (const char* option : options)
      if (app.count(option) != 0 && !useful) throw UsageError(std::string(option) + ": " + reason);
  };
  const auto is = [](DecodingMode mode) { return [mode](const ScoreColumn& c) { return c.mode == mode; }; };
  const auto plain = [](const ScoreColumn& c) { return c.strategy == DecodingStrategy::entropy; };
  const bool activation = any([&](const ScoreColumn& c) { return c.mode == DecodingMode::activation && plain(c); });
  const bool single = any([&](const ScoreColumn& c) { return !plain(c); });
  const bool dola_static = any(is(DecodingMode::dola_static));
  const bool on_top = any(is(DecodingMode::activation_dola));
  const bool dola = on_top || any(is(DecodingMode::dola));
  const bool filter = s.options.filter == ScoreFilter::on;
  need({"--alpha"}, activation || on_top, "needs --decoding_mode activation or activation_dola");
  need({"--preset"}, activation || on_top || single, "no mode reads the context");
  need({"--info_layer", "--context", "--context-span", "--final_norm"}, activation || on_top || single,
       "no mode reads the context");
  need({"--preset"}, app.count("--alpha") == 0 && app.count("--info_layer") == 0, "sets --alpha and --info_layer");
  need({"--final_norm"}, s.options.info_layer != Index{-1}, "--info_layer -1 is normalised already");
  need({"--premature_layer"}, dola_static, "needs --decoding_mode dola_static");
  if (dola_static && !s.premature_layer) throw UsageError("--decoding_mode dola_static: needs --premature_layer");
  need({"--early_exit_layers", "--divergence"}, dola, "needs --decoding_mode dola or activation_dola");
  need({"--activation_dola_base"}, on_top, "needs --decoding_mode activation_dola");
  need({"--post_softmax"}, dola || dola_static, "needs a dola mode");
  need({"--filter"}, activation, "needs --decoding_mode activation; the dola modes always filter");
  need({"--relative_top", "--min_tokens_to_keep", "--relative_top_value"}, dola || dola_static || filter,
       "no mode filters");
  need({"--single_entropy"}, single, "needs --decoding_mode single_entropy");
}

}  // namespace detail

inline std::variant<ScoreSettings, int> parse_score_command_line(int argc, char** argv) {
  ScoreSettings s;
  detail::RawScoreSettings raw;
  std::vector<std::string> modes;
  bool escape = true;
  CLI::App app("Scores given answers to a prompt by several modes.", "score");
  add_version(app);
  add_model_options(app, s.model);
  CLI::Option* prompt = app.add_option("-p,--prompt", s.prompt, "the prompt; - reads it from standard input");
  app.add_option("-f,--file", s.prompt_file, "a file with the prompt, taken as it is")->excludes(prompt);
  app.add_option("-a,--answer", s.answers, "an answer, usually with a leading space; may be repeated")
      ->required()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_flag("-e,--escape,!--no-escape", escape, "\\n, \\t and the like in -p and -a are escapes (default)");
  app.add_option("--decoding_mode,--decoding-mode", modes, "modes, separated by commas (default: all)")
      ->delimiter(',')
      ->type_name("MODE,...");
  detail::add_scoring_options(app, s, raw);
  app.add_option("--trace", s.trace,
                 "write one JSON object per mode and answer to this file, in place of an earlier one")
      ->check(file_name());
  add_overwrite(app, s.overwrite, "--trace");
  if (const std::optional<int> done = parse(app, argc, argv)) return *done;

  detail::read_weighing_options(app, raw, s);
  detail::require_candidate_layers(raw, s);
  s.columns = detail::choose_columns(modes, s);
  detail::refuse_senseless(app, s);

  read_prompt(app, s.prompt, s.prompt_file, escape);
  for (std::string& answer : s.answers) {
    if (escape) answer = unescaped(answer);
    if (answer.empty()) throw UsageError("--answer: an answer is empty");
  }
  return s;
}

/// The options of one column with a model.
[[nodiscard]] inline ScoreOptions score_options(const ScoreSettings& settings, const ScoreColumn& column,
                                                const Checkpoint& checkpoint) {
  ScoreOptions o = settings.options;
  const Index blocks = checkpoint.config.layers;
  o.mode = column.mode;
  o.strategy = column.strategy;
  if (settings.preset) {
    const Preset recommended = preset(*settings.preset, blocks);
    o.alpha = recommended.alpha;
    o.info_layer = recommended.info_layer;
  }
  if (settings.final_norm) o.final_norm = {checkpoint.weights.final_norm, checkpoint.config.rms_norm_eps};
  if (column.mode == DecodingMode::dola_static) {
    o.candidate_layers = {*settings.premature_layer};
  } else if (column.mode == DecodingMode::dola || column.mode == DecodingMode::activation_dola) {
    const bool tied = checkpoint.weights.lm_head.data() == checkpoint.weights.embedding.data();
    o.candidate_layers = settings.bucket
                             ? dola_layers(*settings.bucket, blocks, tied ? Embeddings::tied : Embeddings::separate)
                             : settings.layers;
  }
  o.activation_dola_base = settings.activation_dola_base.value_or(o.activation_dola_base);
  if (column.mode != DecodingMode::activation || column.strategy != DecodingStrategy::entropy)
    o.filter = ScoreFilter::off;
  return o;
}

/// A generation that weighs what this scoring weighs. Length, penalties and ends are the caller's.
[[nodiscard]] inline GenerationOptions generation_options(const ScoreSettings& settings, const ScoreOptions& o) {
  return {.decoding_mode = o.mode,
          .alpha = o.alpha,
          .info_layer = o.info_layer,
          .relative_top = o.relative_top,
          .min_tokens_to_keep = o.min_tokens_to_keep,
          .context = o.span,
          .final_norm = o.final_norm,
          .prefill_piece = o.prefill_piece,
          .recording = o.recording,
          .strategy = o.strategy,
          .mature_layer = o.mature_layer,
          .candidate_layers = o.candidate_layers,
          .divergence = o.divergence,
          .activation_dola_base = settings.activation_dola_base.value_or(GenerationOptions{}.activation_dola_base),
          .prefix = o.prefix};
}

}  // namespace activation_trace::examples
