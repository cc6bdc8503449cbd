// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

#include "activation_trace/report/text.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Of SVG wherever it stands: in a document of its own or in a page.
inline constexpr std::string_view picture_style = R"css(
.picture { color: #1b1f24; background: #fff; font: 11px system-ui, "DejaVu Sans", sans-serif;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --faint: #d8dce1; --soft: #57606a; }
.picture text { fill: currentColor; } .picture .title { font-size: 15px; font-weight: 600; }
.picture .name { font-size: 12px; font-weight: 600; } .picture .small { font-size: 10px; }
.picture .axis { fill: var(--soft); } .picture .changed { fill: var(--c1); font-weight: 600; }
.picture .onbright { fill: #000; font-size: 10px; } .picture .ondark { fill: #fff; font-size: 10px; }
.picture .paper { fill: #fff; } .picture .frame { fill: none; stroke: var(--soft); }
.picture .mark { fill: none; stroke: #000; stroke-width: 3; } .picture .marked { fill: none; stroke: #fff; } .picture .ink { fill: currentColor; }
.picture .grid { stroke: var(--faint); } .picture .reference { stroke: var(--soft); stroke-dasharray: 2 3; }
.picture .here { stroke: var(--soft); stroke-dasharray: 6 3; }
.picture .curve { fill: none; stroke-width: 2; stroke-linejoin: round; } .picture .band { stroke: none; opacity: .2; }
@media (prefers-color-scheme: dark) {
  .picture { color: #e6e9ee; background: #14171c; --c0: #56b4e9; --c1: #f0883e; --c2: #3fc79a; --c3: #e39bc4;
    --faint: #333a44; --soft: #9aa4b1; }
  .picture .paper { fill: #14171c; } }
)css";

/// A coordinate, to a hundredth of a pixel.
inline std::string px(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", std::abs(x) < 0.005 ? 0.0 : x);
  std::string_view digits(text);
  while (digits.ends_with('0')) digits.remove_suffix(1);
  if (digits.ends_with('.')) digits.remove_suffix(1);
  return std::string(digits);
}

/// The text must be visible().
inline std::string svg_text(double x, double y, std::string_view text, std::string_view kind,
                            std::string_view anchor = "start") {
  return "<text class=\"" + std::string(kind) + "\" x=\"" + px(x) + "\" y=\"" + px(y) + "\"" +
         (anchor == "start" ? "" : " text-anchor=\"" + std::string(anchor) + "\"") + ">" + escape_markup(text) +
         "</text>\n";
}

/// Read from below to above.
inline std::string svg_turned_text(double x, double y, std::string_view text, std::string_view kind,
                                   std::string_view anchor) {
  return "<text class=\"" + std::string(kind) + "\" transform=\"translate(" + px(x) + " " + px(y) +
         ") rotate(-90)\" text-anchor=\"" + std::string(anchor) + "\">" + escape_markup(text) + "</text>\n";
}

inline std::string svg_rect(double x, double y, double width, double height, std::string_view kind) {
  return "<rect class=\"" + std::string(kind) + "\" x=\"" + px(x) + "\" y=\"" + px(y) + "\" width=\"" + px(width) +
         "\" height=\"" + px(height) + "\"/>\n";
}

inline std::string svg_line(double x1, double y1, double x2, double y2, std::string_view kind) {
  return "<path class=\"" + std::string(kind) + "\" d=\"M" + px(x1) + " " + px(y1) + "L" + px(x2) + " " + px(y2) +
         "\"/>\n";
}

inline std::string svg_open(double width, double height, std::string_view title) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"picture\" width=\"" + px(width) + "\" height=\"" +
         px(height) + "\" viewBox=\"0 0 " + px(width) + " " + px(height) + "\" role=\"img\" aria-label=\"" +
         escape_markup(visible(title)) + "\">\n";
}

inline std::string svg_document(double width, double height, std::string_view title, std::string_view body) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + svg_open(width, height, title) + "<style>" +
         std::string(picture_style) + "</style>\n" + svg_rect(0, 0, width, height, "paper") + std::string(body) +
         "</svg>\n";
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
