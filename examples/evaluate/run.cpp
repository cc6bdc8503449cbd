// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/run.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "evaluate/finished_run.hpp"
#include "evaluate/grid.hpp"
#include "evaluate/record_schema.hpp"
#include "evaluate/sha256.hpp"
#include "evaluate/summary.hpp"
#include "evaluate/task_run.hpp"
#include "support/engine.hpp"
#include "support/interrupt.hpp"
#include "support/output_files.hpp"
#include "support/run_progress.hpp"

namespace activation_trace::examples {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Asks for a stop after Ctrl-C.
class StopOnInterrupt {
 public:
  StopOnInterrupt() {
    catch_interrupt();
    watcher_ = std::jthread([this](const std::stop_token& ended) {
      while (!ended.stop_requested() && interrupted == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      if (interrupted != 0) stop_.request_stop();
    });
  }

  [[nodiscard]] std::stop_token token() const { return stop_.get_token(); }

 private:
  std::stop_source stop_;
  std::jthread watcher_;
};

/// What a record of the run has to be: one of the task's, and of the sample of the data set that it says.
RecordCheck check_of(const std::string& name, const TaskRun& task, const std::vector<Index>& samples) {
  return [&task, name, samples](Index sample, const Json& record) {
    if (!std::binary_search(samples.begin(), samples.end(), sample)) throw Error("is no sample of this run");
    check_record(name, record, Missing::refused);
    const Json data = task.data_of(sample);
    for (const auto& [key, value] : data.items())
      if (const std::string expected = activation_trace::detail::json_text(value);
          !record.contains(key) || activation_trace::detail::json_text(record[key]) != expected)
        throw Error("field '" + key + "': the data set has " + activation_trace::detail::printable(expected) +
                    " for this sample; the records are not of it, or renumbered");
  };
}

/// Makes room for the longest of the samples. Throws Error naming one that is too long.
void reserve(Engine& engine, const TaskRun& task, std::span<const Index> samples, Index parallel) {
  const Index most = engine.context(engine.config().max_context);
  Index longest = 1;
  for (const Index sample : samples) {
    const Index needed = task.positions(sample);
    if (needed > most)
      throw Error("sample " + std::to_string(sample) + " needs a context of " + std::to_string(needed) +
                  " positions; there are " + std::to_string(most));
    longest = std::max(longest, needed);
  }
  engine.reserve(engine.context(longest), parallel);
}

/// What the results of a task on a model depend on.
Json make_manifest(const TaskSettings& settings, const Engine& engine, const TaskRun& task) {
  const fs::path data = data_file(settings);
  const Index samples = settings.limit == 0 ? task.size() : std::min(settings.limit, task.size());
  const ModelShape& config = engine.config();
  Json model = identity_of_model(settings.model.path);
  model.update({{"blocks", config.layers}, {"vocab", config.vocab}});
  Json manifest{{"task", std::string(settings.grid ? kSweep : "") + std::string(settings.task->name)},
                {"model", std::move(model)},
                {"data", {{"path", file_name(data)}, {"sha256", sha256_of_file(data)}, {"samples", samples}}},
                {"options", task.options()}};
  manifest.update(engine.program());
  manifest["format"] = 1;
  return manifest;
}

}  // namespace

std::optional<Shard> Shard::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::optional<Index> number = parse_number<Index>(text.substr(0, slash));
  const std::optional<Index> count = parse_number<Index>(text.substr(slash + 1));
  if (!number || !count || *number < 1 || *number > *count) return std::nullopt;
  return Shard{*number, *count};
}

void write_summary(const std::string& output_path, const Json& manifest, const Records& records) {
  const bool sweep = is_sweep(manifest);
  Json summary;
  try {
    summary = sweep ? summarize_grid(manifest, records) : summarize(manifest, records);
  } catch (const Error& e) {  // a record that was changed by hand
    throw Error(output_path + ": " + e.what());
  }
  write_whole_file(output_path + (sweep ? ".grid.json" : ".summary.json"),
                   activation_trace::detail::json_text(summary, 2) + '\n');
  if (sweep) write_whole_file(output_path + ".grid.csv", grid_csv(summary));
  sweep ? print_grid(stdout, summary) : print_summary(stdout, summary);
  flush_output();
}

