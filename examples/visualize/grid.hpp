// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/report/picture.hpp"
#include "activation_trace/text/json.hpp"
#include "activation_trace/text/mapped_file.hpp"
#include "support/command.hpp"
#include "visualize/output.hpp"

namespace activation_trace::examples {

/// alpha x layer, one picture per metric, from {"alphas": [A], "layers": [L], "metrics": {NAME: [A][L]}, ...} as
/// `evaluate sweep` writes it. Throws FormatError naming what is missing.
[[nodiscard]] inline Report grid_report(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  const auto fail = [&](const std::string& problem) {
    throw FormatError(path, problem + ": expected a grid of alpha and layers, as evaluate sweep writes it");
  };
  const auto json = detail::parse_json<nlohmann::ordered_json>(detail::text_of(file.bytes()), path);
  const auto list = [&](const nlohmann::ordered_json& object, const std::string& key) -> const nlohmann::ordered_json& {
    if (!object.is_object() || !object.contains(key)) fail("there is no '" + key + "'");
    return object[key];
  };
  const auto labels = [&](const char* key) {
    std::vector<std::string> result;
    for (const nlohmann::ordered_json& value : list(json, key)) {
      if (!value.is_number()) fail("'" + std::string(key) + "' holds something other than numbers");
      result.push_back(format_number(value.get<double>(), 6));
    }
    if (result.empty()) fail("'" + std::string(key) + "' is empty");
    return result;
  };
  const std::vector<std::string> alphas = labels("alphas");
  const std::vector<std::string> layers = labels("layers");
  Report report{.title = "alpha x layer", .facts = {}, .pictures = {}};
  for (const char* key : {"task", "samples", "mode"})
    if (json.contains(key))
      report.facts.emplace_back(key, json[key].is_string() ? json[key].get<std::string>() : json[key].dump());
  const nlohmann::ordered_json& metrics = list(json, "metrics");
  if (!metrics.is_object() || metrics.empty()) fail("'metrics' is empty");
  for (const auto& [name, rows] : metrics.items()) {
    HeatMapView view{.name = name, .meaning = "mean over the questions, one scale of colours", .panels = {{}}};
    view.low = std::numeric_limits<double>::infinity();
    view.high = -view.low;
    if (!rows.is_array() || rows.size() != alphas.size())
      fail(detail::printable(name) + " has not a row for each alpha");
    for (const nlohmann::ordered_json& row : rows) {
      if (!row.is_array() || row.size() != layers.size())
        fail("a row of " + detail::printable(name) + " has not a value for each layer");
      for (const nlohmann::ordered_json& value : row) {
        if (!value.is_number() && !value.is_null())
          fail(detail::printable(name) + " holds something other than numbers");
        const double x = value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
        view.panels[0].push_back(x);
        if (!std::isnan(x)) view.low = std::min(view.low, x), view.high = std::max(view.high, x);
      }
    }
    if (!(view.low <= view.high)) fail(detail::printable(name) + " holds no number");
    if (view.low == view.high) view.high = view.low + std::max(1.0, std::abs(view.low) * 1e-6);
    report.pictures.emplace_back(HeatMap{.title = name + " by alpha and layer",
                                         .row_axis = "alpha",
                                         .column_axis = "layer",
                                         .rows = alphas,
                                         .columns = layers,
                                         .panels = {name},
                                         .views = {view}});
  }
  return report;
}

inline void add_grid_command(CLI::App& app, Command& command) {
  CLI::App& grid = *app.add_subcommand("grid", "what `evaluate sweep` found: a metric by alpha and layer");
  struct Settings {
    std::string path;
    OutputSettings output;
  };
  const auto s = std::make_shared<Settings>();
  grid.add_option("GRID", s->path, "the file that it wrote")->required();
  add_output_options(grid, s->output);
  grid.callback([&command, s] {
    command = [s] {
      check_output(s->output, {s->path});
      write_report(grid_report(s->path), s->output);
      return 0;
    };
  });
}

}  // namespace activation_trace::examples
