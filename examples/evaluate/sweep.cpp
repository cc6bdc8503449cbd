// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/sweep.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/processors/mode_text.hpp"
#include "evaluate/run_options.hpp"
#include "support/command_line.hpp"
#include "support/mode_options.hpp"

namespace activation_trace::examples {
namespace {

struct SweepCommandLine : RunCommandLine {
  std::string task_name;
  std::string alphas = "0,0.2,0.4,0.6,0.8,1";
  std::string layers;
};

std::vector<double> parse_alphas(const std::string& text) {
  const std::optional<std::vector<double>> alphas = OptionText<std::vector<double>>::read(text);
  const auto weighs = [](double x) { return x >= 0 && x <= static_cast<double>(std::numeric_limits<float>::max()); };
  if (!alphas || !std::all_of(alphas->begin(), alphas->end(), weighs))
    throw UsageError("--alphas: expected numbers >= 0 like 0,0.5,1, got " + text);
  return *alphas;
}

void refuse_senseless(const CLI::App& app, const SweepCommandLine& line) {
  const Task& task = *line.settings.task;
  const auto need = [&](const char* option, bool useful) {
    if (app.count(option) != 0 && !useful)
      throw UsageError(std::string(option) + ": means nothing to " + std::string(task.name));
  };
  need("--context", task.scores);
  for (const char* option :
       {"--relative_top", "--min_tokens_to_keep", "--max-new-tokens", "--repetition_penalty", "--prompt_style"})
    need(option, task.generates);
}

/// The mode without what each point of the grid has of its own.
void check_mode(SweepCommandLine& line) {
  TaskSettings& settings = line.settings;
  const Mode& mode = settings.mode.mode;
  if (line.modes.early_exit_given() && !compares_layers(mode))
    throw UsageError("--early_exit_layers: " + ModeOptions::reason(std::span(&mode, 1), "candidate_layers"));
  line.modes.check_layers(settings.mode);
  if (line.modes.early_exit_listed()) settings.early_exit_layers = {-1};  // exports have no use for more
  line.modes.refuse_useless(std::span(&mode, 1), [&](std::string_view key) {
    return is_published(line, key) || describes(mode, key) || key == "context";
  });
  check_usage(mode);
}

int sweep(const CLI::App& app, SweepCommandLine& line, Ranks& ranks) {
  TaskSettings& settings = line.settings;
  settings.task = &known_task(line.task_name);
  line.take_mode();
  check_mode(line);
  refuse_senseless(app, line);
  if (app.count("--max-new-tokens") == 0) settings.max_new_tokens = settings.task->max_new_tokens;
  if (app.count("--repetition_penalty") == 0) settings.repetition_penalty = settings.task->repetition_penalty;
  settings.grid = {parse_alphas(line.alphas), std::nullopt};
  if (line.layers == "all")
    settings.grid->layers.emplace();
  else if (!line.layers.empty())
    settings.grid->layers = parse_layers("--info_layers", line.layers);
  return run_as_told(app, line, ranks);
}

}  // namespace

void add_sweep_command(CLI::App& app, Command& command, Ranks& ranks) {
  const auto line = std::make_shared<SweepCommandLine>();
  TaskSettings& settings = line->settings;
  line->run.parallel = 16;  // of one question
  CLI::App* sub = app.add_subcommand("sweep", "a grid of alpha and info_layer, in little more than one run");
  std::vector<std::string> names;
  for (const Task* task : all_tasks())
    if (task->sweeps()) names.emplace_back(task->name);
  sub->add_option("TASK", line->task_name, CLI::detail::join(names))->required()->check(CLI::IsMember(names));
  add_run_options(*sub, *line, ranks, "the data set", ".manifest.json, .grid.json and .grid.csv");
  const auto weighs = [](const Mode& mode) { return entropy_weight(mode).has_value(); };
  line->modes.add_mode(*sub, weighs);
  line->modes.add_options(*sub, [=](std::string_view key) {  // of those modes what the grid leaves open
    bool wanted = false;
    for_each_mode([&](const auto& mode) { wanted |= weighs(mode) && describes(Mode(mode), key); });
    return wanted && key != "alpha" && key != "info_layer" && key != "decoding_strategy" && key != "strategy_base" &&
           key != "subject_key" && key != "context_growth";
  });
  line->modes.add(*sub, settings.scoring, [](std::string_view key) { return key == "context"; });
  sub->add_option("--alphas", line->alphas, "weights of the entropy")->capture_default_str();
  sub->add_option("--info_layers,--info-layers", line->layers,
                  "hidden states 0..N, or all (default: every second of the upper half)");
  sub->add_option("--max-new-tokens,--max_new_tokens", settings.max_new_tokens, "tokens to generate (default: 20)")
      ->check(whole_number<Index>(1));
  sub->add_option("--repetition_penalty,--repetition-penalty", settings.repetition_penalty, "1: none (default: 1.2)")
      ->check(positive_number());
  add_prompt_style(*sub, settings.prompt_style);
  sub->callback([line, sub, &command, &ranks] { command = [line, sub, &ranks] { return sweep(*sub, *line, ranks); }; });
}

}  // namespace activation_trace::examples
