// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"

namespace activation_trace::examples {

[[nodiscard]] inline bool is_terminal(std::FILE* stream) { return isatty(fileno(stream)) == 1; }

/// Terminals that the user wants plain say so by NO_COLOR (no-color.org) or are dumb.
[[nodiscard]] inline bool wants_color(std::FILE* stream) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return is_terminal(stream) && (no_color == nullptr || *no_color == '\0') &&
         (term == nullptr || std::string_view(term) != "dumb");
}

/// 1 where one position of the context stands out, 0 where all are alike: 1 - E / ln T.
[[nodiscard]] inline double sharpness(float entropy, Index positions) {
  if (positions < 2) return 1;
  return std::clamp(1 - static_cast<double>(entropy) / std::log(static_cast<double>(positions)), 0.0, 1.0);
}

/// `text` on a background from violet (flat) over teal to yellow (sharp), a 24-bit colour. Newlines stay outside, or
/// the colour would run to the edge of the terminal.
[[nodiscard]] inline std::string shaded(std::string_view text, double sharp) {
  // Steps of equal brightness (after matplotlib's viridis), dark text on the bright half.
  static constexpr std::array<std::array<double, 3>, 5> ramp{
      {{68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}}};
  const double place = std::clamp(sharp, 0.0, 1.0) * (ramp.size() - 1);
  const std::size_t below = std::min(static_cast<std::size_t>(place), ramp.size() - 2);
  std::array<int, 3> rgb{};
  for (std::size_t c = 0; c < 3; ++c)
    rgb[c] = static_cast<int>(
        std::lround(std::lerp(ramp[below][c], ramp[below + 1][c], place - static_cast<double>(below))));
  const std::string begin = "\x1b[48;2;" + std::to_string(rgb[0]) + ';' + std::to_string(rgb[1]) + ';' +
                            std::to_string(rgb[2]) + (sharp > 0.6 ? ";38;2;0;0;0m" : ";38;2;255;255;255m");
  std::string result;
  for (std::size_t first = 0; first < text.size();) {
    const std::size_t end = std::min(text.find('\n', first), text.size());
    if (end > first) result += begin + std::string(text.substr(first, end - first)) + "\x1b[0m";
    if (end < text.size()) result += '\n';
    first = end + 1;
  }
  return result;
}

/// One line of progress on stderr, if that is a terminal; gone when it is done or destroyed.
class Progress {
 public:
  explicit Progress(bool wanted) : shown_(wanted && is_terminal(stderr)) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  void note(const std::string& what) {
    if (!shown_) return;
    std::fprintf(stderr, "\r\x1b[K%s", what.c_str());
    drawn_ = true;
  }

  void bar(const std::string& what, Index done, Index total, const std::string& remark = {}) {
    constexpr Index width = 30;
    const Index full = width * done / std::max<Index>(1, total);
    note(what + " [" + std::string(static_cast<std::size_t>(full), '#') +
         std::string(static_cast<std::size_t>(width - full), ' ') + "] " + std::to_string(done) + "/" +
         std::to_string(total) + (remark.empty() ? "" : ", " + remark));
  }

  void clear() {
    if (drawn_) std::fputs("\r\x1b[K", stderr);
    drawn_ = false;
  }

 private:
  bool shown_;
  bool drawn_ = false;
};

/// `text` as one printable word: control characters and bytes that are no UTF-8 as escapes, cut after `width` columns.
[[nodiscard]] inline std::string printable_cell(std::string_view text, std::size_t width) {
  struct Character {
    std::string text;
    std::size_t columns;
  };
  const auto next = [&](std::size_t& i) -> Character {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
    const unsigned char lead = byte(i);
    if (lead == '\n' || lead == '\t' || lead == '\r') {
      ++i;
      return {lead == '\n' ? "\\n" : lead == '\t' ? "\\t" : "\\r", 2};
    }
    const std::size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    bool valid =
        lead >= 0x20 && lead != 0x7f && !(lead >= 0x80 && lead < 0xc2) && lead < 0xf5 && i + length <= text.size();
    for (std::size_t k = 1; valid && k < length; ++k) valid = (byte(i + k) & 0xc0) == 0x80;
    if (!valid) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", lead);
      ++i;
      return {escape, 4};
    }
    Character c{std::string(text.substr(i, length)), 1};
    // Ideographs, Hangul, full-width forms and emoji take two columns, combining accents none.
    char32_t code = length == 1 ? lead : lead & (0x7fu >> length);
    for (std::size_t k = 1; k < length; ++k) code = (code << 6) | (byte(i + k) & 0x3fu);
    if ((code >= 0x1100 && code < 0x1160) || (code >= 0x2e80 && code < 0xa4d0) || (code >= 0xac00 && code < 0xd7a4) ||
        (code >= 0xf900 && code < 0xfb00) || (code >= 0xff00 && code < 0xff61) || (code >= 0x1f300 && code < 0x1fa00))
      c.columns = 2;
    if (code >= 0x300 && code < 0x370) c.columns = 0;
    i += length;
    return c;
  };
  std::string result;
  std::size_t columns = 0;
  for (std::size_t i = 0; i < text.size();) {
    const Character c = next(i);
    if (columns + c.columns > width - (i < text.size() ? 1 : 0)) {
      result += "…";
      ++columns;
      break;
    }
    result += c.text;
    columns += c.columns;
  }
  return result + std::string(width - std::min(width, columns), ' ');
}

}  // namespace activation_trace::examples
