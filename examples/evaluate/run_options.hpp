// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "evaluate/published_flags.hpp"
#include "evaluate/ranks.hpp"
#include "evaluate/run.hpp"
#include "evaluate/task_settings.hpp"
#include "support/command_line.hpp"
#include "support/mode_options.hpp"

// The part of the command line that says how a task is run, the same for all of them and for sweeps.
namespace activation_trace::examples {

/// Everything that its options are written to.
struct RunCommandLine {
  TaskSettings settings;
  RunSettings run;
  ModeOptions modes{Activation::name, DolaBucket::low};
  std::string shard;
  std::string parallel;                ///< a number of texts; given and empty: the published scripts' flag
  Index total_shard = 8;               ///< of the same
  std::optional<Index> shard_id;       ///< the same, from 0
  std::vector<std::string> published;  ///< what is to be said of their flags
  bool resume = false;
  bool debug = false;

  /// The mode of the task, and what it has beside it. Throws UsageError.
  void take_mode() {
    modes.read();
    settings.mode = modes.choose();
    modes.apply(settings.context);
    modes.apply(settings.scoring);
    settings.scoring.prefill_piece = settings.model.batch;
  }
};

/// `data` and `beside` are what --help says of the data set, and of the files beside the output's. A sweep has no task
/// yet, but a TASK.
inline void add_run_options(CLI::App& app, RunCommandLine& line, const Ranks& ranks, const std::string& data,
                            const std::string& beside) {
  add_model_options(app, line.settings.model, PublishedGpuOptions::told);
  line.settings.model.threads = ranks.threads();
  CLI::Option* data_path = app.add_option("--data-path,--data_path", line.settings.data_path, data);
  const Task* task = line.settings.task;
  if (task != nullptr && task->data.folder != nullptr) line.settings.data_path = task->data.folder;
  line.settings.data_path.empty() ? data_path->required() : data_path->capture_default_str();
  app.add_option("--output-path,--output_path", line.run.output_path,
                 "JSON lines, one per sample; its folder is made; beside it " + beside)
      ->required();
  app.add_flag("--resume", line.resume, "go on with the run that is there");
  app.add_option("--limit", line.settings.limit, "only so many samples, the first")->check(whole_number<Index>(1));
  const auto debug = [&line](const std::string& text) {
    if (text != "True" && text != "False") throw CLI::ValidationError("--debug", "expected True or False, got " + text);
    line.debug = text == "True";
  };
  app.add_option_function<std::string>("--debug", debug, "--limit 20; as published also --debug True")
      ->expected(0, task == nullptr ? 0 : 1)  // TASK would be taken for the value
      ->default_str("True")
      ->type_name("");
  app.add_option("--shard", line.shard, "i/n: the i-th of n parts, to be put together by `evaluate merge`");
  app.add_option("--parallel,-j", line.parallel,
                 "texts at once (default: " + std::to_string(line.run.parallel) +
                     "); without a number, as published, one shard, of --total-shard that with --shard-id")
      ->expected(0, 1)
      ->type_name("[N]");
  app.add_option("--total-shard,--total_shard", line.total_shard, "of --parallel without a number")
      ->capture_default_str()
      ->check(whole_number<Index>(1));
  app.add_option("--shard-id,--shard_id", line.shard_id, "from 0; the output is OUT_ID.jsonl, of multiple choice .json")
      ->check(whole_number<Index>(0));
  add_published_flags(app, task == nullptr || task->generates);
}

/// Whether an option of the mode is one that the published scripts give to every mode; then it is said that it has no
/// effect.
[[nodiscard]] inline bool is_published(RunCommandLine& line, std::string_view key) {
  Activation activation;
  line.modes.apply(activation);
  if (key == "decoding_strategy") return activation.strategy == ContextStrategy::entropy;  // their default
  if (key != "majority_threshold") return false;
  line.published.push_back(ModeOptions::name(key) + " (no strategy here votes)");
  return true;
}

/// --parallel with a number, or with the published scripts' meaning.
inline void read_parallel(const CLI::App& app, RunCommandLine& line) {
  const auto given = [&](const char* option) { return app.count(option) != 0; };
  if (!line.parallel.empty()) {
    const std::optional<Index> texts = parse_number<Index>(line.parallel);
    if (!texts || *texts < 1 || *texts > 1024)
      throw UsageError("--parallel: expected a whole number in 1..1024, got " + line.parallel);
    line.run.parallel = *texts;
  }
  if (!given("--parallel") || !line.parallel.empty()) {
    for (const char* option : {"--total-shard", "--shard-id"})
      if (given(option)) line.published.push_back(std::string(option) + " (nothing without a bare --parallel)");
    return;
  }
  if (given("--shard")) throw UsageError("--parallel: without a number it is a shard, as is --shard");
  if (!line.shard_id) throw UsageError("--parallel: expected a number of texts, or --total-shard and --shard-id");
  if (*line.shard_id >= line.total_shard)
    throw UsageError("--shard-id: expected 0.." + std::to_string(line.total_shard - 1) + ", got " +
                     std::to_string(*line.shard_id));
  line.run.shard = {*line.shard_id + 1, line.total_shard};
  line.run.output_path += '_' + std::to_string(*line.shard_id) + (line.settings.task->generates ? ".jsonl" : ".json");
  line.published.push_back("--parallel, --total-shard and --shard-id (as --shard " + line.run.shard.text() +
                           ": every so many samples, none left over; into " + line.run.output_path +
                           ", for `evaluate merge`)");
}

/// Runs the task as the command line says, once what it says of the task itself has been read. Throws UsageError.
inline int run_as_told(const CLI::App& app, RunCommandLine& line, Ranks& ranks) {
  read_parallel(app, line);
  if (line.debug && line.settings.limit != 0) throw UsageError("--debug: is --limit 20");
  if (line.debug) line.settings.limit = 20;
  if (!line.shard.empty()) {
    const std::optional<Shard> shard = Shard::parse(line.shard);
    if (!shard) throw UsageError("--shard: expected i/n with 1 <= i <= n, got " + line.shard);
    line.run.shard = *shard;
  }
  line.run.start = line.resume ? RunStart::resume : RunStart::fresh;
  const std::vector<std::string> unused = published_flags_given(app, *line.settings.task, line.settings.model);
  line.published.insert(line.published.end(), unused.begin(), unused.end());
  if (!line.published.empty() && ranks.rank() == 0)
    std::fprintf(stderr, "evaluate: of the published scripts' flags, here: %s\n",
                 CLI::detail::join(line.published, ", ").c_str());
  return run_task(line.settings, line.run, ranks);
}

}  // namespace activation_trace::examples
