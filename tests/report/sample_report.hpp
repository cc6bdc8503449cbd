// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/report/picture.hpp"

namespace activation_trace::test {

/// Tokens that break what does not escape them: markup, quotes, ends of scripts and CDATA, controls, a bidirectional
/// override, formulas of spreadsheets, bytes that are no UTF-8, wide, combining and long ones.
inline const std::vector<std::string>& nasty_tokens() {
  static const std::vector<std::string> tokens{"<|im_start|>",
                                               "</script><script>document.title='owned'</script>",
                                               "\"'&amp;]]><!--",
                                               "\n\t\r",
                                               std::string("\0\x1b[31m\x7f", 7),
                                               "\u202egnirts",
                                               "\xe2\x82",
                                               "\xff\xfe",
                                               "\u6f22\u5b57",
                                               "e\u0301",
                                               "\U0001f600",
                                               "\ufffe",
                                               " Boston",
                                               "a,b;\"c\"",
                                               "long-long-long-long-long-token",
                                               "=HYPERLINK(\"http://x\",\"y\")",
                                               "-1+1",
                                               "\uff20x"};
  return tokens;
}

// One of each kind of picture, with these labels and values by closed forms.

inline HeatMap sample_heat_map() {
  const std::vector<std::string>& tokens = nasty_tokens();
  HeatMap map{.title = "Heat " + tokens[1],
              .row_axis = "layer",
              .column_axis = "position",
              .rows = {"0", "3", "7", "30"},
              .columns = tokens,
              .panels = {"right: " + tokens[2], "wrong: " + tokens[6]},
              .views = {},
              .first_column = 3,
              .marked_row = 2,
              .mark = "info_layer 7"};
  HeatMapView raw{.name = "raw", .meaning = "a & b < c", .low = -3, .high = 3, .panels = {{}, {}}};
  HeatMapView log{
      .name = "log", .meaning = "m", .scale = ColorScale::logarithmic, .low = 1e-6, .high = 1, .panels = {{}, {}}};
  for (std::size_t p = 0; p < 2; ++p)
    for (std::size_t i = 0; i < 4 * tokens.size(); ++i) {
      raw.panels[p].push_back(4 * std::sin(0.37 * static_cast<double>(i) + static_cast<double>(p)));
      log.panels[p].push_back(std::pow(10, -0.12 * static_cast<double>(i)));
    }
  raw.panels[1][5] = std::numeric_limits<double>::quiet_NaN();
  map.views = {std::move(raw), std::move(log)};
  return map;
}

inline LineChart sample_chart() {
  const std::vector<std::string>& tokens = nasty_tokens();
  LineChart chart{.title = "Curves " + tokens[2],
                  .x_axis = "layer",
                  .y_axis = "AUROC",
                  .x = {0, 1, 2, 3, 4, 5, 6, 7},
                  .curves = {{.name = tokens[1], .y = {}, .band = {}}, {.name = "plain", .y = {}, .band = {}}},
                  .marked_x = 6,
                  .mark = "info_layer 6",
                  .reference_y = 0.5,
                  .reference = "chance"};
  for (const double x : chart.x) {
    chart.curves[0].y.push_back(0.5 + 0.03 * x);
    chart.curves[0].band.push_back({0.45 + 0.03 * x, 0.55 + 0.03 * x});
    chart.curves[1].y.push_back(x == 3 ? std::nan("") : 0.6 - 0.01 * x * x);
  }
  return chart;
}

inline HeatMap sample_grid() {
  HeatMap grid{.title = "mc1 by alpha and layer",
               .row_axis = "alpha",
               .column_axis = "layer",
               .rows = {"0", "0.5", "1"},
               .columns = {"10", "20", "30"},
               .panels = {"mc1"},
               .views = {{.name = "mc1",
                          .meaning = "mean",
                          .low = 0.1,
                          .high = 0.9,
                          .panels = {{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}}}}};
  return grid;
}

inline Trace sample_trace() {
  const std::vector<std::string>& tokens = nasty_tokens();
  Trace trace{.title = "Mode activation", .steps = {}};
  for (std::size_t s = 0; s < tokens.size(); ++s) {
    const double x = static_cast<double>(s);
    TraceStep step{.chosen = {static_cast<TokenId>(s), tokens[s], -0.1 * x, 0.2 * x, -0.3 * x}, .kept = {}};
    step.kept.push_back(step.chosen);
    for (std::size_t k = 1; k < s; ++k)
      step.kept.push_back({static_cast<TokenId>(100 + k), tokens[k], -1 - x, k % 3 == 0 ? std::nan("") : 0.1 * x, -2});
    if (s % 4 == 1) step.instead = tokens[2];
    step.alert = s == 3;
    trace.steps.push_back(std::move(step));
  }
  return trace;
}

inline Report sample_report() {
  const std::vector<std::string>& tokens = nasty_tokens();
  Report report{
      .title = "Sample <b>& \"report\"</b>", .facts = {{"prompt", tokens[1]}, {"bytes", tokens[7]}}, .pictures = {}};
  report.pictures.emplace_back(sample_heat_map());
  report.pictures.emplace_back(sample_chart());
  report.pictures.emplace_back(sample_grid());
  report.pictures.emplace_back(sample_trace());
  return report;
}

}  // namespace activation_trace::test
