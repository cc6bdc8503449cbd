// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/task_commands.hpp"

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "evaluate/run_options.hpp"
#include "evaluate/task.hpp"
#include "support/command_line.hpp"
#include "support/mode_options.hpp"
#include "support/score_settings.hpp"

namespace activation_trace::examples {
namespace {

/// Everything that the options of a task are written to.
struct TaskCommandLine : RunCommandLine {
  ModeOptions modes{Activation::name, DolaBucket::low};
};

void add_mode_options(CLI::App& app, TaskCommandLine& line) {
  line.modes.add_mode(app);
  line.modes.add_options(app);
  if (line.task.traits.scores) line.modes.add(app, line.task.scoring);
  add_student_options(app, line.task.student);
  if (!line.task.traits.generates) return;
  app.add_option("--max-new-tokens,--max_new_tokens", line.task.max_new_tokens, "tokens to generate")
      ->capture_default_str()
      ->check(whole_number<Index>(1));
  app.add_option("--repetition_penalty,--repetition-penalty", line.task.repetition_penalty, "1: none")
      ->capture_default_str()
      ->check(positive_number());
}

/// What the published scripts make of --early_exit_layers in modes that compare none, and as it was typed, for exports.
void take_early_exit_layers(TaskCommandLine& line) {
  TaskSettings& task = line.task;
  const bool listed = line.modes.early_exit_listed();
  if (listed) task.early_exit_layers = line.modes.early_exit_layers();
  if (compares_layers(task.mode.mode) || !listed) {
    line.modes.check_layers(task.mode);
    return;
  }
  const bool reads = context_of(task.mode.mode) != nullptr;
  if (!reads) std::visit([](auto& mode) { mode.mature_layer.reset(); }, task.mode.mode);
  line.published.push_back("--early_exit_layers (" + line.modes.mode_name() + " compares no layers" +
                           (reads ? "; the last one decides)" : ")"));
}

void take_mode(TaskCommandLine& line, const CLI::App& app) {
  TaskSettings& task = line.task;
  line.modes.read();
  task.mode = line.modes.choose();
  line.modes.apply(task.context);
  line.modes.apply(task.scoring);
  task.scoring.prefill_piece = task.model.batch;
  ScoreOptions scoring = with_mode(task.scoring, task.mode.mode);
  scoring.record = task.context;
  line.modes.refuse_useless(std::span(&task.mode.mode, 1), [&](std::string_view key) {
    return (describes(task.context, key) && key != "context_growth") ||  // whose entropies are recorded
           (task.traits.scores && has_use_in_scoring(scoring, key)) ||
           (task.traits.generates && has_use(task.mode.mode, key)) || is_published(line, line.modes, key);
  });
  take_early_exit_layers(line);
  refuse_senseless_student(app, task.student, std::holds_alternative<Contrastive>(task.mode.mode));
  if (task.traits.scores)
    check_usage(with_mode(scoring, task.mode.mode));
  else
    check_usage(task.mode.mode);
}

int run(TaskCommandLine& line, const CLI::App& app, Ranks& ranks) {
  take_mode(line, app);
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
