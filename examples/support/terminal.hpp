// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"
#include "activation_trace/report/terminal.hpp"
#include "activation_trace/report/text.hpp"

namespace activation_trace::examples {

[[nodiscard]] inline bool is_terminal(std::FILE* stream) { return isatty(fileno(stream)) == 1; }

/// Text from a model or a file as it goes to standard output: what a terminal would obey or hide is made visible there;
/// files and pipes get the bytes.
[[nodiscard]] inline std::string shown(std::string_view text) {
  return is_terminal(stdout) ? visible_lines(text) : std::string(text);
}

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
  std::string result;
  for (std::size_t first = 0; first < text.size();) {
    const std::size_t end = std::min(text.find('\n', first), text.size());
    if (end > first) result += on_color(text.substr(first, end - first), sharp, TerminalColors::full);
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
    std::fprintf(stderr, "\r\x1b[K%s", visible(what).c_str());
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

}  // namespace activation_trace::examples
