// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <variant>

#include "activation_trace/report/color_scale.hpp"
#include "activation_trace/report/picture.hpp"
#include "activation_trace/report/svg_chart.hpp"
#include "activation_trace/report/svg_parts.hpp"
#include "activation_trace/report/text.hpp"

namespace activation_trace {
inline namespace v0 {

/// A standalone SVG document: the pictures below each other, a heat map's panels side by side, with one of its views
/// (or the last, if it has fewer); light or dark as the reader's system. Throws as validate().
[[nodiscard]] std::string to_svg(const Report& report, std::size_t view = 0);

namespace detail {

struct SvgDrawing {
  double width;
  double height;
  std::string body;
};

/// Where a panel's parts are, in pixels from its own corner.
struct HeatMapLayout {
  explicit HeatMapLayout(const HeatMap& map)
      : rows(static_cast<double>(map.rows.size())), columns(static_cast<double>(map.columns.size())) {
    std::size_t longest_row = 1;
    for (const std::string& row : map.rows) longest_row = std::max(longest_row, display_width(visible(row)));
    for (const std::string& column : map.columns)
      label = std::max(label, std::min(display_width(visible(column)), max_label));
    numbers = map.rows.size() * map.columns.size() <= 400 && map.panels.size() == 1;
    cell_width = numbers ? 46 : columns <= 24 ? 20 : columns <= 80 ? 14 : 11;
    cell_height = numbers ? 24 : rows <= 48 ? 12 : 11;
    upright = static_cast<double>(label) * 6.5 + 2 > cell_width;
    left = 26 + 6.5 * static_cast<double>(std::min<std::size_t>(longest_row, 12));
    bottom = upright ? 10 + 5.8 * static_cast<double>(label) : 18;
  }

  static constexpr std::size_t max_label = 18;

  double rows;
  double columns;
  std::size_t label = 1;  ///< columns of text of the longest label
  bool numbers = false;   ///< whether cells have theirs written in
  bool upright = false;   ///< whether column labels are turned
  double cell_width = 0;
  double cell_height = 0;
  double left = 0;
  double top = 22;
  double bottom = 0;

  [[nodiscard]] double plot_width() const { return cell_width * columns; }
  [[nodiscard]] double plot_height() const { return cell_height * rows; }
  [[nodiscard]] double width() const { return left + plot_width() + 20; }
  [[nodiscard]] double height() const { return top + plot_height() + bottom + 22; }
};

/// One path per colour: runs of cells that have it.
inline std::string svg_cells(const HeatMap& map, std::size_t view, std::size_t panel, const HeatMapLayout& at) {
  constexpr int levels = 128;
  std::array<std::string, levels> paths;
  const auto level = [&](std::size_t row, std::size_t column) {
    const double place = map.views[view].place(map.value(view, panel, row, column));
    return std::isnan(place) ? -1 : static_cast<int>(std::lround(place * (levels - 1)));
  };
  for (std::size_t r = 0; r < map.rows.size(); ++r) {
    const double y = at.top + at.plot_height() - at.cell_height * static_cast<double>(r + 1);
    for (std::size_t c = 0; c < map.columns.size();) {
      const int color = level(r, c);
      const std::size_t first = c;
      while (c < map.columns.size() && level(r, c) == color) ++c;
      if (color < 0) continue;
      const double width = at.cell_width * static_cast<double>(c - first);
      paths[static_cast<std::size_t>(color)] += "M" + px(at.left + at.cell_width * static_cast<double>(first)) + " " +
                                                px(y) + "h" + px(width) + "v" + px(at.cell_height) + "h" + px(-width) +
                                                "z";
    }
  }
  std::string result;
  for (int color = 0; color < levels; ++color)
    if (const std::string& path = paths[static_cast<std::size_t>(color)]; !path.empty())
      result += "<path fill=\"" + hex(viridis(color / (levels - 1.0))) + "\" d=\"" + path + "\"/>\n";
  if (!at.numbers) return result;
  for (std::size_t r = 0; r < map.rows.size(); ++r)
    for (std::size_t c = 0; c < map.columns.size(); ++c) {
      const double value = map.value(view, panel, r, c);
      if (std::isnan(value)) continue;
      const double x = at.left + at.cell_width * (static_cast<double>(c) + 0.5);
      const double y = at.top + at.plot_height() - at.cell_height * (static_cast<double>(r) + 0.5) + 4;
      const bool black = is_bright(viridis(map.views[view].place(value)));
      result += svg_text(x, y, format_number(value, 3), black ? "onbright" : "ondark", "middle");
    }
  return result;
}

/// Frame, labels and axes of a panel.
inline std::string svg_frame(const HeatMap& map, std::size_t panel, const HeatMapLayout& at) {
  std::string result = svg_text(at.left, 14, visible(map.panels[panel]), "name");
  result += svg_rect(at.left - 0.5, at.top - 0.5, at.plot_width() + 1, at.plot_height() + 1, "frame");
  const std::size_t step = map.rows.size() > 48 ? 5 : 1;
  for (std::size_t r = 0; r < map.rows.size(); r += step)
    result += svg_text(at.left - 5, at.top + at.plot_height() - at.cell_height * (static_cast<double>(r) + 0.5) + 3.5,
                       shortened(map.rows[r], 12), "small", "end");
  const double y = at.top + at.plot_height() + 6;
  for (std::size_t c = 0; c < map.columns.size(); ++c) {
    const double x = at.left + at.cell_width * (static_cast<double>(c) + 0.5);
    const std::string label = shortened(map.columns[c], HeatMapLayout::max_label, Spaces::marked);
    result +=
        at.upright ? svg_turned_text(x + 3.5, y, label, "small", "end") : svg_text(x, y + 7, label, "small", "middle");
  }
  result += svg_turned_text(12, at.top + at.plot_height() / 2, visible(map.row_axis), "axis", "middle");
  result += svg_text(at.left + at.plot_width() / 2, at.height() - 6, visible(map.column_axis), "axis", "middle");
  if (map.marked_row) {
    const double top = at.top + at.plot_height() - at.cell_height * static_cast<double>(*map.marked_row + 1);
    const double right = at.left + at.plot_width();
    for (const char* kind : {"mark", "marked"})  // black around white shows on any colour
      result += svg_rect(at.left - 1, top - 0.5, at.plot_width() + 2, at.cell_height + 1, kind);
    result += "<path class=\"ink\" d=\"M" + px(right + 4) + " " + px(top + at.cell_height / 2) + "l8 -4v8z\"/>\n";
  }
  return result;
}

/// The colours and what they stand for, 250 wide and 30 high.
inline std::string svg_legend(const HeatMapView& view, double x, double y) {
  std::string result;
  constexpr int steps = 50;
  for (int i = 0; i < steps; ++i)
    result +=
        "<path fill=\"" + hex(viridis(i / (steps - 1.0))) + "\" d=\"M" + px(x + 4.0 * i) + " " + px(y) + "h4v9h-4z\"/>";
  const double middle = view.scale == ColorScale::linear ? (view.low + view.high) / 2 : std::sqrt(view.low * view.high);
  result += "\n" + svg_text(x, y + 20, format_number(view.low, 3), "small");
  result += svg_text(x + 100, y + 20, format_number(middle, 3), "small", "middle");
  result += svg_text(x + 200, y + 20, format_number(view.high, 3), "small", "end");
  return result;
}

inline SvgDrawing svg_drawing(const HeatMap& map, std::size_t wanted_view) {
  const std::size_t view = std::min(wanted_view, map.views.size() - 1);
  const HeatMapLayout at(map);
  const auto count = static_cast<double>(map.panels.size());
  const double width = std::max(at.width() * count, 420.0);
  std::string body = svg_text(8, 18, visible(map.title), "title");
  body += svg_text(8, 36, visible(map.views[view].name + ": " + map.views[view].meaning), "small");
  for (std::size_t p = 0; p < map.panels.size(); ++p)
    body += "<g transform=\"translate(" + px(at.width() * static_cast<double>(p)) + " 46)\">\n" +
            "<g shape-rendering=\"crispEdges\">" + svg_cells(map, view, p, at) + "</g>\n" + svg_frame(map, p, at) +
            "</g>\n";
  const double y = 46 + at.height() + 8;
  body += svg_legend(map.views[view], at.left, y);
  if (map.marked_row) body += svg_text(at.left + 220, y + 9, "\u25c2 " + visible(map.mark), "small");
  return {width, y + 30, body};
}

inline SvgDrawing svg_drawing(const LineChart& chart, std::size_t) {
  constexpr double width = 680;
  constexpr double height = 340;
  return {width, height + 26,
          svg_text(8, 18, visible(chart.title), "title") + "<g transform=\"translate(0 26)\">\n" +
              svg_chart(chart, width, height) + "</g>\n"};
}

inline SvgDrawing svg_drawing(const Trace& trace, std::size_t) {
  constexpr std::size_t shown = 5;  // candidates of a step
  constexpr double row = 34;
  constexpr double box = 118;
  const HeatMapView scale = entropy_scale(trace);
  std::string body = svg_text(8, 18, visible(trace.title), "title");
  body += svg_text(40, 44, "chosen", "axis") + svg_text(190, 44, "instead of", "axis") +
          svg_text(300, 44, "candidates by score: log p, context entropy (nats)", "axis");
  double y = 50;
  for (std::size_t s = 0; s < trace.steps.size(); ++s, y += row) {
    const TraceStep& step = trace.steps[s];
    body += svg_text(30, y + 20, std::to_string(s), "small", "end");
    body += svg_text(40, y + 20, shortened(step.chosen.token, 18, Spaces::marked), "name");
    if (step.instead) body += svg_text(190, y + 20, shortened(*step.instead, 14, Spaces::marked), "changed");
    for (std::size_t k = 0; k < std::min(shown, step.kept.size()); ++k) {
      const TraceCandidate& c = step.kept[k];
      const double x = 300 + box * static_cast<double>(k);
      if (!std::isnan(c.entropy))
        body += "<path fill=\"" + hex(viridis(scale.place(c.entropy))) + "\" d=\"M" + px(x) + " " + px(y + 4) +
                "h5v26h-5z\"/>\n";
      body +=
          svg_text(x + 10, y + 15, shortened(c.token, 14, Spaces::marked), c.id == step.chosen.id ? "name" : "plain");
      body += svg_text(x + 10, y + 28, format_number(c.log_prob, 3) + ", " + format_number(c.entropy, 3), "small");
    }
    if (step.kept.size() > shown)
      body += svg_text(300 + box * shown, y + 20, "+" + std::to_string(step.kept.size() - shown), "small");
  }
  body += svg_legend(scale, 40, y + 10) + svg_text(250, y + 19, "context entropy", "small");
  return {300 + box * shown + 40, y + 44, body};
}

}  // namespace detail

inline std::string to_svg(const Report& report, std::size_t view) {
  report.validate();
  std::string body;
  double width = 320;
  double height = 0;
  for (const Picture& picture : report.pictures) {
    const detail::SvgDrawing drawing = std::visit([&](const auto& p) { return detail::svg_drawing(p, view); }, picture);
    body += "<g transform=\"translate(0 " + detail::px(height) + ")\">\n" + drawing.body + "</g>\n";
    width = std::max(width, drawing.width);
    height += drawing.height + 12;
  }
  return detail::svg_document(width, height, report.title, body);
}

}  // namespace v0
}  // namespace activation_trace
