// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/task_commands.hpp"

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "evaluate/run_options.hpp"
#include "support/command_line.hpp"
#include "support/mode_options.hpp"
#include "support/score_settings.hpp"

namespace activation_trace::examples {
namespace {

void add_mode_options(CLI::App& app, RunCommandLine& line) {
  TaskSettings& settings = line.settings;
  line.modes.add_mode(app);
  line.modes.add_options(app);
  if (settings.task->scores) line.modes.add(app, settings.scoring);
  add_student_options(app, settings.student);
  if (!settings.task->generates) return;
  app.add_option("--max-new-tokens,--max_new_tokens", settings.max_new_tokens, "tokens to generate")
      ->capture_default_str()
      ->check(whole_number<Index>(1));
  app.add_option("--repetition_penalty,--repetition-penalty", settings.repetition_penalty, "1: none")
      ->capture_default_str()
      ->check(positive_number());
}

/// What the published scripts make of --early_exit_layers in modes that compare none, and as it was typed, for exports.
void take_early_exit_layers(RunCommandLine& line) {
  TaskSettings& settings = line.settings;
  const bool listed = line.modes.early_exit_listed();
  if (listed) settings.early_exit_layers = line.modes.early_exit_layers();
  if (compares_layers(settings.mode.mode) || !listed) {
    line.modes.check_layers(settings.mode);
    return;
  }
  const bool reads = context_of(settings.mode.mode) != nullptr;
  if (!reads) std::visit([](auto& mode) { mode.mature_layer.reset(); }, settings.mode.mode);
  line.published.push_back("--early_exit_layers (" + line.modes.mode_name() + " compares no layers" +
                           (reads ? "; the last one decides)" : ")"));
}

/// Throws UsageError for what makes no sense together.
void check_mode(RunCommandLine& line, const CLI::App& app) {
  const TaskSettings& settings = line.settings;
  const Mode& mode = settings.mode.mode;
  ScoreOptions scoring = with_mode(settings.scoring, mode);
  scoring.record = settings.context;
  line.modes.refuse_useless(std::span(&mode, 1), [&](std::string_view key) {
    return (describes(settings.context, key) && key != "context_growth") ||  // whose entropies are recorded
           (settings.task->scores && has_use_in_scoring(scoring, key)) ||
           (settings.task->generates && has_use(mode, key)) || is_published(line, key);
  });
  take_early_exit_layers(line);
  refuse_senseless_student(app, settings.student, needs_amateur(mode));
  if (settings.task->scores)
    check_usage(with_mode(scoring, mode));
  else
    check_usage(mode);
}

int run(RunCommandLine& line, const CLI::App& app, Ranks& ranks) {
  line.take_mode();
  check_mode(line, app);
  return run_as_told(app, line, ranks);
}

}  // namespace

void add_task_commands(CLI::App& app, Command& command, Ranks& ranks) {
  for (const Task* task : all_tasks()) {
    CLI::App* sub = app.add_subcommand(std::string(task->name), task->summary);
    if (!task->dataset_name.empty() && task->dataset_name != task->name) sub->alias(std::string(task->dataset_name));
    const auto line = std::make_shared<RunCommandLine>();
    line->settings.task = task;
    line->settings.max_new_tokens = task->max_new_tokens;
    line->settings.repetition_penalty = task->repetition_penalty;
    add_run_options(*sub, *line, ranks, "the data set, or a folder with " + std::string(task->data.file),
                    ".manifest.json and .summary.json");
    add_mode_options(*sub, *line);
    if (task->styles) add_prompt_style(*sub, line->settings.prompt_style);
    sub->callback([line, sub, &command, &ranks] { command = [line, sub, &ranks] { return run(*line, *sub, ranks); }; });
  }
}

}  // namespace activation_trace::examples