void finish_run(const std::string& output_path, const Json& manifest, RunLog& log) {
  log.finish();
  Records records;
  for (Index i = 0; i < manifest["data"]["samples"].get<Index>(); ++i) records.emplace(i, log.record(i));
  write_summary(output_path, manifest, records);
}

std::vector<Index> samples_of(const Json& manifest, const Shard& shard) {
  std::vector<Index> samples;
  for (Index sample = 0; sample < manifest["data"]["samples"].get<Index>(); ++sample)
    if (shard.has(sample)) samples.push_back(sample);
  return samples;
}

int run_task(const TaskSettings& settings, const RunSettings& run, Ranks& ranks) {
  const fs::path data = data_file(settings);
  if (ranks.rank() == 0)
    prepare_run_output("--output-path", run.output_path, run.start, {settings.model.path, settings.student.name, data});
  // A file that must not grow is an error like a full disk, not the end of the program.
  std::signal(SIGXFSZ, SIG_IGN);
  const bool quiet = settings.model.quiet || ranks.rank() != 0;
  Progress loading(!quiet);
  loading.note("reading " + data.string());
  const MakeRun make_run = settings.task->read(settings, data);
  loading.note("loading " + settings.model.path);
  Engine engine(settings.model, settings.student);
  const std::unique_ptr<TaskRun> task = make_run(engine);
  const Json manifest = make_manifest(settings, engine, *task);
  const std::vector<Index> samples = samples_of(manifest, run.shard);
  StopOnInterrupt interrupt;
  const Work work = [&](const NextSamples& next, const Emit& take) {
    for (std::vector<Index> some = next(); !some.empty(); some = next()) task->run(some, take, interrupt.token());
  };
  reserve(engine, *task, samples, run.parallel);
  if (ranks.rank() != 0) {
    ranks.share(manifest, {}, {}, work);
    return 0;
  }

  Json log_manifest = manifest;
  if (run.shard.count != 1) log_manifest["shard"] = run.shard.text();
  RunLog log(run.output_path, log_manifest, run.start, check_of(manifest["task"].get<std::string>(), *task, samples),
             name_own_engine<nlohmann::json>);
  std::vector<Index> waiting;
  std::copy_if(samples.begin(), samples.end(), std::back_inserter(waiting), [&](Index i) { return !log.has(i); });
  loading.clear();
  const auto all = static_cast<Index>(samples.size());
  RunProgress progress(manifest["task"].get<std::string>(), log.size(), all, !quiet);
  const auto next = [&, at = waiting.begin()]() mutable -> std::vector<Index> {
    if (interrupt.token().stop_requested()) return {};
    // As much as keeps a batch full; of several ranks none is to have much left when the others have nothing.
    const Index left = waiting.end() - at;
    const Index share = ranks.size() == 1 ? left : std::max<Index>(1, left / (2 * ranks.size()));
    const auto begin = std::exchange(at, at + std::min({left, share, 4 * run.parallel}));
    return {begin, at};
  };
  const Emit take = [&](Index sample, Json record) {
    log.append(sample, std::move(record));
    progress.advance();
  };
  ranks.share(manifest, next, take, work);
  progress.clear();

  if (log.size() != all) {
    std::fprintf(stderr, "evaluate: interrupted after %ld of %ld samples; --resume goes on from there\n",
                 static_cast<long>(log.size()), static_cast<long>(all));
    return 1;
  }
  if (run.shard.count == 1)
    finish_run(run.output_path, manifest, log);
  else
    log.finish();
  return 0;
}

}  // namespace activation_trace::examples
