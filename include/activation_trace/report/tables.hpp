// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "activation_trace/report/picture.hpp"
#include "activation_trace/text/csv.hpp"
#include "activation_trace/text/utf8.hpp"

namespace activation_trace {
inline namespace v0 {

/// The numbers of a report: {"title", "facts", "pictures": [{"kind": "heat_map" | "line_chart" | "trace", ...}]}, a
/// heat map's values as [panel][row][column]. What is not a number is null, bytes that are no UTF-8 are U+FFFD. Throws
/// as validate().
[[nodiscard]] nlohmann::ordered_json to_json(const Report& report);

/// The same, a line per number: picture,view,series,row,column_number,column,value,low,high. A heat map's series are
/// its panels; of a chart's curves row is empty, column is x, and low and high are the band; of a trace the view is
/// log_prob, entropy or score, the series is "chosen" or "kept", and row is the step. Written as CsvWriter does. Throws
/// as validate().
[[nodiscard]] std::string to_csv(const Report& report);

namespace detail {

inline nlohmann::ordered_json json_numbers(const std::vector<double>& values) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const double x : values) list.push_back(std::isfinite(x) ? nlohmann::ordered_json(x) : nullptr);
  return list;
}

inline std::vector<std::string> json_texts(const std::vector<std::string>& texts) {
  std::vector<std::string> result;
  for (const std::string& text : texts) result.push_back(replace_ill_formed(text));
  return result;
}

inline nlohmann::ordered_json picture_json(const HeatMap& map) {
  nlohmann::ordered_json json{{"kind", "heat_map"},
                              {"title", replace_ill_formed(map.title)},
                              {"row_axis", replace_ill_formed(map.row_axis)},
                              {"column_axis", replace_ill_formed(map.column_axis)},
                              {"rows", json_texts(map.rows)},
                              {"columns", json_texts(map.columns)},
                              {"first_column", map.first_column},
                              {"panels", json_texts(map.panels)},
                              {"views", nlohmann::ordered_json::array()}};
  if (map.marked_row) json["marked_row"] = *map.marked_row;
  for (const HeatMapView& view : map.views) {
    nlohmann::ordered_json panels = nlohmann::ordered_json::array();
    for (const std::vector<double>& panel : view.panels) {
      nlohmann::ordered_json rows = nlohmann::ordered_json::array();
      for (auto row = panel.begin(); row != panel.end(); row += static_cast<std::ptrdiff_t>(map.columns.size()))
        rows.push_back(json_numbers({row, row + static_cast<std::ptrdiff_t>(map.columns.size())}));
      panels.push_back(std::move(rows));
    }
    json["views"].push_back({{"name", replace_ill_formed(view.name)},
                             {"meaning", view.meaning},
                             {"scale", view.scale == ColorScale::linear ? "linear" : "logarithmic"},
                             {"low", view.low},
                             {"high", view.high},
                             {"values", std::move(panels)}});
  }
  return json;
}

inline nlohmann::ordered_json picture_json(const LineChart& chart) {
  nlohmann::ordered_json json{{"kind", "line_chart"},
                              {"title", replace_ill_formed(chart.title)},
                              {"x_axis", replace_ill_formed(chart.x_axis)},
                              {"y_axis", replace_ill_formed(chart.y_axis)},
                              {"x", json_numbers(chart.x)},
                              {"curves", nlohmann::ordered_json::array()}};
  if (chart.bin_width) json["bin_width"] = *chart.bin_width;
  if (chart.marked_x) json["marked_x"] = *chart.marked_x;
  if (chart.reference_y) json["reference_y"] = *chart.reference_y;
  for (const Curve& curve : chart.curves) {
    nlohmann::ordered_json values{{"name", replace_ill_formed(curve.name)}, {"y", json_numbers(curve.y)}};
    if (!curve.band.empty()) {
      std::vector<double> low;
      std::vector<double> high;
      for (const Interval& band : curve.band) low.push_back(band.low), high.push_back(band.high);
      values["low"] = json_numbers(low);
      values["high"] = json_numbers(high);
    }
    json["curves"].push_back(std::move(values));
  }
  return json;
}

inline nlohmann::ordered_json picture_json(const Trace& trace) {
  const auto candidate = [](const TraceCandidate& c) {
    const auto number = [](double x) { return std::isfinite(x) ? nlohmann::ordered_json(x) : nullptr; };
    return nlohmann::ordered_json{{"id", c.id},
                                  {"token", replace_ill_formed(c.token)},
                                  {"log_prob", number(c.log_prob)},
                                  {"entropy", number(c.entropy)},
                                  {"score", number(c.score)}};
  };
  nlohmann::ordered_json json{
      {"kind", "trace"}, {"title", replace_ill_formed(trace.title)}, {"steps", nlohmann::ordered_json::array()}};
  for (const TraceStep& step : trace.steps) {
    nlohmann::ordered_json kept = nlohmann::ordered_json::array();
    for (const TraceCandidate& c : step.kept) kept.push_back(candidate(c));
    json["steps"].push_back({{"chosen", candidate(step.chosen)},
                             {"instead", step.instead ? nlohmann::ordered_json(replace_ill_formed(*step.instead))
                                                      : nlohmann::ordered_json(nullptr)},
                             {"alert", step.alert},
                             {"kept", std::move(kept)}});
  }
  return json;
}

inline void csv_lines(const HeatMap& map, CsvWriter& csv) {
  for (std::size_t v = 0; v < map.views.size(); ++v)
    for (std::size_t p = 0; p < map.panels.size(); ++p)
      for (std::size_t r = 0; r < map.rows.size(); ++r)
        for (std::size_t c = 0; c < map.columns.size(); ++c)
          csv.line({map.title, map.views[v].name, map.panels[p], map.rows[r], map.first_column + static_cast<Index>(c),
                    map.columns[c], map.value(v, p, r, c), "", ""});
}

inline void csv_lines(const LineChart& chart, CsvWriter& csv) {
  for (const Curve& curve : chart.curves)
    for (std::size_t i = 0; i < chart.x.size(); ++i)
      if (curve.band.empty())
        csv.line({chart.title, chart.y_axis, curve.name, "", static_cast<Index>(i), chart.x[i], curve.y[i], "", ""});
      else
        csv.line({chart.title, chart.y_axis, curve.name, "", static_cast<Index>(i), chart.x[i], curve.y[i],
                  curve.band[i].low, curve.band[i].high});
}

inline void csv_lines(const Trace& trace, CsvWriter& csv) {
  for (std::size_t s = 0; s < trace.steps.size(); ++s) {
    const auto candidate = [&](const char* series, std::size_t number, const TraceCandidate& c) {
      const auto value = [&](const char* view, double x) {
        csv.line({trace.title, view, series, static_cast<Index>(s), static_cast<Index>(number), c.token, x, "", ""});
      };
      value("log_prob", c.log_prob);
      value("entropy", c.entropy);
      value("score", c.score);
    };
    candidate("chosen", 0, trace.steps[s].chosen);
    for (std::size_t k = 0; k < trace.steps[s].kept.size(); ++k) candidate("kept", k, trace.steps[s].kept[k]);
  }
}

}  // namespace detail

inline nlohmann::ordered_json to_json(const Report& report) {
  report.validate();
  nlohmann::ordered_json json{{"title", replace_ill_formed(report.title)},
                              {"facts", nlohmann::ordered_json::object()},
                              {"pictures", nlohmann::ordered_json::array()}};
  for (const auto& [name, value] : report.facts) json["facts"][name] = replace_ill_formed(value);
  for (const Picture& picture : report.pictures)
    json["pictures"].push_back(std::visit([](const auto& p) { return detail::picture_json(p); }, picture));
  return json;
}

inline std::string to_csv(const Report& report) {
  report.validate();
  CsvWriter csv;
  csv.line({"picture", "view", "series", "row", "column_number", "column", "value", "low", "high"});
  for (const Picture& picture : report.pictures) std::visit([&](const auto& p) { detail::csv_lines(p, csv); }, picture);
  return csv.take();
}

}  // namespace v0
}  // namespace activation_trace
