// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/evaluation/run_log.hpp"
#include "activation_trace/text/json.hpp"
#include "activation_trace/text/mapped_file.hpp"
#include "evaluate/record_schema.hpp"
#include "evaluate/records.hpp"
#include "evaluate/task.hpp"

namespace activation_trace::examples {

/// What a run left behind.
struct FinishedRun {
  std::filesystem::path path;
  nlohmann::ordered_json manifest;
  Records records;  ///< with the judgements, if it has been judged

  [[nodiscard]] std::string task() const { return manifest["task"].get<std::string>(); }
  /// Where our own engine was, in the words of the published scripts.
  [[nodiscard]] std::string device() const { return manifest.contains("device") ? "cuda" : "cpu"; }
};

/// Says which engine a manifest's program was, or its judges': our own was not named at first, and neither were its
/// arithmetic and its cache, of which there was one.
template <class Json>
void name_own_engine(Json& manifest) {
  if (!manifest.is_object()) return;
  for (auto& [key, value] : manifest.items()) name_own_engine(value);
  if (!manifest.contains("isa") || manifest.contains("engine")) return;
  manifest.emplace("engine", "own");
  manifest.emplace("arithmetic", "exact");
  manifest.emplace("cache", "f32");
}

/// The file of a run's judgements.
[[nodiscard]] inline std::filesystem::path judgements_path(const std::filesystem::path& run) {
  return run.string() + ".judgements.jsonl";
}

/// Throws FormatError for a file that is missing or damaged, Error for a run that is not finished.
[[nodiscard]] inline FinishedRun read_run(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  const std::string name = path.string();
  if (!fs::exists(path) && fs::exists(name + ".part"))
    throw Error(name + ": the run is not finished; continue it with --resume");
  FinishedRun run{path, {}, {}};
  const MappedFile manifest = MappedFile::open(name + ".manifest.json");
  run.manifest = activation_trace::detail::parse_json<nlohmann::ordered_json>(
      activation_trace::detail::text_of(manifest.bytes()), manifest.name());
  for (const char* key : {"task", "model", "data", "options"})
    if (!run.manifest.is_object() || !run.manifest.contains(key))
      throw FormatError(manifest.name(), "names no '" + std::string(key) + "'");
  if (!run.manifest["task"].is_string()) throw FormatError(manifest.name(), "'task' is not a text");
  for (const char* key : {"model", "data", "options"})
    if (!run.manifest[key].is_object()) throw FormatError(manifest.name(), "'" + std::string(key) + "' is no object");
  if (run.manifest["data"].contains("samples") && !run.manifest["data"]["samples"].is_number_unsigned())
    throw FormatError(manifest.name(), "'data/samples' is no number of samples");
  name_own_engine(run.manifest);
  const RecordCheck check = [task = run.task()](Index, const nlohmann::ordered_json& record) {
    check_record(task, record, Missing::allowed);  // what a reader needs it asks for
  };
  run.records = read_run_records(path, check);
  if (!fs::exists(judgements_path(path))) return run;
  for (const auto& [sample, judgement] : read_run_records(judgements_path(path), check)) {
    const auto found = run.records.find(sample);
    if (found == run.records.end())
      throw FormatError(judgements_path(path).string(),
                        "judges sample " + std::to_string(sample) + ", which the run lacks");
    found->second.update(judgement);
  }
  return run;
}

/// Of the manifest's options; null if it has none of that name.
[[nodiscard]] inline nlohmann::ordered_json option_of(const FinishedRun& run, const char* key) {
  const nlohmann::ordered_json& options = run.manifest["options"];
  return options.is_object() ? options.value(key, nlohmann::ordered_json()) : nullptr;
}

/// What the run was of, as text, or nothing.
[[nodiscard]] inline std::string model_name(const FinishedRun& run) {
  const nlohmann::ordered_json& model = run.manifest["model"];
  return model.is_object() && model.contains("path") && model["path"].is_string() ? model["path"].get<std::string>()
                                                                                  : std::string();
}

/// What a record asks, in whatever form its task does.
[[nodiscard]] inline std::string question_of(const nlohmann::ordered_json& record) {
  for (const char* key : {"question", "prompt", "prefix"})
    if (record.contains(key) && record[key].is_string()) return record[key].get<std::string>();
  throw Error("expected a 'question', 'prompt' or 'prefix', found none");
}

[[nodiscard]] inline PromptStyle prompt_style_of(const FinishedRun& run) {
  return option_of(run, "prompt_style") == "zero_shot" ? PromptStyle::zero_shot : PromptStyle::few_shot;
}

/// The whole prompt of a record.
[[nodiscard]] inline std::string prompt_of(const FinishedRun& run, const nlohmann::ordered_json& record) {
  const std::string question = question_of(record);
  const Task* task = find_task(run.task());
  return task != nullptr && task->prompt != nullptr ? task->prompt(question, prompt_style_of(run)) : question;
}

/// The answers that a multiple-choice record chose among, true ones first.
[[nodiscard]] inline std::vector<std::pair<std::string, double>> choices_of(const nlohmann::ordered_json& record) {
  std::vector<std::pair<std::string, double>> choices;
  for (const char* kind : {"true", "false"})
    for (const nlohmann::ordered_json& answer : record.at(kind))
      choices.emplace_back(answer.at("text").get<std::string>(), value_of("score")(answer));
  return choices;
}

/// The answer that was generated, or the first of the choices with the highest score.
[[nodiscard]] inline std::string answer_of(const nlohmann::ordered_json& record) {
  if (!record.contains("true")) return record.at("answer").get<std::string>();
  const auto choices = choices_of(record);
  return std::max_element(choices.begin(), choices.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

}  // namespace activation_trace::examples
