// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/task_commands.hpp"

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>

#include "evaluate/run_options.hpp"
#include "evaluate/task.hpp"
#include "support/command_line.hpp"
#include "support/score_settings.hpp"

namespace activation_trace::examples {
namespace {

/// Everything that the options of a task are written to.
struct TaskCommandLine : RunCommandLine {
  detail::RawScoreSettings raw;
  DecodingMode mode = DecodingMode::activation;
  DecodingStrategy strategy = DecodingStrategy::entropy;
};

void add_mode_options(CLI::App& app, TaskCommandLine& line) {
  detail::add_decoding_mode(app, line.mode);
  add_choice<DecodingStrategy>(
      app, "--decoding_strategy,--decoding-strategy", line.strategy,
      {{"entropy", DecodingStrategy::entropy}, {"single_entropy", DecodingStrategy::single_entropy}},
      "what of the context is weighed (default: entropy)");
  if (line.task.traits.scores)
    detail::add_scoring_options(app, line.task.scoring, line.raw);
  else
    detail::add_weighing_options(app, line.task.scoring, line.raw);
  if (!line.task.traits.generates) return;
  app.add_option("--max-new-tokens,--max_new_tokens", line.task.max_new_tokens, "tokens to generate")
      ->capture_default_str()
      ->check(whole_number<Index>(1));
  app.add_option("--repetition_penalty,--repetition-penalty", line.task.repetition_penalty, "1: none")
      ->capture_default_str()
      ->check(positive_number());
}

void refuse_senseless(const CLI::App& app, const TaskCommandLine& line) {
  const auto need = [&](std::initializer_list<const char*> options, bool useful, const std::string& reason) {
    for (const char* name : options) {
      const CLI::Option* option = app.get_option_no_throw(name);
      if (option != nullptr && option->count() != 0 && !useful) throw UsageError(std::string(name) + ": " + reason);
    }
  };
  const ScoreSettings& s = line.task.scoring;
  const std::string mode = "--decoding_mode " + std::string(name(line.mode));
  const bool activation = line.mode == DecodingMode::activation;
  const bool weighs = activation || line.mode == DecodingMode::activation_dola;
  const bool chooses = line.mode == DecodingMode::dola || line.mode == DecodingMode::activation_dola;
  const bool dola = chooses || line.mode == DecodingMode::dola_static;
  const bool single = line.strategy == DecodingStrategy::single_entropy;
  const bool filters = dola || (activation && (!line.task.traits.scores || s.options.filter == ScoreFilter::on));

  need({"--alpha", "--preset"}, weighs, mode + " weighs nothing of the context");
  need({"--alpha"}, !single, "--decoding_strategy single_entropy has no weight");
  need({"--decoding_strategy"}, activation || !single, "single_entropy needs --decoding_mode activation");
  need({"--preset"}, app.count("--alpha") == 0 && app.count("--info_layer") == 0, "sets --alpha and --info_layer");
  need({"--final_norm"}, s.options.info_layer != Index{-1}, "--info_layer -1 is normalised already");
  need({"--premature_layer"}, line.mode == DecodingMode::dola_static, "needs --decoding_mode dola_static");
  if (line.mode == DecodingMode::dola_static && !s.premature_layer)
    throw UsageError(mode + ": needs --premature_layer");
  const bool listed = s.bucket == std::nullopt;  // which the published scripts do with every mode
  need({"--early_exit_layers"}, chooses || (listed && line.mode != DecodingMode::dola_static),
       "needs --decoding_mode dola or activation_dola");
  if (chooses) detail::require_candidate_layers(line.raw, s);
  need({"--divergence"}, chooses, "needs --decoding_mode dola or activation_dola");
  need({"--activation_dola_base"}, line.mode == DecodingMode::activation_dola, "needs --decoding_mode activation_dola");
  need({"--post_softmax"}, dola, "needs a dola mode");
  need({"--filter"}, activation && !single, "needs --decoding_mode activation; the dola modes always filter");
  need({"--relative_top", "--min_tokens_to_keep", "--relative_top_value"}, filters, mode + " leaves no token out");
  need({"--single_entropy"}, single, "needs --decoding_strategy single_entropy");
}

/// --early_exit_layers as typed, for exports; and what the published scripts make of it in modes that compare none.
void take_early_exit_layers(TaskCommandLine& line) {
  ScoreSettings& s = line.task.scoring;
  if (s.bucket) return;
  line.task.early_exit_layers = s.layers;
  line.task.early_exit_layers.push_back(*s.options.mature_layer);
  if (line.mode == DecodingMode::dola || line.mode == DecodingMode::activation_dola) return;
  const bool activation = line.mode == DecodingMode::activation;
  if (!activation) s.options.mature_layer.reset();
  line.published.push_back(std::string("--early_exit_layers (") + std::string(name(line.mode)) + " compares no layers" +
                           (activation ? "; the last one decides)" : ")"));
}

int run(TaskCommandLine& line, const CLI::App& app, Ranks& ranks) {
  ScoreSettings& s = line.task.scoring;
  detail::read_weighing_options(app, line.raw, s);
  refuse_senseless(app, line);
  take_early_exit_layers(line);
  s.columns = {{std::string(name(line.mode)), line.mode, line.strategy}};
  return run_as_told(app, line, ranks);
}

}  // namespace

void add_task_commands(CLI::App& app, Command& command, Ranks& ranks) {
  for (const TaskTraits& traits : all_tasks()) {
    CLI::App* sub = app.add_subcommand(traits.name, traits.summary);
    if (traits.name == kNq) sub->alias(std::string(kNaturalQuestions));
    const auto line = std::make_shared<TaskCommandLine>();
    line->task.traits = traits;
    line->task.max_new_tokens = traits.max_new_tokens;
    line->task.repetition_penalty = traits.repetition_penalty;
    add_run_options(*sub, *line, ranks, "the data set, or a folder with " + std::string(traits.file),
                    ".manifest.json and .summary.json");
    add_mode_options(*sub, *line);
    if (is_qa(traits.name)) add_prompt_style(*sub, line->task.prompt_style);
    sub->callback([line, sub, &command, &ranks] { command = [line, sub, &ranks] { return run(*line, *sub, ranks); }; });
  }
}

}  // namespace activation_trace::examples
