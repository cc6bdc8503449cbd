// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "activation_trace/report/html.hpp"
#include "activation_trace/report/svg.hpp"
#include "activation_trace/report/tables.hpp"
#include "activation_trace/report/terminal.hpp"
#include "report/sample_report.hpp"

using namespace activation_trace;

namespace {

std::vector<std::string> lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> all;
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

/// Without ESC [ ... m.
std::string without_colors(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b')
      i = text.find('m', i);
    else
      result += text[i];
  }
  return result;
}

HeatMap small_map() {
  return {.title = "t",
          .row_axis = "layer",
          .column_axis = "position",
          .rows = {"0", "1"},
          .columns = {"a", "b", "c"},
          .panels = {"p"},
          .views = {{.name = "v", .meaning = "m", .low = 0, .high = 5, .panels = {{0, 1, 2, 3, 4, 5}}}}};
}

}  // namespace

TEST_CASE("Places on a scale") {
  const HeatMapView linear{.name = "", .meaning = "", .low = -1, .high = 3, .panels = {}};
  CHECK(linear.place(-1) == 0);
  CHECK(linear.place(1) == doctest::Approx(0.5));
  CHECK(linear.place(9) == 1);
  CHECK(linear.place(-INFINITY) == 0);
  CHECK(std::isnan(linear.place(std::nan(""))));
  const HeatMapView log{
      .name = "", .meaning = "", .scale = ColorScale::logarithmic, .low = 1e-4, .high = 1, .panels = {}};
  CHECK(log.place(1e-2) == doctest::Approx(0.5));
  CHECK(log.place(0) == 0);
  CHECK(log.place(2) == 1);
}

// A map whose numbers are all alike has the shortest scale that there is: its half is none, and 0 / 0 was drawn as the
// colour behind the last. A model whose LM head is zero has such a map.
TEST_CASE("The shortest and the longest scales have places too") {
  constexpr double most = std::numeric_limits<double>::max();
  constexpr double least = std::numeric_limits<double>::denorm_min();
  const auto places = [](ColorScale scale, double low, double high, double middle) {
    const HeatMapView view{.name = "", .meaning = "", .scale = scale, .low = low, .high = high, .panels = {}};
    return std::vector<double>{view.place(low),       view.place(middle),   view.place(high),
                               view.place(-INFINITY), view.place(INFINITY), view.place(low - 1)};
  };
  CHECK(places(ColorScale::linear, 0, least, least) == std::vector<double>{0, 1, 1, 0, 1, 0});
  CHECK(places(ColorScale::linear, -least, least, 0) == std::vector<double>{0, 0.5, 1, 0, 1, 0});
  CHECK(places(ColorScale::linear, -most, most, 0) == std::vector<double>{0, 0.5, 1, 0, 1, 0});
  CHECK(places(ColorScale::linear, 1, std::nextafter(1, 2), 1) == std::vector<double>{0, 0, 1, 0, 1, 0});
  CHECK(places(ColorScale::logarithmic, 1, std::nextafter(1, 2), 1) == std::vector<double>{0, 0, 1, 0, 1, 0});
  CHECK(places(ColorScale::logarithmic, least, 2 * least, least) == std::vector<double>{0, 0, 1, 0, 1, 0});
  const std::vector<double> wide = places(ColorScale::logarithmic, 0x1p-1000, 0x1p1000, 1);
  CHECK(wide[1] == doctest::Approx(0.5));
  CHECK(std::vector{wide[0], wide[2], wide[3], wide[4]} == std::vector<double>{0, 1, 0, 1});

  CHECK(viridis(std::nan("")) == viridis(0));
  CHECK(on_color(" ", std::nan(""), TerminalColors::none) == " ");
  HeatMap map = small_map();
  map.views[0].high = least;
  map.views[0].panels[0] = std::vector<double>(6, 0);
  const Report report{.title = "", .facts = {}, .pictures = {map}};
  CHECK(to_svg(report, 0).find(hex(viridis(0))) != std::string::npos);
  CHECK(to_html(report).find(hex(viridis(0))) != std::string::npos);
}

TEST_CASE("Every cell is drawn once, in its colour, the first row at the bottom") {
  const HeatMap map = small_map();
  const detail::HeatMapLayout at(map);
  const std::string svg = detail::svg_cells(map, 0, 0, at);
  for (std::size_t r = 0; r < 2; ++r)
    for (std::size_t c = 0; c < 3; ++c) {
      const double place = (3.0 * static_cast<double>(r) + static_cast<double>(c)) / 5;
      const std::string begin = "M" + detail::px(at.left + at.cell_width * static_cast<double>(c)) + " " +
                                detail::px(at.top + at.cell_height * (1 - static_cast<double>(r)));
      const std::size_t found = svg.find(begin);
      REQUIRE(found != std::string::npos);
      const std::size_t fill = svg.rfind("fill=\"", found) + 6;
      // Of 128 steps the nearest.
      CHECK(svg.substr(fill, 7) == hex(viridis(std::round(place * 127) / 127)));
    }
}

