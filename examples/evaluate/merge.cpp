// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/merge.hpp"

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/run_log.hpp"
#include "evaluate/finished_run.hpp"
#include "evaluate/record_schema.hpp"
#include "evaluate/run.hpp"
#include "support/command_line.hpp"
#include "support/output_files.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

/// The shards of one run, as they come in.
class Shards {
 public:
  /// Throws Error for a file that is no complete shard of the same run.
  void add(const std::string& path) {
    FinishedRun run = read_run(path);
    const Shard shard = shard_of(run);
    run.manifest.erase("shard");
    if (paths_.empty()) {
      manifest_ = run.manifest;
      count_ = shard.count;
    }
    if (shard.count != count_)
      throw Error(path + ": is shard " + shard.text() + ", and the others are of " + std::to_string(count_));
    if (const std::optional<ManifestChange> change = manifest_change(manifest_, run.manifest))
      throw Error(path + ": its '" + change->key + "' is " + change->now + ", and " + change->before +
                  " of the first shard");
    const auto [other, added] = paths_.emplace(shard.number, path);
    if (!added) throw Error(path + ": is shard " + shard.text() + ", as is " + other->second);
    take_records(run, shard);
  }

  /// Throws Error if one is missing.
  void check_complete() const {
    for (Index number = 1; number <= count_; ++number)
      if (!paths_.contains(number)) throw Error("merge: shard " + Shard{number, count_}.text() + " is missing");
  }

  [[nodiscard]] const Json& manifest() const noexcept { return manifest_; }
  [[nodiscard]] const Records& records() const noexcept { return records_; }

 private:
  static Shard shard_of(const FinishedRun& run) {
    const Json& data = run.manifest["data"];
    if (data.is_object() && data.contains("samples") && !activation_trace::detail::whole_number(data["samples"]))
      throw Error(run.path.string() + ".manifest.json: expected 'data/samples' to be a whole number");
    const auto found = run.manifest.find("shard");
    const bool named = found != run.manifest.end() && found->is_string();
    const std::optional<Shard> shard = named ? Shard::parse(found->get<std::string>()) : std::nullopt;
    if (!shard) throw Error(run.path.string() + ": is no shard, its manifest names none");
    return *shard;
  }

  void take_records(FinishedRun& run, const Shard& shard) {
    const std::string path = run.path.string();
    if (!manifest_["data"].contains("samples"))
      throw Error(path + ".manifest.json: 'data/samples' is missing, so it is not known what is");
    const auto samples = manifest_["data"]["samples"].get<Index>();
    for (Index sample = 0; sample < samples; ++sample)
      if (shard.has(sample) && !run.records.contains(sample))
        throw Error(path + ": lacks sample " + std::to_string(sample));
    for (auto& [sample, record] : run.records) {
      if (sample >= samples || !shard.has(sample))
        throw Error(path + ": holds sample " + std::to_string(sample) + ", which is not of shard " + shard.text());
      records_.emplace(sample, std::move(record));
    }
  }

  Json manifest_;
  Index count_ = 0;
  std::map<Index, std::string> paths_;  // by number
  Records records_;
};

int merge(const std::string& output, const std::vector<std::string>& paths) {
  InputFiles inputs;
  for (const std::string& path : paths) inputs.add(path);
  check_not_read("OUT", output, inputs);
  Shards shards;
  for (const std::string& path : paths) shards.add(path);
  shards.check_complete();
  prepare_run_output("OUT", output, RunStart::fresh, inputs);
  const auto task = shards.manifest()["task"].get<std::string>();
  RunLog log(output, shards.manifest(), RunStart::fresh,
             [&](Index, const Json& record) { check_record(task, record, Missing::refused); });
  log.append(shards.records());
  finish_run(output, shards.manifest(), log);
  return 0;
}

}  // namespace

void add_merge_command(CLI::App& app, Command& command) {
  struct Line {
    std::string output;
    std::vector<std::string> shards;
  };
  CLI::App* sub = app.add_subcommand("merge", "puts the shards of a run together, as if it had been one process");
  const auto line = std::make_shared<Line>();
  sub->add_option("OUT", line->output, "the run to be written")->required();
  sub->add_option("SHARD", line->shards, "the output path of every shard")->required();
  sub->callback([line, &command] { command = [line] { return merge(line->output, line->shards); }; });
}

}  // namespace activation_trace::examples
