// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/generation/score_options.hpp"
#include "evaluate/emit.hpp"
#include "evaluate/summary.hpp"
#include "support/engine.hpp"
#include "support/mode_options.hpp"

namespace activation_trace::examples {

/// What is asked of a model, sample by sample. A sample's record depends on nothing but the sample and the settings:
/// not on what ran before it or runs beside it.
class Task {
 public:
  virtual ~Task() = default;

  /// Samples of the data set.
  [[nodiscard]] virtual Index size() const = 0;
  /// Positions of the context that sample needs, its answers included.
  [[nodiscard]] virtual Index positions(Index sample) const = 0;
  /// Of a sample's record what comes from the data set: what tells it from the others.
  [[nodiscard]] virtual nlohmann::ordered_json data_of(Index sample) const = 0;
  /// Every option that the results depend on, as it is for this model.
  [[nodiscard]] virtual nlohmann::ordered_json options() const = 0;
  /// Runs `samples`, in any order, until a stop is asked for. What emit() throws ends it.
  virtual void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) = 0;
};

enum class TaskKind { triviaqa, hotpotqa, nq, truthfulqa_mc, truthfulqa_gen, factor, known_facts };

/// What is known of a task without a command line.
struct TaskTraits {
  TaskKind kind;
  const char* name;
  const char* summary;
  const char* file;    ///< its usual name
  const char* folder;  ///< where the published scripts have it; null: nowhere
  const char* where;   ///< to get it
  bool generates;
  bool scores;  ///< given answers
  Index max_new_tokens;
  float repetition_penalty;  ///< as the published scripts have it
};

[[nodiscard]] std::span<const TaskTraits> all_tasks();

inline constexpr std::string_view kNq = "nq";
inline constexpr std::string_view kNaturalQuestions = "natural_questions";  ///< what the published scripts call it

/// Whether a task has a sweep: its questions are answered freely and rated by EM and F1, or it is a multiple choice.
[[nodiscard]] inline bool sweeps(const TaskTraits& task) {
  return is_qa(task.name) || task.kind == TaskKind::truthfulqa_mc;
}

/// The settings of activation decoding that a sweep covers: every alpha at every layer.
struct GridSettings {
  std::vector<double> alphas;
  std::optional<std::vector<Index>> layers;  ///< 0..N; empty: all; none: every second one of the upper half
};

/// What the command line says of a task.
struct TaskSettings {
  TaskTraits traits{};
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
  std::optional<GridSettings> grid;  ///< in place of one alpha and layer, where sweeps() has it
};

/// The data set's file: --data-path, or in it, if that is a folder, a file of the usual name, or else the only one
/// there of its kind. Throws Error for a missing file, saying where to get it.
[[nodiscard]] std::filesystem::path data_file(const TaskSettings& settings);

/// --prompt_style of the questions that are answered freely.
inline void add_prompt_style(CLI::App& app, PromptStyle& style) {
  add_choice<PromptStyle>(app, "--prompt_style,--prompt-style", style,
                          {{"few_shot", PromptStyle::few_shot}, {"zero_shot", PromptStyle::zero_shot}},
                          "two demonstrations (default), or a line of instruction");
}

/// Puts the data set to a model, which must outlive the task.
using MakeTask = std::function<std::unique_ptr<Task>(Engine& engine)>;

/// Reads the data set, before any model. Throws FormatError naming file and line.
[[nodiscard]] MakeTask read_task(const TaskSettings& settings);

}  // namespace activation_trace::examples
