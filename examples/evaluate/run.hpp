// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"
#include "activation_trace/evaluation/run_log.hpp"
#include "evaluate/ranks.hpp"
#include "evaluate/records.hpp"
#include "evaluate/task_settings.hpp"

namespace activation_trace::examples {

/// Every `count`th sample, from `number` - 1 on: shards of about the same work, whatever the order of the data set.
struct Shard {
  Index number = 1;
  Index count = 1;

  [[nodiscard]] bool has(Index sample) const { return sample % count == number - 1; }
  [[nodiscard]] std::string text() const { return std::to_string(number) + '/' + std::to_string(count); }
  /// i/n with 1 <= i <= n; none for another text.
  [[nodiscard]] static std::optional<Shard> parse(std::string_view text);
};

/// How a task is run; none of it changes a result.
struct RunSettings {
  std::string output_path;
  RunStart start = RunStart::fresh;
  Shard shard;
  Index parallel = 8;  ///< texts at once
};

/// Runs the samples of a task that are not in the log yet, on all ranks. Returns 0 when the log is complete, 1 after
/// Ctrl-C.
int run_task(const TaskSettings& settings, const RunSettings& run, Ranks& ranks);

/// Writes OUT.summary.json, or of a sweep OUT.grid.json and OUT.grid.csv, and prints it. Throws Error for records
/// without what the task needs.
void write_summary(const std::string& output_path, const nlohmann::ordered_json& manifest, const Records& records);

/// Writes a complete log's results and their summary, which it prints.
void finish_run(const std::string& output_path, const nlohmann::ordered_json& manifest, RunLog& log);

}  // namespace activation_trace::examples
