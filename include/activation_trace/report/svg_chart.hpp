// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/report/picture.hpp"
#include "activation_trace/report/svg_parts.hpp"
#include "activation_trace/report/text.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// An axis from `low` to `high` with a round step between ticks.
struct Axis {
  double low;
  double high;
  double step;

  /// Holds [low, high], in about `ticks` steps.
  static Axis around(double low, double high, int ticks) {
    if (!(high > low)) high = low + 1;
    const double rough = (high - low) / ticks;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    double step = 10 * power;
    for (const double candidate : {5 * power, 2 * power, power})
      if (candidate >= rough) step = candidate;
    return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step};
  }

  [[nodiscard]] std::vector<double> ticks() const {
    std::vector<double> all;
    for (int i = 0; low + i * step <= high + step * 1e-6; ++i) all.push_back(low + i * step);
    return all;
  }
};

/// Where a chart's points are, in pixels.
class ChartLayout {
 public:
  static constexpr double left = 58;
  static constexpr double right = 14;
  static constexpr double top = 26;
  static constexpr double bottom = 40;

  ChartLayout(const LineChart& chart, double width, double height) : width_(width), height_(height) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    const auto include = [&](double y) {
      if (!std::isfinite(y)) return;
      low = std::min(low, y);
      high = std::max(high, y);
    };
    for (const Curve& curve : chart.curves) {
      for (const double y : curve.y) include(y);
      for (const Interval& band : curve.band) include(band.low), include(band.high);
    }
    if (chart.reference_y) include(*chart.reference_y);
    if (chart.bin_width) include(0);
    if (!(low <= high)) low = 0, high = 1;
    y_axis = Axis::around(low, high, 6);
    if (chart.bin_width) {
      x_axis = Axis::around(chart.x.front() - *chart.bin_width / 2, chart.x.back() + *chart.bin_width / 2, 10);
    } else {
      x_axis = {chart.x.front(), std::max(chart.x.back(), chart.x.front() + 1e-9), 1};
      x_axis.step = std::max(1.0, Axis::around(x_axis.low, x_axis.high, 16).step);
    }
  }

  Axis x_axis{};
  Axis y_axis{};

  [[nodiscard]] double x(double value) const {
    return left + (width_ - left - right) * (value - x_axis.low) / (x_axis.high - x_axis.low);
  }
  [[nodiscard]] double y(double value) const {
    return top + (height_ - top - bottom) * (1 - (value - y_axis.low) / (y_axis.high - y_axis.low));
  }
  [[nodiscard]] double width() const { return width_; }
  [[nodiscard]] double height() const { return height_; }

 private:
  double width_;
  double height_;
};

inline std::string svg_axes(const LineChart& chart, const ChartLayout& at) {
  std::string result;
  const double floor = at.height() - ChartLayout::bottom;
  for (const double tick : at.y_axis.ticks()) {
    result += svg_line(ChartLayout::left, at.y(tick), at.width() - ChartLayout::right, at.y(tick), "grid");
    result += svg_text(ChartLayout::left - 6, at.y(tick) + 3.5,
                       format_number(std::abs(tick) < at.y_axis.step * 1e-6 ? 0 : tick, 6), "small", "end");
  }
  for (const double tick : at.x_axis.ticks()) {
    result += svg_line(at.x(tick), floor, at.x(tick), floor + 4, "frame");
    result += svg_text(at.x(tick), floor + 15, format_number(tick, 6), "small", "middle");
  }
  result += svg_line(ChartLayout::left, floor, at.width() - ChartLayout::right, floor, "frame");
  result += svg_text((ChartLayout::left + at.width()) / 2, at.height() - 8, visible(chart.x_axis), "axis", "middle");
  result += svg_turned_text(14, (ChartLayout::top + floor) / 2, visible(chart.y_axis), "axis", "middle");
  if (chart.reference_y) {
    const double y = at.y(*chart.reference_y);
    result += svg_line(ChartLayout::left, y, at.width() - ChartLayout::right, y, "reference");
    result += svg_text(at.width() - ChartLayout::right - 4, y - 4, visible(chart.reference), "small", "end");
  }
  if (chart.marked_x) {
    const double x = at.x(*chart.marked_x);
    const bool late = x > at.width() * 0.7;
    result += svg_line(x, ChartLayout::top, x, floor, "here");
    result +=
        svg_text(late ? x - 5 : x + 5, ChartLayout::top + 9, visible(chart.mark), "small", late ? "end" : "start");
  }
  return result;
}

