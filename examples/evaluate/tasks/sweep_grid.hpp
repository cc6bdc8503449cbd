// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <vector>

#include "activation_trace/generation/generate_grid.hpp"
#include "activation_trace/generation/validate.hpp"
#include "evaluate/task_settings.hpp"

namespace activation_trace::examples {

/// The points of a sweep, and what records and manifest say of them.
class SweepGrid {
 public:
  SweepGrid(const GridSettings& settings, Index blocks) : alphas_(settings.alphas) {
    std::vector<Index> layers;
    if (settings.layers)
      layers = *settings.layers;
    else  // every second one of the upper half, as published
      for (Index layer = blocks; layer >= blocks / 2; layer -= 2) layers.insert(layers.begin(), layer);
    layers_ = resolve_layers(layers, blocks);
    for (const double alpha : alphas_)
      for (const Index layer : layers_) points_.push_back({static_cast<float>(alpha), layer});
  }

  [[nodiscard]] const std::vector<Index>& layers() const { return layers_; }
  [[nodiscard]] const std::vector<GridPoint>& points() const { return points_; }  ///< [alphas][layers]

  /// [alphas][layers] of what value(point) says.
  template <class Value>
  [[nodiscard]] nlohmann::ordered_json rows(const Value& value) const {
    auto rows = nlohmann::ordered_json::array();
    for (std::size_t point = 0; point < points_.size(); ++point) {
      if (point % layers_.size() == 0) rows.push_back(nlohmann::ordered_json::array());
      rows.back().push_back(value(point));
    }
    return rows;
  }

  /// The options of a task with the grid in place of one point.
  [[nodiscard]] nlohmann::ordered_json options(nlohmann::ordered_json of_task) const {
    of_task.erase("alpha");
    of_task.erase("info_layer");
    of_task.update({{"alphas", alphas_}, {"info_layers", layers_}});
    return of_task;
  }

 private:
  std::vector<double> alphas_;
  std::vector<Index> layers_;
  std::vector<GridPoint> points_;
};

}  // namespace activation_trace::examples
