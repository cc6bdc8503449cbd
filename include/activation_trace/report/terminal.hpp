// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

#include "activation_trace/report/color_scale.hpp"
#include "activation_trace/report/picture.hpp"
#include "activation_trace/report/text.hpp"

namespace activation_trace {
inline namespace v0 {

/// What a terminal can show: 24-bit colours, xterm's palette of 256, or characters only.
enum class TerminalColors { none, palette, full };

/// What the terminal is like.
struct TerminalOptions {
  TerminalColors colors = TerminalColors::none;  ///< what it can show
  std::size_t width = 80;  ///< columns for cells and candidates; headings and remarks may take more
};

/// A report as text. Heat maps lie on their side, a line per column (token), so a prompt may be of any length; a
/// view comes after the other. Throws as validate().
[[nodiscard]] std::string to_terminal(const Report& report, const TerminalOptions& options = {});

/// `text` on a background colour; the characters ` .:-=+*#%@` stand for it where there are none and text is a space.
[[nodiscard]] std::string on_color(std::string_view text, double place, TerminalColors colors);

namespace detail {

/// The nearest colour of xterm's 6 x 6 x 6 cube.
inline int palette_color(Rgb color) {
  const auto level = [](std::uint8_t channel) {
    static constexpr int levels[] = {0, 95, 135, 175, 215, 255};
    int best = 0;
    for (int i = 1; i < 6; ++i)
      if (std::abs(levels[i] - channel) < std::abs(levels[best] - channel)) best = i;
    return best;
  };
  return 16 + 36 * level(color.red) + 6 * level(color.green) + level(color.blue);
}

/// Cells of one width, a panel after the other, for a line of a heat map on its side.
struct TerminalLayout {
  TerminalLayout(const HeatMap& map, std::size_t width) {
    for (const std::string& column : map.columns) label = std::max(label, display_width(visible(column)));
    label = std::clamp<std::size_t>(label, 4, 16);
    const std::size_t cells = map.rows.size() * map.panels.size();
    const std::size_t room = width > label + 2 * map.panels.size() + 6 ? width - label - 6 - 2 * map.panels.size() : 1;
    cell = std::clamp<std::size_t>(room / std::max<std::size_t>(1, cells), 1, 3);
    // Panels that do not fit side by side go below each other.
    together = std::clamp<std::size_t>(room / std::max<std::size_t>(1, cell * map.rows.size()), 1, map.panels.size());
    shown = std::min(map.rows.size(), std::max<std::size_t>(1, room / cell));
  }

  std::size_t label = 0;
  std::size_t cell = 1;
  std::size_t together = 1;  ///< panels
  std::size_t shown = 0;     ///< rows of the map, which are columns here
};

inline std::string terminal_lines(const HeatMap& map, const TerminalOptions& options, std::size_t view,
                                  std::size_t first, std::size_t last, const TerminalLayout& at) {
  std::string heading(at.label + 6, ' ');
  std::string ticks = printable_cell("", at.label + 6);
  for (std::size_t p = first; p < last; ++p) {
    heading += printable_cell(map.panels[p], at.cell * at.shown) + "  ";
    std::string numbers(at.cell * at.shown, ' ');
    const std::size_t step = at.cell == 1 ? 5 : at.cell == 2 ? 4 : 2;
    for (std::size_t r = 0; r < at.shown; r += step) {
      const std::string text = visible(map.rows[r]);
      if (at.cell * r + text.size() <= numbers.size()) numbers.replace(at.cell * r, text.size(), text);
    }
    ticks += numbers + "  ";
  }
  std::string result = heading + "\n" + ticks + "\n";
  for (std::size_t c = 0; c < map.columns.size(); ++c) {
    const std::string number = std::to_string(map.first_column + static_cast<Index>(c));
    result += std::string(4 - std::min<std::size_t>(4, number.size()), ' ') + number + " " +
              printable_cell(map.columns[c], at.label, Spaces::marked) + " ";
    for (std::size_t p = first; p < last; ++p) {
      for (std::size_t r = 0; r < at.shown; ++r) {
        const double value = map.value(view, p, r, c);
        result += std::isnan(value) ? std::string(at.cell, ' ')
                                    : on_color(std::string(at.cell, ' '), map.views[view].place(value), options.colors);
      }
      result += "  ";
    }
    result += "\n";
  }
  return result;
}

inline std::string terminal_text(const HeatMap& map, const TerminalOptions& options) {
  const TerminalLayout at(map, options.width);
  std::string result = visible(map.title) + "\n";
  for (std::size_t v = 0; v < map.views.size(); ++v) {
    const HeatMapView& view = map.views[v];
    std::string scale;
    for (int i = 0; i < 20; ++i) scale += on_color(" ", i / 19.0, options.colors);
    result += "\n" + visible(view.name) + ": " + visible(view.meaning) + "\n" + format_number(view.low, 3) + " " +
              scale + " " + format_number(view.high, 3) + "; across: " + visible(map.row_axis) + "\n";
    for (std::size_t p = 0; p < map.panels.size(); p += at.together)
      result += terminal_lines(map, options, v, p, std::min(p + at.together, map.panels.size()), at);
  }
  if (map.marked_row) result += visible(map.mark) + "\n";
  return result;
}

inline std::string right_aligned(std::string text, std::size_t width) {
  const std::size_t taken = display_width(text);
  return std::string(width - std::min(width, taken), ' ') + text;
}

inline std::string terminal_text(const LineChart& chart, const TerminalOptions& options) {
  constexpr std::size_t column = 24;
  std::string result = visible(chart.title) + "\n";
  if (chart.bin_width) result += "by the middles of bins " + format_number(*chart.bin_width, 4) + " wide\n";
  result += printable_cell(chart.x_axis, 8);
  const std::size_t curves = std::min(chart.curves.size(), std::max<std::size_t>(1, (options.width - 8) / column));
  for (std::size_t k = 0; k < curves; ++k) result += right_aligned(shortened(chart.curves[k].name, column - 1), column);
  result += "\n";
  for (std::size_t i = 0; i < chart.x.size(); ++i) {
    result += printable_cell(format_number(chart.x[i], 6), 8);
    for (std::size_t k = 0; k < curves; ++k) {
      const Curve& curve = chart.curves[k];
      std::string cell = format_number(curve.y[i]);
      if (!curve.band.empty())
        cell += " [" + format_number(curve.band[i].low) + ", " + format_number(curve.band[i].high) + "]";
      result += right_aligned(cell, column);
    }
    if (chart.marked_x && chart.x[i] == *chart.marked_x) result += "  < " + visible(chart.mark);
    result += "\n";
  }
  if (chart.reference_y) result += visible(chart.reference) + ": " + format_number(*chart.reference_y) + "\n";
  return result;
}

inline std::string terminal_text(const Trace& trace, const TerminalOptions& options) {
  constexpr std::size_t box = 30;
  const HeatMapView scale = entropy_scale(trace);
  std::string result = visible(trace.title) + "\nstep  chosen            candidates by score: log p, entropy\n";
  for (std::size_t s = 0; s < trace.steps.size(); ++s) {
    const TraceStep& step = trace.steps[s];
    result += right_aligned(std::to_string(s), 4) + (step.instead ? " *" : "  ") +
              printable_cell(step.chosen.token, 16, Spaces::marked);
    std::size_t room = options.width > 24 ? options.width - 24 : 0;
    std::size_t shown = 0;
    for (; shown < step.kept.size() && room >= box; ++shown, room -= box) {
      const TraceCandidate& c = step.kept[shown];
      result += "  " + on_color(" ", std::isnan(c.entropy) ? 0 : scale.place(c.entropy), options.colors) +
                printable_cell(c.token, 12, Spaces::marked) + right_aligned(format_number(c.log_prob, 3), 7) + " " +
                right_aligned(format_number(c.entropy, 3), 6);
    }
    if (shown < step.kept.size()) result += " +" + std::to_string(step.kept.size() - shown);
    result += "\n";
  }
  return result + "* the entropy changed the choice\n";
}

}  // namespace detail

inline std::string on_color(std::string_view text, double place, TerminalColors colors) {
  if (colors == TerminalColors::none) {
    static constexpr std::string_view ramp = " .:-=+*#%@";
    const auto level = static_cast<std::size_t>(std::lround(detail::fraction(place) * (ramp.size() - 1.0)));
    std::string result(text);
    std::replace(result.begin(), result.end(), ' ', ramp[level]);
    return result;
  }
  const Rgb color = viridis(place);
  const bool black = is_bright(color);
  std::string begin;
  if (colors == TerminalColors::full)
    begin = "\x1b[48;2;" + std::to_string(color.red) + ';' + std::to_string(color.green) + ';' +
            std::to_string(color.blue) + (black ? ";38;2;0;0;0m" : ";38;2;255;255;255m");
  else
    begin = "\x1b[48;5;" + std::to_string(detail::palette_color(color)) + (black ? ";38;5;16m" : ";38;5;231m");
  return begin + std::string(text) + "\x1b[0m";
}

inline std::string to_terminal(const Report& report, const TerminalOptions& options) {
  report.validate();
  std::string result = visible(report.title) + "\n";
  for (const auto& [name, value] : report.facts) result += "  " + visible(name) + ": " + visible(value) + "\n";
  for (const Picture& picture : report.pictures)
    result += "\n" + std::visit([&](const auto& p) { return detail::terminal_text(p, options); }, picture);
  return result;
}

}  // namespace v0
}  // namespace activation_trace
