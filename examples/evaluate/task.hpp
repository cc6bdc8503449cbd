// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "evaluate/records.hpp"

namespace activation_trace::examples {

class Engine;
class TaskRun;
struct FinishedRun;
struct TaskSettings;

/// Puts a data set to a model, which must outlive the result.
using MakeRun = std::function<std::unique_ptr<TaskRun>(Engine& engine)>;

/// A name and what is to be in it.
using NamedContent = std::pair<std::string, std::string>;

/// Where a task's data set is.
struct DataSource {
  const char* file;              ///< its usual name
  const char* folder = nullptr;  ///< where the published scripts have it; null: nowhere
  const char* where;             ///< to get it
};

/// All there is to say about a task: commands, tables, checks and exports come from it, in code that names no task. It
/// is the value NAME of evaluate/tasks/NAME.cpp, which examples/CMakeLists.txt lists.
struct Task {
  std::string_view name;  ///< of its subcommand and in manifests
  const char* summary;    ///< for --help
  DataSource data;
  bool generates = false;
  bool scores = false;       ///< given answers
  Index max_new_tokens = 0;  ///< with this and the next as the published scripts have it
  float repetition_penalty = 1;
  std::string_view dataset_name = {};  ///< what the published script of several data sets calls this one; empty: none
  bool judged = false;                 ///< its answers are what `judge` rates

  /// Reads the data set for one point or, if it sweeps, for `settings.grid`. Throws FormatError naming file and line.
  MakeRun (*read)(const TaskSettings& settings, const std::filesystem::path& file);

  /// The whole prompt of a question; null: the question itself. Of a prompt without styles the style says nothing.
  std::string (*prompt)(std::string_view question, PromptStyle style) = nullptr;
  bool styles = false;  ///< it has the styles of --prompt_style
  Index shots = 0;      ///< demonstrations in it; in style zero_shot none

  /// What its records, and those of its sweep, have at least; null: it has no sweep.
  std::vector<RecordField> (*fields)();
  std::vector<RecordField> (*sweep_fields)() = nullptr;

  /// What is reported of its records, the headline first.
  std::vector<Measure> (*measures)(const Records& records);
  /// The files that the published script writes of such a run; null: there is none.
  std::vector<NamedContent> (*published_files)(const FinishedRun& run) = nullptr;

  [[nodiscard]] bool sweeps() const noexcept { return sweep_fields != nullptr; }
};

/// Every task, in the order of --help.
[[nodiscard]] std::span<const Task* const> all_tasks();

/// Null if there is none of that name.
[[nodiscard]] inline const Task* find_task(std::string_view name) {
  for (const Task* task : all_tasks())
    if (task->name == name) return task;
  return nullptr;
}

/// Throws ArgumentError if there is none of that name.
[[nodiscard]] inline const Task& known_task(std::string_view name) {
  if (const Task* task = find_task(name)) return *task;
  throw ArgumentError("task: '" + std::string(name) + "' is not known");
}

/// The names of the tasks of that kind, as `a, b and c`.
[[nodiscard]] inline std::string names_of_tasks(bool (*wanted)(const Task& task)) {
  std::vector<std::string_view> names;
  for (const Task* task : all_tasks())
    if (wanted(*task)) names.push_back(task->name);
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + std::string(names[i]);
  return text;
}

/// What the manifest of a sweep calls it; before the name of its task.
inline constexpr std::string_view kSweep = "sweep ";

[[nodiscard]] inline bool is_sweep(const nlohmann::ordered_json& manifest) {
  return manifest["task"].get<std::string>().starts_with(kSweep);
}

}  // namespace activation_trace::examples
