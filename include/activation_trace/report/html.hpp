// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "activation_trace/report/picture.hpp"
#include "activation_trace/report/svg.hpp"
#include "activation_trace/report/tables.hpp"
#include "activation_trace/report/text.hpp"
#include "activation_trace/text/json.hpp"

namespace activation_trace {
inline namespace v0 {

/// A report as one HTML page that needs nothing else: no network, no other file. Hovering, tapping or the arrow keys
/// tell a cell's token, layer and value; light or dark as the reader's system; on a phone wide pictures scroll by
/// themselves. Without scripts the pictures are still there. Throws as validate().
[[nodiscard]] std::string to_html(const Report& report);

namespace detail {

#include "activation_trace/report/page.inl"

/// The report as the page's script reads it: labels visible, five digits a number.
inline Report for_page(Report report) {
  const auto round = [](double& x) {
    if (std::isfinite(x)) x = std::strtod(format_number(x, 5).c_str(), nullptr);
  };
  const auto show = [](std::vector<std::string>& labels, Spaces spaces) {
    for (std::string& label : labels) label = visible(label, spaces);
  };
  for (Picture& picture : report.pictures) {
    if (auto* map = std::get_if<HeatMap>(&picture)) {
      show(map->rows, Spaces::plain);
      show(map->columns, Spaces::marked);
      show(map->panels, Spaces::plain);
      for (HeatMapView& view : map->views)
        for (std::vector<double>& panel : view.panels) std::ranges::for_each(panel, round);
    } else if (auto* chart = std::get_if<LineChart>(&picture)) {
      for (Curve& curve : chart->curves) {
        curve.name = visible(curve.name);
        std::ranges::for_each(curve.y, round);
        for (Interval& band : curve.band) round(band.low), round(band.high);
      }
    } else {
      std::get<Trace>(picture).steps.clear();  // the page has its table
    }
  }
  return report;
}

/// JSON within a script element, where "</script>" and "<!--" would end or begin something.
inline std::string script_json(const Report& report) {
  std::string result;
  for (const char c : json_text(to_json(report))) result += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return result;
}

/// An element that the script shows with its view only.
inline std::string of_view(const std::string& element, std::size_t view, const std::string& content) {
  return "<" + element + " data-view=\"" + std::to_string(view) + "\"" + (view == 0 ? "" : " class=\"off\"") + ">" +
         content + "</" + element.substr(0, element.find(' ')) + ">\n";
}

inline std::string attribute(std::string_view name, double value) {
  return " data-" + std::string(name) + "=\"" + px(value) + "\"";
}

inline std::string plot_begin(const std::string& kind, const std::string& title, std::size_t number) {
  return "<div class=\"plot\" tabindex=\"0\" role=\"application\" aria-roledescription=\"" + kind + "\" aria-label=\"" +
         escape_markup(visible(title)) + "; arrow keys move the cursor\" aria-describedby=\"o" +
         std::to_string(number) + "\">\n";
}

inline std::string plot_end(std::size_t number) {
  return "</div>\n<output id=\"o" + std::to_string(number) +
         "\" aria-live=\"polite\">Point at the picture, or focus it and use the arrow keys.</output>\n";
}

inline std::string html_picture(const HeatMap& map, std::size_t number) {
  const HeatMapLayout at(map);
  std::string result =
      "<section data-picture=\"" + std::to_string(number) + "\">\n<h2>" + escape_markup(visible(map.title)) + "</h2>\n";
  if (map.views.size() > 1) {
    result += "<div class=\"views\" role=\"radiogroup\" aria-label=\"view\">\n";
    for (std::size_t v = 0; v < map.views.size(); ++v)
      result += "<label><input type=\"radio\" name=\"v" + std::to_string(number) + "\" value=\"" + std::to_string(v) +
                "\"" + (v == 0 ? " checked" : "") + "> " + escape_markup(visible(map.views[v].name)) + "</label>\n";
    result += "</div>\n";
  }
  for (std::size_t v = 0; v < map.views.size(); ++v)
    result += of_view("p", v, escape_markup(visible(map.views[v].meaning)));
  result += plot_begin("heat map", map.title, number);
  for (std::size_t p = 0; p < map.panels.size(); ++p) {
    std::string svg = svg_open(at.width(), at.height(), map.title + ", " + map.panels[p]);
    svg.insert(svg.find(" class="), attribute("left", at.left) + attribute("top", at.top) +
                                        attribute("cw", at.cell_width) + attribute("ch", at.cell_height));
    result += "<div class=\"scroll\">" + svg;
    for (std::size_t v = 0; v < map.views.size(); ++v)
      result += of_view("g shape-rendering=\"crispEdges\"", v, svg_cells(map, v, p, at));
    result +=
        svg_frame(map, p, at) +
        "<g class=\"cursor\" visibility=\"hidden\"><rect class=\"outer\"/><rect class=\"inner\"/></g></svg></div>\n";
  }
  result += plot_end(number);
  for (std::size_t v = 0; v < map.views.size(); ++v)
    result += of_view("div", v,
                      svg_open(230, 24, "colours of " + map.views[v].name) + svg_legend(map.views[v], 8, 2) + "</svg>");
  if (map.marked_row) result += "<p class=\"hint\">\u25c2 " + escape_markup(visible(map.mark)) + "</p>\n";
  return result + "</section>\n";
}

inline std::string html_picture(const LineChart& chart, std::size_t number) {
  constexpr double width = 720;
  constexpr double height = 340;
  const ChartLayout at(chart, width, height);
  std::string svg = svg_open(width, height, chart.title);
  svg.replace(svg.find("class=\"picture\""), 15, "class=\"picture chart\"");
  // Of a histogram the first and the last x, the middles of bins, are not where the axis ends.
  svg.insert(svg.find(" class="), attribute("left", ChartLayout::left) + attribute("top", ChartLayout::top) +
                                      attribute("height", height - ChartLayout::top - ChartLayout::bottom) +
                                      attribute("first", at.x(chart.x.front())) +
                                      attribute("last", at.x(chart.x.back())));
  std::string result = "<section data-picture=\"" + std::to_string(number) + "\">\n<h2>" +
                       escape_markup(visible(chart.title)) + "</h2>\n" + plot_begin("chart", chart.title, number) +
                       "<div class=\"scroll\">" + svg + svg_chart(chart, width, height) +
                       "<g class=\"cursor\" visibility=\"hidden\"><rect class=\"line\"/></g></svg></div>\n" +
                       plot_end(number);
  result += "<details><summary>Numbers</summary><div class=\"scroll\"><table><tr><th>" +
            escape_markup(visible(chart.x_axis)) + "</th>";
  for (const Curve& curve : chart.curves) result += "<th>" + escape_markup(visible(curve.name)) + "</th>";
  result += "</tr>\n";
  for (std::size_t i = 0; i < chart.x.size(); ++i) {
    result += "<tr><th>" + format_number(chart.x[i], 6) + "</th>";
    for (const Curve& curve : chart.curves) {
      result += "<td class=\"n\">" + format_number(curve.y[i]);
      if (!curve.band.empty())
        result += " [" + format_number(curve.band[i].low) + ", " + format_number(curve.band[i].high) + "]";
      result += "</td>";
    }
    result += "</tr>\n";
  }
  return result + "</table></div></details>\n</section>\n";
}

inline std::string html_picture(const Trace& trace, std::size_t) {
  constexpr std::size_t shown = 12;  // candidates of a step
  const HeatMapView scale = entropy_scale(trace);
  const auto token = [](const std::string& text) { return escape_markup(visible(text, Spaces::marked)); };
  std::string result = "<section>\n<h2>" + escape_markup(visible(trace.title)) +
                       "</h2>\n<p class=\"hint\">Candidates that passed the plausibility filter, best score first: "
                       "log-probability, context entropy (nats, the colour), score.</p>\n"
                       "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"steps\"><table>\n"
                       "<tr><th>step</th><th>chosen</th><th>log p</th><th>entropy</th><th>instead of</th>"
                       "<th>candidates</th></tr>\n";
  for (std::size_t s = 0; s < trace.steps.size(); ++s) {
    const TraceStep& step = trace.steps[s];
    result += "<tr><th>" + std::to_string(s) + "</th><td><bdi>" + token(step.chosen.token) +
              "</bdi></td><td class=\"n\">" + format_number(step.chosen.log_prob, 3) + "</td><td class=\"n\">" +
              format_number(step.chosen.entropy, 3) + (step.alert ? " !" : "") + "</td><td class=\"changed\"><bdi>" +
              (step.instead ? token(*step.instead) : "") + "</bdi></td><td class=\"kept\">";
    for (std::size_t k = 0; k < std::min(shown, step.kept.size()); ++k) {
      const TraceCandidate& c = step.kept[k];
      const std::string color = std::isnan(c.entropy) ? "transparent" : hex(viridis(scale.place(c.entropy)));
      result += "<span class=\"chip\" style=\"border-color:" + color + "\"><bdi>" + token(c.token) + "</bdi> <small>" +
                format_number(c.log_prob, 3) + " \u00b7 " + format_number(c.entropy, 3) + " \u00b7 " +
                format_number(c.score, 3) + "</small></span>";
    }
    if (step.kept.size() > shown) result += "+" + std::to_string(step.kept.size() - shown);
    result += "</td></tr>\n";
  }
  return result + "</table></div>\n" + svg_open(230, 24, "colours of the context entropy") + svg_legend(scale, 8, 2) +
         "</svg>\n</section>\n";
}

}  // namespace detail

inline std::string to_html(const Report& report) {
  report.validate();
  const std::string title = escape_markup(visible(report.title));
  std::string page =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'\">\n<link rel=\"icon\" href=\"data:,\">\n<title>" +
      title + "</title>\n<style>" + std::string(detail::page_style) + std::string(detail::picture_style) +
      "</style>\n</head>\n<body>\n<main>\n<h1>" + title + "</h1>\n<dl>\n";
  for (const auto& [name, value] : report.facts)
    page += "<dt>" + escape_markup(visible(name)) + "</dt><dd>" + escape_markup(visible(value)) + "</dd>\n";
  page += "</dl>\n";
  for (std::size_t i = 0; i < report.pictures.size(); ++i)
    page += std::visit([&](const auto& picture) { return detail::html_picture(picture, i); }, report.pictures[i]);
  return page + "</main>\n<script type=\"application/json\" id=\"report\">" +
         detail::script_json(detail::for_page(report)) + "</script>\n<script>" + std::string(detail::page_script) +
         "</script>\n</body>\n</html>\n";
}

}  // namespace v0
}  // namespace activation_trace
