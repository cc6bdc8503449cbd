// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

#include "activation_trace/text/visible.hpp"

namespace activation_trace {
inline namespace v0 {

/// Columns that visible text takes on a terminal: two for ideographs, full-width forms and emoji, none for combining
/// accents.
[[nodiscard]] std::size_t display_width(std::string_view text);

/// visible(bytes), cut with an ellipsis to at most `width` columns.
[[nodiscard]] std::string shortened(std::string_view bytes, std::size_t width, Spaces spaces = Spaces::plain);

/// The same, filled with spaces to exactly `width` columns.
[[nodiscard]] std::string printable_cell(std::string_view bytes, std::size_t width, Spaces spaces = Spaces::plain);

/// `text` for the content or a quoted attribute of HTML and XML.
[[nodiscard]] std::string escape_markup(std::string_view text);

/// With `digits` significant digits, for people: 0.0123, 1.2e-09.
[[nodiscard]] std::string format_number(double x, int digits = 4);

namespace detail {

#include "activation_trace/report/display_width_table.inl"

}  // namespace detail

inline std::size_t display_width(std::string_view text) {
  std::size_t columns = 0;
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    if (detail::contains(detail::wide_ranges, c.code_point))
      columns += 2;
    else if (!detail::contains(detail::combining_ranges, c.code_point))
      columns += 1;
    i += c.length;
  }
  return columns;
}

inline std::string shortened(std::string_view bytes, std::size_t width, Spaces spaces) {
  const std::string text = visible(bytes, spaces);
  if (display_width(text) <= width) return text;
  if (width == 0) return {};
  std::string result;
  std::size_t columns = 1;  // the ellipsis
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = decode_character(text, i).length;
    columns += display_width(std::string_view(text).substr(i, length));
    if (columns > width) break;
    result.append(text, i, length);
    i += length;
  }
  return result + "\u2026";
}

inline std::string printable_cell(std::string_view bytes, std::size_t width, Spaces spaces) {
  const std::string text = shortened(bytes, width, spaces);
  return text + std::string(width - display_width(text), ' ');
}

inline std::string escape_markup(std::string_view text) {
  std::string result;
  for (const char c : text) switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      case '\'': result += "&#39;"; break;
      default: result += c;
    }
  return result;
}

inline std::string format_number(double x, int digits) {
  if (std::isnan(x)) return "\u2013";
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, x == 0 ? 0.0 : x);
  return text;
}

}  // namespace v0
}  // namespace activation_trace
