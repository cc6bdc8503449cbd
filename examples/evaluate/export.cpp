// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/export.hpp"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/evaluation/run_log.hpp"
#include "evaluate/finished_run.hpp"
#include "evaluate/published_files.hpp"
#include "evaluate/sha256.hpp"
#include "evaluate/summary.hpp"
#include "support/command_line.hpp"
#include "support/output_files.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;
using activation_trace::detail::json_text;

// lm-evaluation-harness 0.4: results_DATE.json and samples_TASK_DATE.jsonl in a folder named after the model.

Json generation_settings(const FinishedRun& run) {
  Json settings{{"until", Json::array({std::string(kNextQuestion)})}, {"do_sample", false}};
  if (!option_of(run, "max_new_tokens").is_null()) settings["max_gen_toks"] = option_of(run, "max_new_tokens");
  return settings;
}

Json sample_line(const FinishedRun& run, Index sample, const Json& record, const std::vector<Measure>& measures) {
  Json doc = Json::object();
  for (const char* key : {"id", "category", "question", "prompt", "prefix", "subject", "relation", "gold", "best",
                          "correct", "incorrect"})
    if (record.contains(key)) doc[key] = record[key];
  const std::string prompt = prompt_of(run, record);
  Json target;
  Json arguments = Json::object();
  Json responses = Json::array();
  Json filtered = Json::array();
  if (record.contains("true")) {
    Json choices = Json::array();
    Json labels = Json::array();
    for (const char* kind : {"true", "false"})
      for (const Json& answer : record[kind]) {
        const std::string number = std::to_string(choices.size());
        arguments["gen_args_" + number] = {{"arg_0", prompt}, {"arg_1", " " + answer.at("text").get<std::string>()}};
        // The harness's second entry says whether greedy decoding gives the answer, which is not computed here.
        const Json response{json_text(answer.at("score")), "None"};
        responses.push_back(Json::array({response}));
        filtered.push_back(response);
        choices.push_back(answer["text"]);
        labels.push_back(std::string(kind) == "true" ? 1 : 0);
      }
    doc["choices"] = std::move(choices);
    doc["labels"] = std::move(labels);
    target = record["true"].at(record.value("best", std::size_t{0})).at("text");
  } else {
    target = record.contains("gold") ? Json(json_text(record["gold"]))
                                     : doc["correct"].at(doc.value("best", std::size_t{0}));
    arguments["gen_args_0"] = {{"arg_0", prompt}, {"arg_1", generation_settings(run)}};
    responses.push_back(Json::array({record.at("text")}));
    filtered.push_back(record.at("answer"));
  }
  Json line{{"doc_id", sample},
            {"doc", doc},
            {"target", target},
            {"arguments", std::move(arguments)},
            {"resps", std::move(responses)},
            {"filtered_resps", std::move(filtered)},
            {"filter", "none"},
            {"metrics", Json::array()},
            {"doc_hash", sha256(json_text(doc, 2))},
            {"prompt_hash", sha256(prompt)},
            {"target_hash", sha256(target.get<std::string>())}};
  for (const Measure& measure : measures) {
    line["metrics"].push_back(measure.name);
    line[measure.name] = measure.of(record);
  }
  return line;
}

/// Standard error of a mean; nothing of one sample.
Json standard_error(const std::vector<double>& values, double mean) {
  if (values.size() < 2) return "N/A";
  double sum = 0;
  for (const double x : values) sum += (x - mean) * (x - mean);
  const auto n = static_cast<double>(values.size());
  return std::sqrt(sum / (n - 1) / n);
}

std::string sanitized(const std::string& name) {
  // As the harness does: every run of characters that a file name may not have becomes two underscores. A name that
  // would be no folder of its own is not left to it.
  std::string result;
  bool replaced = false;
  for (const char c : name) {
    const bool bad = std::string_view("\"<>:/|\\?*[]").find(c) != std::string_view::npos;
    if (!bad) result += c;
    if (bad && !replaced) result += "__";
    replaced = bad;
  }
  if (result.empty() || result == "." || result == "..") return "__";
  return result;
}

/// When the run ended, so that exporting it again gives the same files.
std::chrono::system_clock::time_point end_of(const FinishedRun& run) {
  return std::chrono::file_clock::to_sys(
      std::chrono::time_point_cast<std::chrono::microseconds>(std::filesystem::last_write_time(run.path)));
}

/// Writes each into `folder`, which is made, and prints where it is. A file that is there and differs may be somebody
/// else's of the same form: it stays unless `overwrite`.
void write_files(const FinishedRun& run, const std::filesystem::path& folder, const std::vector<NamedContent>& files,
                 bool overwrite) {
  const std::string path = run.path.string();
  const InputFiles inputs{path, path + ".manifest.json", judgements_path(run.path)};
  prepare_folder(folder);
  for (const NamedContent& file : files)
    check_output_file("export", folder / file.first, inputs, file.second, overwrite);
  for (const auto& [name, content] : files) {
    write_whole_file(folder / name, content);
    std::printf("%s\n", (folder / name).c_str());
  }
}

/// When the run ended, in seconds since 1970.
double end_seconds(const FinishedRun& run) {
  return std::chrono::duration<double>(end_of(run).time_since_epoch()).count();
}

/// What the harness calls results and higher_is_better of the task.
std::pair<Json, Json> reported_results(const FinishedRun& run, const std::vector<Measure>& reported) {
  Json results{{"alias", run.task()}};
  Json higher = Json::object();
  for (const Measure& measure : reported) {
    const std::vector<double> x = values(measure, run.records);
    double mean = 0;
    for (const double value : x) mean += value / static_cast<double>(x.size());
    results[measure.name + ",none"] = mean;
    results[measure.name + "_stderr,none"] = standard_error(x, mean);
    higher[measure.name] = measure.name != "reject";
  }
  return {std::move(results), std::move(higher)};
}