/// A histogram's outline and its area.
inline std::string svg_bins(const LineChart& chart, const Curve& curve, std::size_t number, const ChartLayout& at) {
  const double half = *chart.bin_width / 2;
  std::string path = "M" + px(at.x(chart.x.front() - half)) + " " + px(at.y(0));
  for (std::size_t i = 0; i < chart.x.size(); ++i)
    path += "V" + px(at.y(std::isnan(curve.y[i]) ? 0 : curve.y[i])) + "H" + px(at.x(chart.x[i] + half));
  path += "V" + px(at.y(0));
  const std::string color = "var(--c" + std::to_string(number % 4) + ")";
  return "<path class=\"band\" style=\"fill:" + color + "\" d=\"" + path +
         "z\"/>\n<path class=\"curve\" style=\"stroke:" + color + "\" stroke-dasharray=\"" +
         (number % 2 == 0 ? "" : "7 3") + "\" d=\"" + path + "\"/>\n";
}

/// The parts of a curve between missing values, as SVG paths and shapes.
inline std::string svg_curve(const LineChart& chart, const Curve& curve, std::size_t number, const ChartLayout& at) {
  static constexpr const char* dashes[] = {"", "7 3", "2 3", "9 3 2 3"};
  const std::string color = "var(--c" + std::to_string(number % 4) + ")";
  std::string result;
  if (!curve.band.empty()) {
    std::string there;
    std::string back;
    for (std::size_t i = 0; i < chart.x.size(); ++i) {
      if (std::isnan(curve.band[i].low) || std::isnan(curve.band[i].high)) continue;
      there += px(at.x(chart.x[i])) + "," + px(at.y(curve.band[i].low)) + " ";
      back = px(at.x(chart.x[i])) + "," + px(at.y(curve.band[i].high)) + " " + back;
    }
    result += "<polygon class=\"band\" style=\"fill:" + color + "\" points=\"" + there + back + "\"/>\n";
  }
  std::string path;
  std::string points;
  bool open = false;
  for (std::size_t i = 0; i < chart.x.size(); ++i) {
    if (std::isnan(curve.y[i])) {
      open = false;
      continue;
    }
    const std::string x = px(at.x(chart.x[i]));
    const std::string y = px(at.y(curve.y[i]));
    path += (open ? "L" : "M") + x + " " + y;
    open = true;
    // Shapes as well as colours tell curves apart.
    if (number % 2 == 0)
      points += "<circle cx=\"" + x + "\" cy=\"" + y + "\" r=\"2.6\"/>";
    else
      points += "<path d=\"M" + x + " " + y + "m-3 -3h6v6h-6z\"/>";
  }
  result += "<path class=\"curve\" style=\"stroke:" + color + "\" stroke-dasharray=\"" + dashes[number % 4] +
            "\" d=\"" + path + "\"/>\n<g style=\"fill:" + color + "\">" + points + "</g>\n";
  return result;
}

/// The chart without its title, its corner at 0, 0.
inline std::string svg_chart(const LineChart& chart, double width, double height) {
  const ChartLayout at(chart, width, height);
  std::string result = svg_axes(chart, at);
  double x = ChartLayout::left;
  for (std::size_t i = 0; i < chart.curves.size(); ++i) {
    const Curve& curve = chart.curves[i];
    result += chart.bin_width ? svg_bins(chart, curve, i, at) : svg_curve(chart, curve, i, at);
    const std::string name = visible(curve.name);
    const std::string color = "var(--c" + std::to_string(i % 4) + ")";
    result += "<path class=\"curve\" style=\"stroke:" + color + "\" d=\"M" + px(x) + " 10h22\"/>\n" +
              svg_text(x + 28, 14, name, "plain");
    x += 48 + 6.4 * static_cast<double>(display_width(name));
  }
  return result;
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
