// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/text/csv.hpp"
#include "evaluate/records.hpp"
#include "evaluate/summary.hpp"
#include "evaluate/task.hpp"

// What a sweep's records say, in numbers.
namespace activation_trace::examples {

/// Means over a sweep's records, percentages:
/// {"task", "samples", "mode", "alphas", "layers", "metrics": {name: [alphas][layers]}}.
/// Throws ArgumentError for a manifest of no sweep, Error for a record without a grid of numbers.
[[nodiscard]] inline nlohmann::ordered_json summarize_grid(const nlohmann::ordered_json& manifest,
                                                           const Records& records) {
  const std::string task = manifest["task"].get<std::string>().substr(kSweep.size());
  const nlohmann::ordered_json& options = manifest["options"];
  for (const char* key : {"alphas", "info_layers"}) {
    const auto is_number = [](const nlohmann::ordered_json& x) { return x.is_number(); };
    if (!options.contains(key) || !options[key].is_array() ||
        !std::all_of(options[key].begin(), options[key].end(), is_number))
      throw ArgumentError("manifest: expected 'options/" + std::string(key) + "' to be a list of numbers");
  }
  const std::size_t rows = options["alphas"].size();
  const std::size_t columns = options["info_layers"].size();
  nlohmann::ordered_json result{{"task", task},
                                {"samples", records.size()},
                                {"mode", options.value("decoding_mode", "activation")},
                                {"alphas", options["alphas"]},
                                {"layers", options["info_layers"]},
                                {"metrics", nlohmann::ordered_json::object()}};
  for (const Measure& measure : measures(task, records)) {
    std::vector<std::vector<double>> means(rows, std::vector<double>(columns));
    const auto add = [&](const nlohmann::ordered_json& grid) {
      if (!grid.is_array() || grid.size() != rows) return false;
      for (std::size_t a = 0; a < rows; ++a) {
        if (!grid[a].is_array() || grid[a].size() != columns) return false;
        for (std::size_t k = 0; k < columns; ++k) {
          if (!grid[a][k].is_number()) return false;
          means[a][k] += grid[a][k].get<double>();
        }
      }
      return true;
    };
    for (const auto& [sample, record] : records)
      if (!record.contains(measure.name) || !add(record[measure.name]))
        throw Error("sample " + std::to_string(sample) + ": expected '" + measure.name + "' to be " +
                    std::to_string(rows) + " x " + std::to_string(columns) + " numbers");
    for (std::vector<double>& row : means)
      for (double& x : row) x = 100 * x / static_cast<double>(records.size());
    result["metrics"][measure.name] = means;
  }
  return result;
}

/// A line for each point and metric.
[[nodiscard]] inline std::string grid_csv(const nlohmann::ordered_json& grid) {
  CsvWriter csv;
  csv.line({"metric", "alpha", "layer", "value"});
  const auto number = [](const nlohmann::ordered_json& x) { return x.get<double>(); };
  for (const auto& [metric, rows] : grid["metrics"].items())
    for (std::size_t a = 0; a < rows.size(); ++a)
      for (std::size_t k = 0; k < rows[a].size(); ++k)
        csv.line({metric, number(grid["alphas"][a]), number(grid["layers"][k]), number(rows[a][k])});
  return csv.take();
}

/// A table for each metric.
inline void print_grid(std::FILE* file, const nlohmann::ordered_json& grid) {
  for (const auto& [metric, rows] : grid["metrics"].items()) {
    std::fprintf(file, "%-16s", (metric + ", %").c_str());
    for (const nlohmann::ordered_json& layer : grid["layers"])
      std::fprintf(file, " %7s", ("h_" + layer.dump()).c_str());
    std::fprintf(file, "\n");
    for (std::size_t a = 0; a < rows.size(); ++a) {
      std::fprintf(file, "%16s", ("alpha " + grid["alphas"][a].dump()).c_str());
      for (const nlohmann::ordered_json& x : rows[a]) std::fprintf(file, " %7.2f", x.get<double>());
      std::fprintf(file, "\n");
    }
  }
}

}  // namespace activation_trace::examples
