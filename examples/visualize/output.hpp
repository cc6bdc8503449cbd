// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "activation_trace/report/html.hpp"
#include "activation_trace/report/svg.hpp"
#include "activation_trace/report/tables.hpp"
#include "activation_trace/report/terminal.hpp"
#include "activation_trace/text/json.hpp"
#include "activation_trace/text/output_file.hpp"
#include "support/command_line.hpp"
#include "support/output_files.hpp"
#include "support/terminal.hpp"

namespace activation_trace::examples {

/// Where a report goes.
struct OutputSettings {
  std::string path;      ///< its extension says how; empty or -: the terminal
  std::size_t view = 0;  ///< of heat maps, in SVG
  bool overwrite = false;
};

inline void add_output_options(CLI::App& app, OutputSettings& s) {
  app.add_option("-o,--output", s.path, "a file: .html, .svg, .json or .csv (default: the terminal)")
      ->check(file_name());
  add_overwrite(app, s.overwrite, "-o");
  add_choice<std::size_t>(app, "--view", s.view, {{"raw", 0}, {"softmax", 1}, {"probability", 2}},
                          "what heat maps in an .svg show (default: raw); pages show all");
}

/// Throws UsageError for a file name that does not say what to write, and what check_output_file() does, before a model
/// is loaded. `inputs` is what the command reads.
inline void check_output(const OutputSettings& s, const InputFiles& inputs) {
  if (s.path.empty() || s.path == "-") return;
  const std::string extension = std::filesystem::path(s.path).extension().string();
  for (const auto& [known, own] :
       {std::pair(".html", begins::html), {".svg", begins::svg}, {".json", begins::json}, {".csv", begins::csv}})
    if (extension == known) return check_output_file("--output", s.path, inputs, own, s.overwrite);
  throw UsageError("--output: expected a name that ends in .html, .svg, .json or .csv, got " + s.path);
}

/// What the terminal says of itself; colours only where it is one.
[[nodiscard]] inline TerminalOptions terminal_options() {
  TerminalOptions options;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) options.width = size.ws_col;
  if (!wants_color(stdout)) return options;
  const char* depth = std::getenv("COLORTERM");
  const std::string_view full = depth == nullptr ? "" : depth;
  options.colors = full == "truecolor" || full == "24bit" ? TerminalColors::full : TerminalColors::palette;
  return options;
}

inline void print_report(const Report& report) {
  const std::string text = to_terminal(report, terminal_options());
  std::fwrite(text.data(), 1, text.size(), stdout);
  flush_output();
}

/// After check_output(). Throws Error if it cannot be written.
inline void write_report(const Report& report, const OutputSettings& s) {
  if (s.path.empty() || s.path == "-") return print_report(report);
  const std::string extension = std::filesystem::path(s.path).extension().string();
  if (extension == ".html")
    write_whole_file(s.path, to_html(report));
  else if (extension == ".svg")
    write_whole_file(s.path, to_svg(report, s.view));
  else if (extension == ".csv")
    write_whole_file(s.path, to_csv(report));
  else
    write_whole_file(s.path, activation_trace::detail::json_text(to_json(report), 1) + "\n");
}

}  // namespace activation_trace::examples
