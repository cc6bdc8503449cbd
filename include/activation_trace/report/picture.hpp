// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/resampling.hpp"
#include "activation_trace/text/visible.hpp"

namespace activation_trace {
inline namespace v0 {

// What pictures show, as numbers and words. svg.hpp, html.hpp, terminal.hpp and tables.hpp turn them into files. Labels
// may be any bytes, tokens among them: what prints them makes them visible and escapes them.

/// How values become colours between a view's low and high.
enum class ColorScale { linear, logarithmic };

/// One way of looking at a heat map's panels.
struct HeatMapView {
  std::string name;                         ///< for its button or heading
  std::string meaning;                      ///< one sentence
  ColorScale scale = ColorScale::linear;    ///< how values become colours
  double low = 0;                           ///< the colours' ends, the same for all panels; positive if logarithmic
  double high = 1;                          ///< above low; what lies outside takes an end's colour
  std::vector<std::vector<double>> panels;  ///< [panels][rows * columns]; NaN: no value

  /// Where `value` lies between low and high: 0..1, NaN for NaN.
  [[nodiscard]] double place(double value) const;
};

/// Panels side by side that share rows, columns and colours. The first row is drawn at the bottom.
struct HeatMap {
  std::string title;                     ///< above it
  std::string row_axis;                  ///< what the rows are, "layer"
  std::string column_axis;               ///< what the columns are, "position"
  std::vector<std::string> rows;         ///< their labels, at least one
  std::vector<std::string> columns;      ///< their labels, at least one
  std::vector<std::string> panels;       ///< their names; at least one
  std::vector<HeatMapView> views;        ///< at least one
  Index first_column = 0;                ///< what columns are counted from
  std::optional<Index> marked_row = {};  ///< a row to point at
  std::string mark = {};                 ///< what is said of it

  /// A cell of a panel, all counted from 0; not checked.
  [[nodiscard]] double value(std::size_t view, std::size_t panel, std::size_t row, std::size_t column) const {
    return views[view].panels[panel][row * columns.size() + column];
  }

  /// Throws ShapeError or ArgumentError naming what does not fit.
  void validate() const;
};

/// A line of a chart.
struct Curve {
  std::string name;                 ///< in the legend
  std::vector<double> y;            ///< one per x; NaN: no value
  std::vector<Interval> band = {};  ///< one per x, or none
};

/// Curves over a common x: by layer, by alpha, or the bars of a histogram.
struct LineChart {
  std::string title;                       ///< above it
  std::string x_axis;                      ///< what x is
  std::string y_axis;                      ///< what y is, with its unit
  std::vector<double> x;                   ///< ascending
  std::vector<Curve> curves;               ///< at least one
  std::optional<double> marked_x = {};     ///< a vertical line to point at
  std::string mark = {};                   ///< what is said of it
  std::optional<double> reference_y = {};  ///< a horizontal line to compare with
  std::string reference = {};              ///< what is said of it
  /// Of histograms: x are the middles of bins this wide, y what falls into them.
  std::optional<double> bin_width = {};

  /// Throws ShapeError or ArgumentError naming what does not fit.
  void validate() const;
};

/// A token that could have been chosen, or was. Numbers in nats.
struct TraceCandidate {
  TokenId id = -1;      ///< -1: none
  std::string token;    ///< its bytes
  double log_prob = 0;  ///< of the model's distribution
  double entropy = 0;   ///< NaN: none
  double score = 0;     ///< what it was chosen by
};

/// One token of a text and what it was chosen from.
struct TraceStep {
  TraceCandidate chosen;                    ///< the token
  std::vector<TraceCandidate> kept;         ///< survivors of the plausibility filter, best first
  std::optional<std::string> instead = {};  ///< the token that the entropy kept from being chosen
  bool alert = false;                       ///< its entropy was above the alert's threshold
};

/// A text with the candidates of every step.
struct Trace {
  std::string title;             ///< above it
  std::vector<TraceStep> steps;  ///< a token each
};

/// What a report can show.
using Picture = std::variant<HeatMap, LineChart, Trace>;

/// Pictures that belong together, and what they were made from: a page.
struct Report {
  std::string title;                                       ///< of the page
  std::vector<std::pair<std::string, std::string>> facts;  ///< name and value: model, prompt, settings
  std::vector<Picture> pictures;                           ///< one below the other

  /// Throws ShapeError or ArgumentError naming what does not fit.
  void validate() const;
};

inline double HeatMapView::place(double value) const {
  if (std::isnan(value)) return value;
  double place = 0;
  if (scale == ColorScale::linear) {
    // The difference of the ends may overflow, and so may their quotient below; half of the least range is none.
    const double range = high - low;
    place = std::isfinite(range) ? (value - low) / range : (value / 2 - low / 2) / (high / 2 - low / 2);
  } else {
    const double range = high / low;
    const double from = std::max(value, low);
    place = std::isfinite(range) ? std::log(from / low) / std::log(range)
                                 : (std::log(from) - std::log(low)) / (std::log(high) - std::log(low));
  }
  return std::clamp(place, 0.0, 1.0);
}

namespace detail {

/// The places of `layers` in the order of a chart's x.
[[nodiscard]] inline std::vector<std::size_t> ascending(const std::vector<Index>& layers) {
  std::vector<std::size_t> order(layers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t k) { return layers[k]; });
  return order;
}

/// The colours of a trace's entropies: from 0 to the largest.
[[nodiscard]] inline HeatMapView entropy_scale(const Trace& trace) {
  HeatMapView scale{.name = "context entropy", .meaning = "", .low = 0, .high = 1e-9, .panels = {}};
  for (const TraceStep& step : trace.steps)
    for (const TraceCandidate& c : step.kept)
      if (!std::isnan(c.entropy)) scale.high = std::max(scale.high, c.entropy);
  return scale;
}

inline void check_count(const std::string& what, std::size_t found, std::size_t expected) {
  if (found != expected)
    throw ShapeError(what + ": expected " + std::to_string(expected) + " values, got " + std::to_string(found));
}

}  // namespace detail

inline void HeatMap::validate() const {
  const std::string name = "heat map " + detail::printable(title);
  if (rows.empty() || columns.empty() || panels.empty() || views.empty())
    throw ArgumentError(name + ": it needs rows, columns, panels and views");
  if (marked_row && (*marked_row < 0 || *marked_row >= static_cast<Index>(rows.size())))
    throw ArgumentError(name + ": there is no row " + std::to_string(*marked_row));
  for (const HeatMapView& view : views) {
    if (!(view.low < view.high) || !std::isfinite(view.low) || !std::isfinite(view.high) ||
        (view.scale == ColorScale::logarithmic && view.low <= 0))
      throw ArgumentError(name + ", view " + detail::printable(view.name) + ": no scale goes from " +
                          std::to_string(view.low) + " to " + std::to_string(view.high));
    detail::check_count(name + ", panels of view " + detail::printable(view.name), view.panels.size(), panels.size());
    for (const std::vector<double>& panel : view.panels)
      detail::check_count(name + ", view " + detail::printable(view.name), panel.size(), rows.size() * columns.size());
  }
}

inline void LineChart::validate() const {
  const std::string name = "chart " + detail::printable(title);
  if (x.empty() || curves.empty()) throw ArgumentError(name + ": it needs points and curves");
  if (!std::is_sorted(x.begin(), x.end())) throw ArgumentError(name + ": x is not ascending");
  if (bin_width && !(*bin_width > 0)) throw ArgumentError(name + ": bins must have a width");
  for (const Curve& curve : curves) {
    detail::check_count(name + ", curve " + detail::printable(curve.name), curve.y.size(), x.size());
    if (!curve.band.empty())
      detail::check_count(name + ", band of " + detail::printable(curve.name), curve.band.size(), x.size());
  }
}

inline void Report::validate() const {
  for (const Picture& picture : pictures) {
    if (const auto* map = std::get_if<HeatMap>(&picture)) map->validate();
    if (const auto* chart = std::get_if<LineChart>(&picture)) chart->validate();
  }
}

}  // namespace v0
}  // namespace activation_trace
