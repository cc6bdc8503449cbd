// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <string>

#include "evaluate/ranks.hpp"
#include "evaluate/run.hpp"
#include "evaluate/task.hpp"
#include "support/command_line.hpp"
#include "support/score_settings.hpp"

// The part of the command line that says how a task is run, the same for all of them and for sweeps.
namespace activation_trace::examples {

/// Everything that its options are written to.
struct RunCommandLine {
  TaskSettings task;
  RunSettings run;
  std::string shard;
  std::string gpus;
  std::string gpu_memory;
  bool resume = false;
  bool debug = false;
};

/// `data` and `beside` are what --help says of the data set, and of the files beside the output's.
inline void add_run_options(CLI::App& app, RunCommandLine& line, const Ranks& ranks, const std::string& data,
                            const std::string& beside) {
  add_model_options(app, line.task.scoring.model);
  line.task.scoring.model.threads = ranks.threads();
  app.add_option("--data-path,--data_path", line.task.data_path, data)->required();
  app.add_option("--output-path,--output_path", line.run.output_path, "JSON lines, one per sample; beside it " + beside)
      ->required();
  app.add_flag("--resume", line.resume, "go on with the run that is there");
  app.add_option("--limit", line.task.limit, "only so many samples, the first")->check(whole_number<Index>(1));
  app.add_flag("--debug", line.debug, "--limit 20");
  app.add_option("--shard", line.shard, "i/n: the i-th of n parts, to be put together by `evaluate merge`");
  app.add_option("--parallel,-j", line.run.parallel, "texts at once")
      ->capture_default_str()
      ->check(whole_number<Index>(1, 1024));
  app.add_option("--num-gpus,--num_gpus", line.gpus, "of the published scripts; this program runs on the host");
  app.add_option("--max_gpu_memory,--max-gpu-memory", line.gpu_memory, "the same");
}

/// Runs the task as the command line says, once what it says of the task itself has been read. Throws UsageError.
inline int run_as_told(const CLI::App& app, RunCommandLine& line, Ranks& ranks) {
  if (line.debug && line.task.limit != 0) throw UsageError("--debug: is --limit 20");
  if (line.debug) line.task.limit = 20;
  if (!line.shard.empty()) {
    const std::optional<Shard> shard = Shard::parse(line.shard);
    if (!shard) throw UsageError("--shard: expected i/n with 1 <= i <= n, got " + line.shard);
    line.run.shard = *shard;
  }
  line.run.start = line.resume ? RunStart::resume : RunStart::fresh;
  for (const char* option : {"--num-gpus", "--max_gpu_memory"})
    if (app.count(option) != 0 && !line.task.scoring.model.quiet && ranks.rank() == 0)
      std::fprintf(stderr, "evaluate: %s has no effect: this program runs on the host\n", option);
  return run_task(line.task, line.run, ranks);
}

}  // namespace activation_trace::examples