TEST_CASE("What does not fit together is refused by name") {
  const auto refuses = [](auto change, const char* text) {
    HeatMap map = small_map();
    change(map);
    CAPTURE(text);
    try {
      Report{.title = "", .facts = {}, .pictures = {map}}.validate();
      FAIL("nothing was thrown");
    } catch (const Error& e) {
      CHECK(std::string(e.what()).find(text) != std::string::npos);
    }
  };
  refuses([](HeatMap& m) { m.views[0].panels[0].pop_back(); }, "view 'v': expected 6 values, got 5");
  refuses([](HeatMap& m) { m.panels.push_back("q"); }, "panels of view 'v': expected 2 values, got 1");
  refuses([](HeatMap& m) { m.marked_row = 2; }, "no row 2");
  refuses([](HeatMap& m) { m.views[0].high = 0; }, "no scale");
  refuses([](HeatMap& m) { m.views[0].scale = ColorScale::logarithmic; }, "no scale");
  refuses([](HeatMap& m) { m.views.clear(); }, "needs rows");
  LineChart chart{.title = "c", .x_axis = "", .y_axis = "", .x = {0, 1}, .curves = {{.name = "k", .y = {1}}}};
  CHECK_THROWS_AS(chart.validate(), ShapeError);
  chart = {.title = "c", .x_axis = "", .y_axis = "", .x = {1, 0}, .curves = {{.name = "k", .y = {1, 1}}}};
  CHECK_THROWS_AS(chart.validate(), ArgumentError);
}

TEST_CASE("A terminal shows the same in 24-bit colours, in 256 and without") {
  const Report report = test::sample_report();
  for (const std::size_t width : {40u, 80u, 200u}) {
    const std::string none = to_terminal(report, {.colors = TerminalColors::none, .width = width});
    CHECK(none.find('\x1b') == std::string::npos);
    const std::string full = to_terminal(report, {.colors = TerminalColors::full, .width = width});
    const std::string palette = to_terminal(report, {.colors = TerminalColors::palette, .width = width});
    CHECK(full.find("\x1b[48;2;68;1;84;") != std::string::npos);
    CHECK(palette.find("\x1b[48;5;") != std::string::npos);
    CHECK(palette.find("\x1b[48;2;") == std::string::npos);
    CHECK(without_colors(full) == without_colors(palette));
    CHECK(lines(full).size() == lines(none).size());
    for (const std::string& line : lines(none)) CHECK(is_valid_utf8(line));
  }
  CHECK(on_color(" ", 0, TerminalColors::none) == " ");
  CHECK(on_color(" ", 1, TerminalColors::none) == "@");
}

TEST_CASE("The cursor of a histogram goes from the middle of the first bin to that of the last") {
  LineChart chart{.title = "h",
                  .x_axis = "entropy",
                  .y_axis = "answers",
                  .x = {0.5, 1.5, 2.5, 3.5},
                  .curves = {{.name = "right", .y = {1, 2, 3, 4}}},
                  .bin_width = 1};
  const auto pages = [](const LineChart& picture) {
    return to_html({.title = "", .facts = {}, .pictures = {picture}});
  };
  // 648 of 720 pixels, from the 58th on, are the axis: from 0 to 4, and of a chart of points from 0.5 to 3.5.
  CHECK(pages(chart).find("data-first=\"139\" data-last=\"625\"") != std::string::npos);
  const Report report{.title = "", .facts = {}, .pictures = {chart}};
  CHECK(to_terminal(report).find("h\nby the middles of bins 1 wide\nentropy") != std::string::npos);
  chart.bin_width.reset();
  CHECK(pages(chart).find("data-first=\"58\" data-last=\"706\"") != std::string::npos);
  CHECK(to_terminal({.title = "", .facts = {}, .pictures = {chart}}).find("bins") == std::string::npos);
}

TEST_CASE("A heat map lies on its side on a terminal") {
  Report report{.title = "r", .facts = {}, .pictures = {small_map()}};
  const std::vector<std::string> shown = lines(to_terminal(report, {.width = 60}));
  const auto line = [&](const std::string& begin) {
    for (const std::string& l : shown)
      if (l.starts_with(begin)) return l;
    return std::string();
  };
  // Values 0 and 3 of 5, then 1 and 4, then 2 and 5, of the ramp " .:-=+*#%@", three characters each.
  CHECK(line("   0 a").ends_with("    +++  "));
  CHECK(line("   1 b").ends_with(" :::###  "));
  CHECK(line("   2 c").ends_with(" ===@@@  "));
}

TEST_CASE("The page holds the numbers to five digits, and every picture") {
  const Report report = test::sample_report();
  const std::string page = to_html(report);
  const std::size_t begin = page.find("id=\"report\">") + 12;
  const auto json = nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  REQUIRE(json["pictures"].size() == report.pictures.size());
  const auto& map = std::get<HeatMap>(report.pictures[0]);
  for (std::size_t v = 0; v < 2; ++v)
    for (std::size_t p = 0; p < 2; ++p)
      for (std::size_t r = 0; r < map.rows.size(); ++r)
        for (std::size_t c = 0; c < map.columns.size(); ++c) {
          const auto& value = json["pictures"][0]["views"][v]["values"][p][r][c];
          if (std::isnan(map.value(v, p, r, c)))
            CHECK(value.is_null());
          else
            CHECK(value.get<double>() == doctest::Approx(map.value(v, p, r, c)).epsilon(1e-4));
        }
  CHECK(page.find("http://") == page.find("http://www.w3.org/2000/svg"));  // a namespace, nothing to fetch
  CHECK(page.find("https://") == std::string::npos);
  CHECK(page.find("\u202e") == std::string::npos);
}
