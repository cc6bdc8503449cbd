// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/run.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "activation_trace/formats/mapped_file.hpp"
#include "evaluate/progress.hpp"
#include "evaluate/sha256.hpp"
#include "evaluate/summary.hpp"
#include "support/interrupt.hpp"

namespace activation_trace::examples {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string sha256_of_file(const fs::path& path) {
  const MappedFile file = MappedFile::open(path);
  return sha256(activation_trace::detail::text_of(file.bytes()));
}

/// Of a model's folder: of its files' names and hashes, as sha256sum prints them.
std::string sha256_of_model(const fs::path& path) {
  if (!fs::is_directory(path)) return sha256_of_file(path);
  std::map<std::string, std::string> hashes;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    const std::string type = entry.path().extension().string();
    if (entry.is_regular_file() && (type == ".json" || type == ".safetensors" || type == ".model"))
      hashes[entry.path().filename().string()] = sha256_of_file(entry.path());
  }
  std::string all;
  for (const auto& [name, hash] : hashes) all += hash + "  " + name + '\n';
  return sha256(all);
}

/// The last part of a path: the same model has another folder on another machine.
std::string file_name(const fs::path& path) { return fs::weakly_canonical(path).filename().string(); }

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

/// Makes room for the longest of the samples.
void reserve(Engine& engine, const Task& task, std::span<const Index> samples, const TaskSettings& settings,
             Index parallel) {
  const Index given = settings.scoring.model.context;
  const Index most = given != 0 ? given : engine.checkpoint().config.max_context;
  Index longest = 1;
  for (const Index sample : samples) {
    const Index needed = task.positions(sample);
    if (needed > most)
      throw Error("sample " + std::to_string(sample) + " needs a context of " + std::to_string(needed) +
                  " positions; there are " + std::to_string(most));
    longest = std::max(longest, needed);
  }
  engine.reserve(given != 0 ? given : longest, parallel);
}

void summarise(const std::string& output_path, const Json& manifest, const RunLog& log) {
  Records records;
  for (Index i = 0; i < manifest["data"]["samples"].get<Index>(); ++i) records.emplace(i, log.record(i));
  const Json summary = summarize(manifest, records);
  write_whole_file(output_path + ".summary.json", summary.dump(2) + '\n');
  print_summary(stdout, summary);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw Error("standard output cannot be written");
}

void check_output_path(const fs::path& path) {
  if (fs::exists(path) && !fs::is_regular_file(path))
    throw Error(path.string() + ": is not a regular file, so a run cannot be kept there");
  // A file that must not grow is an error like a full disk, not the end of the program.
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace

Json make_manifest(const TaskSettings& settings, const Engine& engine, const Task& task) {
  const fs::path data = data_file(settings);
  const Index samples = settings.limit == 0 ? task.size() : std::min(settings.limit, task.size());
  const LlamaConfig& config = engine.checkpoint().config;
  const std::string& model = settings.scoring.model.path;
  return {{"task", settings.traits.name},
          {"model",
           {{"path", file_name(model)},
            {"sha256", sha256_of_model(model)},
            {"blocks", config.layers},
            {"vocab", config.vocab}}},
          {"data", {{"path", file_name(data)}, {"sha256", sha256_of_file(data)}, {"samples", samples}}},
          {"options", task.options()},
          {"version", version_text()},
          {"format", 1}};
}

int run_task(const TaskSettings& settings, const RunSettings& run) {
  check_output_path(run.output_path);
  const bool quiet = settings.scoring.model.quiet;
  Progress loading(!quiet);
  loading.note("reading " + data_file(settings).string());
  const MakeTask make_task = read_task(settings);
  loading.note("loading " + settings.scoring.model.path);
  Engine engine(settings.scoring.model);
  const std::unique_ptr<Task> task = make_task(engine);
  const Json manifest = make_manifest(settings, engine, *task);
  const auto size = manifest["data"]["samples"].get<Index>();
  Json log_manifest = manifest;
  if (run.shard.count != 1) log_manifest["shard"] = run.shard.text();
  RunLog log(run.output_path, log_manifest, run.start);

  std::vector<Index> waiting;
  Index all = 0;
  for (Index sample = 0; sample < size; ++sample) {
    if (!run.shard.has(sample)) continue;
    ++all;
    if (!log.has(sample)) waiting.push_back(sample);
  }
  if (!waiting.empty()) reserve(engine, *task, waiting, settings, run.parallel);
  loading.clear();

  StopOnInterrupt interrupt;
  RunProgress progress(settings.traits.name, all - static_cast<Index>(waiting.size()), all, !quiet);
  auto next = [&, at = std::size_t{0}]() mutable {
    const std::size_t count = std::min(waiting.size() - at, static_cast<std::size_t>(4 * run.parallel));
    const std::vector<Index> samples(waiting.begin() + static_cast<Index>(at),
                                     waiting.begin() + static_cast<Index>(at + count));
    at += count;
    return samples;
  };
  const Emit take = [&](Index sample, Json record) {
    log.append(sample, std::move(record));
    progress.advance();
  };
  for (std::vector<Index> samples = next(); !samples.empty() && !interrupt.token().stop_requested(); samples = next())
    task->run(samples, take, interrupt.token());
  progress.clear();

  if (log.size() != all) {
    std::fprintf(stderr, "evaluate: interrupted after %ld of %ld samples; --resume goes on from there\n",
                 static_cast<long>(log.size()), static_cast<long>(all));
    return 1;
  }
  log.finish();
  if (run.shard.count == 1) summarise(run.output_path, manifest, log);
  return 0;
}

}  // namespace activation_trace::examples
