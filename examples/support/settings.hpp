// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
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
#include "activation_trace/generation/validate.hpp"
#include "support/command_line.hpp"
#include "support/engine_options.hpp"
#include "support/mode_options.hpp"
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
  std::optional<std::chrono::year_month_day> chat_date;  ///< that templates write; none: today, or their own
  GenerationOptions generation;                          ///< its mode once the model is known, see `mode`
  ChosenMode mode;
  RecordOptions record;  ///< of steps, if they are recorded
  StudentSettings student;
  bool ignore_eos = false;
  std::optional<std::string> trace;  ///< a file name
  bool new_seed = false;             ///< that the user did not choose and wants to know
  bool overwrite = false;            ///< the trace may replace a file of somebody else
  When color = When::never;
  bool compare = false;
};

/// The settings, or an exit code if there is nothing more to do (--help, --version). Throws UsageError.
[[nodiscard]] std::variant<Settings, int> parse_command_line(int argc, char** argv);

namespace detail {

/// Texts of options that are parsed further.
struct RawSettings {
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
  app.add_option_function<std::string>(
         "--chat_date,--chat-date", [&s](const std::string& text) { s.chat_date = parse_date("--chat_date", text); },
         "the date that templates write, such as Llama 3.1's (default: today, or the template's own)")
      ->type_name("YYYY-MM-DD");
  app.add_option("-n,--predict,--n-predict,--max-new-tokens,--max_new_tokens", s.generation.max_new_tokens,
                 "tokens to generate; -1: until the context is full")
      ->capture_default_str()
      ->check(whole_number<Index>(-1));
  app.add_option("--stop,--stop_words,--stop-words,-r,--reverse-prompt", s.generation.stop,
                 "text that ends the answer; may be repeated");
  app.add_flag("--ignore-eos", s.ignore_eos, "go on after the end token");
}

inline void add_mode_options(CLI::App& app, Settings& s, ModeOptions& modes) {
  app.option_defaults()->group("Decoding mode");
  modes.add_mode(app);
  modes.add_options(app);
  add_student_options(app, s.student);
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
}

inline void add_output_options(CLI::App& app, Settings& s, RawSettings& raw) {
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

inline void need(const CLI::App& app, std::initializer_list<const char*> options, bool useful,
                 const std::string& reason) {
  for (const char* option : options)
    if (app.count(option) != 0 && !useful) throw UsageError(std::string(option) + ": " + reason);
}

/// Throws UsageError naming the first option that the others leave without a sense.
inline void refuse_senseless(const CLI::App& app, const Settings& s) {
  const GenerationOptions& g = s.generation;
  const bool search = g.beams.count > 1;
  need(app, {"--system", "--chat_date"}, s.chat, "needs --chat");
  need(app, {"--top-k", "--top-p", "--min-p", "--typical", "--seed"}, g.sampling.has_value(),
       "needs --temp above 0: without it the best token is taken");
  need(app, {"--length_penalty", "--early_stopping"}, search, "needs --beams above 1");
  need(app, {"--temp"}, !search || !g.sampling, "not with --beams, which takes the best");
  need(app, {"--stop"}, !search, "not with --beams, whose texts are known only at the end");
  need(app, {"--trace", "--alert", "--compare"}, !search, "not with --beams, whose steps have no records");
  need(app, {"--color"}, !search || s.color == When::never, "not with --beams, whose steps have no records");
  const ContextOptions* context = context_of(s.mode.mode);
  need(app, {"--context-growth"}, !search || context == nullptr || context->growth == ContextGrowth::prompt,
       "growing: not with --beams, which share the context");
  need(app, {"--overwrite"}, s.trace.has_value(), "needs --trace");
  need(app, {"--compare"}, !std::holds_alternative<Baseline>(s.mode.mode),
       "of greedy with itself: choose another --decoding_mode");
  need(app, {"--compare"}, !g.sampling, "not with --temp above 0, whose text is one of many");
}

/// The mode that was chosen. Throws UsageError for options that it has no use for, nor have records.
inline void take_mode(const CLI::App& app, ModeOptions& modes, Settings& s) {
  modes.read();
  s.mode = modes.choose();
  modes.apply(s.record.context);
  modes.apply(s.record.filter);
  modes.check_layers(s.mode);
  const bool recorded = s.trace || s.color != When::never || s.compare || s.generation.alert_entropy;
  modes.refuse_useless(std::span(&s.mode.mode, 1), [&](std::string_view key) {
    if (has_use(s.mode.mode, key)) return true;
    if (!describes(s.record.context, key) && !describes(s.record.filter, key)) return false;
    if (!recorded)
      throw UsageError(ModeOptions::name(key) + ": --decoding_mode " + modes.mode_name() +
                       " has no use for it without --trace, --alert, --color or --compare");
    return true;
  });
  refuse_senseless_student(app, s.student, needs_amateur(s.mode.mode));
  s.generation.mode = s.mode.mode;
  GenerationOptions known = s.generation;
  if (recorded) known.record = s.record;
  refuse_senseless(app, s);
  check_usage(known);
}

}  // namespace detail

inline std::variant<Settings, int> parse_command_line(int argc, char** argv) {
  Settings s;
  GenerationOptions& g = s.generation;
  detail::RawSettings raw;
  ModeOptions modes(Activation::name);
  CLI::App app("Answers a prompt with a LLaMA, by activation decoding or another mode.", "generate");
  add_version(app);
  add_model_options(app, s.model);
  detail::add_prompt_options(app, s, raw);
  detail::add_mode_options(app, s, modes);
  detail::add_choice_options(app, s, raw);
  detail::add_output_options(app, s, raw);
  if (const std::optional<int> done = parse(app, argc, argv)) return *done;

  if (app.count("--alert") != 0) g.alert_entropy = raw.alert;
  if (g.max_new_tokens < 0) g.max_new_tokens = std::numeric_limits<Index>::max();
  if (raw.temperature > 0) {
    g.sampling = raw.sampling;
    g.sampling->temperature = raw.temperature;
  }
  for (const std::string& bias : raw.logit_bias) g.logit_bias.push_back(detail::parse_logit_bias(bias));
  if (raw.escape)
    for (std::string& stop : g.stop) stop = unescaped(stop);
  for (const std::string& stop : g.stop)
    if (stop.empty()) throw UsageError("--stop: a stop string is empty");
  g.prefill_piece = s.model.batch;
  detail::take_mode(app, modes, s);

  read_prompt(app, s.prompt, s.prompt_file, raw.escape);
  return s;
}

}  // namespace activation_trace::examples
