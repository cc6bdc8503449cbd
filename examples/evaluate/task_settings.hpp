// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/generation/score_options.hpp"
#include "evaluate/task.hpp"
#include "support/engine_options.hpp"
#include "support/mode_options.hpp"

namespace activation_trace::examples {

/// The settings of activation decoding that a sweep covers: every alpha at every layer.
struct GridSettings {
  std::vector<double> alphas;
  std::optional<std::vector<Index>> layers;  ///< 0..N; empty: all; none: every second one of the upper half
};

/// What the command line says of a task.
struct TaskSettings {
  const Task* task = nullptr;
  std::string data_path;
  ModelSettings model;
  StudentSettings student;
  ChosenMode mode;
  ContextOptions context;                ///< whose entropies records have in modes that read none
  ScoreOptions scoring;                  ///< what scoring has beside the mode
  std::vector<Index> early_exit_layers;  ///< as typed, in front of what the mode makes of it; none: not typed
  Index limit = 0;                       ///< of samples; 0: none
  Index max_new_tokens = 0;
  float repetition_penalty = 1;
  PromptStyle prompt_style = PromptStyle::few_shot;
  std::optional<GridSettings> grid;  ///< in place of one alpha and layer, where the task sweeps
};

/// The data set's file: --data-path, or in it, if that is a folder, a file of the usual name, or else the only one
/// there of its kind. Throws Error for a missing file, saying where to get it.
[[nodiscard]] inline std::filesystem::path data_file(const TaskSettings& settings) {
  const DataSource& data = settings.task->data;
  std::filesystem::path path = settings.data_path;
  if (std::filesystem::is_directory(path)) {
    const std::filesystem::path usual = path / data.file;
    std::vector<std::filesystem::path> alike;
    for (const auto& entry : std::filesystem::directory_iterator(path))
      if (entry.path().extension() == usual.extension()) alike.push_back(entry.path());
    path = alike.size() == 1 ? alike.front() : usual;
  }
  if (!std::filesystem::exists(path))
    throw Error(path.string() + ": no such file (--data-path says where it is); get the data from " + data.where);
  return path;
}

/// --prompt_style of the questions that are answered freely.
inline void add_prompt_style(CLI::App& app, PromptStyle& style) {
  add_choice<PromptStyle>(app, "--prompt_style,--prompt-style", style,
                          {{"few_shot", PromptStyle::few_shot}, {"zero_shot", PromptStyle::zero_shot}},
                          "two demonstrations (default), or a line of instruction");
}

}  // namespace activation_trace::examples
