// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/generation/score_options.hpp"
#include "support/command_line.hpp"
#include "support/engine_options.hpp"
#include "support/mode_options.hpp"
#include "support/output_files.hpp"

namespace activation_trace::examples {

/// A column of the table.
struct ScoreColumn {
  std::string title;
  ChosenMode mode;
};

/// What the command line of `score` says, checked as far as it can be without the model.
struct ScoreSettings {
  ModelSettings model;
  std::string prompt;
  std::string prompt_file;  ///< where it came from, or empty
  std::vector<std::string> answers;
  std::vector<ScoreColumn> columns;
  ScoreOptions options;  ///< the mode varies by column
  StudentSettings student;
  std::optional<std::string> trace;  ///< a file name
  bool overwrite = false;            ///< the trace may replace a file of somebody else
};

/// The settings, or an exit code if there is nothing more to do (--help, --version). Throws UsageError.
[[nodiscard]] std::variant<ScoreSettings, int> parse_score_command_line(int argc, char** argv);

/// `options` of a mode: those that activation alone has are off in the others.
[[nodiscard]] inline ScoreOptions with_mode(ScoreOptions options, Mode mode) {
  options.mode = std::move(mode);
  const auto* activation = std::get_if<Activation>(&options.mode);
  if (activation == nullptr || activation->strategy != ContextStrategy::entropy) options.filter = ScoreFilter::off;
  return options;
}

/// Whether an option makes a difference to scores.
[[nodiscard]] inline bool has_use_in_scoring(const ScoreOptions& o, std::string_view key) {
  const auto* activation = std::get_if<Activation>(&o.mode);
  const bool plain = activation != nullptr && activation->strategy == ContextStrategy::entropy;
  if (key == "context") return o.entropies() != nullptr;
  if (key == "filter") return plain;
  if (key == "single_entropy") return activation != nullptr && !plain;
  if (key == "post_softmax") return compares_layers(o.mode);
  if (key == "relative_top" || key == "min_tokens_to_keep" || key == "relative_top_value")
    return filter_of(o.mode) != nullptr && (activation == nullptr || o.filter == ScoreFilter::on);
  return has_use(o.mode, key);
}

namespace detail {

/// Columns for all modes, those that read no context first; the published activation code scores in two ways.
[[nodiscard]] inline std::vector<ScoreColumn> score_columns(const ModeOptions& modes) {
  std::vector<ScoreColumn> columns;
  std::vector<ScoreColumn> reading;
  for_each_mode([&](const auto& mode) {
    ChosenMode chosen = modes.choose(mode.name);
    (context_of(chosen.mode) == nullptr ? columns : reading).push_back({std::string(mode.name), chosen});
    if (auto* activation = std::get_if<Activation>(&chosen.mode)) {
      activation->strategy = ContextStrategy::single_entropy;
      reading.push_back({std::string(name(activation->strategy)), chosen});
    }
  });
  columns.insert(columns.end(), reading.begin(), reading.end());
  return columns;
}

/// The modes listed, or all that need no further option.
[[nodiscard]] inline std::vector<ScoreColumn> choose_columns(const std::vector<std::string>& names,
                                                             const ModeOptions& modes, const StudentSettings& student) {
  std::vector<ScoreColumn> all = score_columns(modes);
  if (names.empty()) {
    std::erase_if(all, [&](const ScoreColumn& c) {
      return (describes(c.mode.mode, "premature_layer") && !modes.given("premature_layer")) ||
             (needs_amateur(c.mode.mode) && student.name.empty());
    });
    return all;
  }
  std::vector<ScoreColumn> chosen;
  for (std::string name : names) {
    std::replace(name.begin(), name.end(), '-', '_');
    const auto found = std::find_if(all.begin(), all.end(), [&](const ScoreColumn& c) { return c.title == name; });
    if (found == all.end()) {
      std::string words;
      for (const ScoreColumn& column : all) words += (words.empty() ? "" : "|") + column.title;
      throw UsageError("--decoding_mode: expected " + words + ", got " + name);
    }
    chosen.push_back(*found);
  }
  return chosen;
}

inline void refuse_senseless(const CLI::App& app, const ModeOptions& options, const ScoreSettings& s) {
  std::vector<Mode> modes;
  for (const ScoreColumn& column : s.columns) {
    modes.push_back(column.mode.mode);
    if (compares_layers(modes.back())) options.check_layers(column.mode);
  }
  const auto any = [&](auto wanted) { return std::any_of(modes.begin(), modes.end(), wanted); };
  options.refuse_useless(modes, [&](std::string_view key) {
    return any([&](const Mode& mode) { return has_use_in_scoring(with_mode(s.options, mode), key); });
  });
  const bool chooses = any([](const Mode& mode) { return describes(mode, "candidate_layers"); });
  if (options.early_exit_given() && !chooses)
    throw UsageError("--early_exit_layers: " + ModeOptions::reason(modes, "candidate_layers"));
  refuse_senseless_student(app, s.student, any(needs_amateur));
  for (const Mode& mode : modes) check_usage(with_mode(s.options, mode));
}

}  // namespace detail

inline std::variant<ScoreSettings, int> parse_score_command_line(int argc, char** argv) {
  ScoreSettings s;
  ModeOptions options(Activation::name, DolaBucket::low);
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
  // A strategy is a column of its own, where it scores at all, and what grows is generated.
  options.add_options(app, [](std::string_view key) {
    return key != "decoding_strategy" && key != "strategy_base" && key != "subject_key" &&
           key != "majority_threshold" && key != "context_growth";
  });
  options.add(app, s.options);
  add_student_options(app, s.student);
  app.add_option("--trace", s.trace,
                 "write one JSON object per mode and answer to this file, in place of an earlier one")
      ->check(file_name());
  add_overwrite(app, s.overwrite, "--trace");
  if (const std::optional<int> done = parse(app, argc, argv)) return *done;

  options.read(true);
  options.apply(s.options);
  s.options.prefill_piece = s.model.batch;
  s.columns = detail::choose_columns(modes, options, s.student);
  detail::refuse_senseless(app, options, s);

  read_prompt(app, s.prompt, s.prompt_file, escape);
  for (std::string& answer : s.answers) {
    if (escape) answer = unescaped(answer);
    if (answer.empty()) throw UsageError("--answer: an answer is empty");
  }
  return s;
}

}  // namespace activation_trace::examples