/// The harness's file of results; `hashes` are those of all samples.
Json results_file(const FinishedRun& run, const std::vector<Measure>& reported, const std::string& hashes) {
  const std::string task = run.task();
  const std::string model = model_name(run);
  const Json shots = prompt_style_of(run) == PromptStyle::zero_shot ? 0 : known_task(task).shots;
  const bool generates = !run.records.begin()->second.contains("true");
  const auto [results, higher] = reported_results(run, reported);
  Json config{{"task", task},
              {"dataset_path", run.manifest["data"].value("path", Json())},
              {"num_fewshot", shots},
              {"output_type", generates ? "generate_until" : "multiple_choice"}};
  if (generates) config["generation_kwargs"] = generation_settings(run);
  config["metadata"] = {{"version", run.manifest.value("version", Json())}, {"options", run.manifest["options"]}};
  const Index count = std::ssize(run.records);
  return {
      {"results", {{task, results}}},
      {"group_subtasks", {{task, Json::array()}}},
      {"configs", {{task, config}}},
      {"versions", {{task, run.manifest.value("version", Json())}}},
      {"n-shot", {{task, shots}}},
      {"higher_is_better", {{task, higher}}},
      {"n-samples", {{task, {{"original", run.manifest["data"].value("samples", Json(count))}, {"effective", count}}}}},
      {"config",
       {{"model", "activation_trace"},
        {"model_args", "pretrained=" + model},
        {"model_sha", run.manifest["model"].value("sha256", Json())},
        {"batch_size", nullptr},
        {"device", run.device()},
        {"limit", option_of(run, "limit")},
        {"gen_kwargs", run.manifest["options"]}}},
      {"git_hash", nullptr},
      {"date", end_seconds(run)},
      {"task_hashes", {{task, sha256(hashes)}}},
      {"model_source", "activation_trace"},
      {"model_name", model},
      {"model_name_sanitized", sanitized(model)},
      {"system_instruction", nullptr},
      {"system_instruction_sha", nullptr},
      {"fewshot_as_multiturn", nullptr},
      {"chat_template", nullptr},
      {"chat_template_sha", nullptr},
      {"start_time", nullptr},
      {"end_time", nullptr},
      {"total_evaluation_time_seconds", nullptr}};
}

void export_lm_eval(const FinishedRun& run, const std::filesystem::path& folder, bool overwrite) {
  const std::string task = run.task();
  const std::vector<Measure> reported = measures(task, run.records);
  std::string samples;
  std::string hashes;
  for (const auto& [sample, record] : run.records) try {
      const Json line = sample_line(run, sample, record, reported);
      for (const char* hash : {"doc_hash", "prompt_hash", "target_hash"}) hashes += line[hash].get<std::string>();
      samples += json_text(line) + '\n';
    } catch (const std::exception& e) {
      throw FormatError(run.path.string(), "sample " + std::to_string(sample) + ": " + e.what());
    }

  const double seconds = end_seconds(run);
  const std::time_t second = std::chrono::system_clock::to_time_t(end_of(run));
  char date[40];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H-%M-%S", std::gmtime(&second));
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%06d", static_cast<int>((seconds - std::floor(seconds)) * 1e6));
  const std::filesystem::path place = folder / sanitized(model_name(run));
  write_files(
      run, place,
      {{"samples_" + task + "_" + date + fraction + ".jsonl", samples},
       {std::string("results_") + date + fraction + ".json", json_text(results_file(run, reported, hashes), 2) + '\n'}},
      overwrite);
}

/// Throws ArgumentError for a file of the run's own.
void export_reference(const FinishedRun& run, const std::filesystem::path& folder, bool overwrite) {
  const std::vector<NamedContent> files = published_files(run);
  const std::filesystem::path own = std::filesystem::weakly_canonical(run.path);
  for (const auto& [name, content] : files)
    if (std::filesystem::weakly_canonical(folder / name) == own)
      throw ArgumentError("--format reference: would write " + (folder / name).string() +
                          " over the run itself; give another folder with --output-path");
  write_files(run, folder, files, overwrite);
}

enum class Format { lm_eval, reference };

struct ExportSettings {
  std::string run;
  bool overwrite = false;
  std::string folder;
  Format format = Format::lm_eval;
};

}  // namespace

void add_export_command(CLI::App& app, Command& command) {
  const auto settings = std::make_shared<ExportSettings>();
  CLI::App* sub = app.add_subcommand("export", "a finished run in the file shapes of others");
  sub->add_option("OUT", settings->run, "--output-path of a finished run")->required();
  add_choice(*sub, "--format", settings->format, {{"lm_eval", Format::lm_eval}, {"reference", Format::reference}},
             "lm-evaluation-harness's results and samples, or the published scripts' files");
  sub->add_option("-o,--output-path,--output_path", settings->folder, "folder of the files (default: OUT's)");
  sub->add_flag("--overwrite", settings->overwrite, "replace files that are there and differ");
  sub->callback([settings, &command] {
    command = [settings] {
      const FinishedRun run = read_run(settings->run);
      if (run.records.empty()) throw ArgumentError(settings->run + ": there are no samples to export");
      const std::filesystem::path folder = settings->folder.empty() ? std::filesystem::absolute(run.path).parent_path()
                                                                    : std::filesystem::path(settings->folder);
      if (settings->format == Format::lm_eval)
        export_lm_eval(run, folder, settings->overwrite);
      else
        export_reference(run, folder, settings->overwrite);
      return 0;
    };
  });
}

}  // namespace activation_trace::examples
