// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/report/picture.hpp"
#include "activation_trace/text/json_part.hpp"
#include "activation_trace/text/mapped_file.hpp"
#include "support/command.hpp"
#include "visualize/output.hpp"

namespace activation_trace::examples {

/// A token that could have been chosen, of a line that `generate --trace` wrote. What is not finite is null in JSON.
[[nodiscard]] inline TraceCandidate trace_candidate(const detail::JsonPart& c) {
  const auto number = [&](const char* key) {
    return c.has(key) && c[key].is_null() ? std::numeric_limits<double>::quiet_NaN() : c[key].number();
  };
  return {c["id"].id(), c["piece"].text(), number("log_prob"), number("entropy"), number("score")};
}

[[nodiscard]] inline TraceStep trace_step(const detail::JsonPart& line) {
  TraceStep step{.chosen = trace_candidate(line), .kept = {}};
  if (line["kept"].is_null()) line["kept"].fail("is missing");
  for (const detail::JsonPart& c : line["kept"].elements()) step.kept.push_back(trace_candidate(c));
  std::ranges::stable_sort(step.kept, [](const TraceCandidate& a, const TraceCandidate& b) {
    return a.score > b.score || (!std::isnan(a.score) && std::isnan(b.score));
  });
  if (line["changed"].is_null()) line["changed"].fail("is missing");
  if (line["changed"].flag(false)) {
    const TokenId id = line["without_entropy"].id();
    for (const TraceCandidate& c : step.kept)
      if (c.id == id) step.instead = c.token;
  }
  step.alert = line["alert"].flag(false);
  return step;
}

/// The steps of a trace file, a picture per mode. Throws FormatError naming the line; a file of more than a picture
/// can show is refused, so that memory stays in bounds.
[[nodiscard]] inline Report trace_report(const std::string& path) {
  constexpr std::size_t most_bytes_of_line = std::size_t{64} << 20;  // a vocabulary of 256,000 candidates has 32 MB
  constexpr std::size_t most_candidates = 1'000'000;
  constexpr std::size_t most_modes = 64;
  const MappedFile file = MappedFile::open(path);
  const std::string_view text = detail::text_of(file.bytes());
  Report report{.title = "How each token was chosen",
                .facts = {{"trace", std::filesystem::path(path).filename().string()}},
                .pictures = {}};
  std::vector<std::string> modes;
  std::size_t candidates = 0;
  std::size_t number = 1;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string place = path + ":" + std::to_string(number);
    const auto fail = [&](const std::string& problem) {
      throw FormatError(place, problem + "; give the lines of interest only (head, sed)");
    };
    if (end - begin > most_bytes_of_line) fail("a line of more than 64 MiB");
    const detail::JsonDocument json(text.substr(begin, end - begin), place, {.origin = begin});
    begin = end + 1;
    const detail::JsonPart line = json.root();
    const std::string& mode = line["mode"].text();
    auto found = std::ranges::find(modes, mode);
    if (found == modes.end()) {
      if (modes.size() == most_modes) fail("more than " + std::to_string(most_modes) + " modes");
      report.pictures.emplace_back(Trace{.title = "Mode " + mode, .steps = {}});
      modes.push_back(mode);
      found = modes.end() - 1;
    }
    TraceStep step = trace_step(line);
    candidates += 1 + step.kept.size();
    if (candidates > most_candidates) fail("more than " + std::to_string(most_candidates) + " candidates");
    std::get<Trace>(report.pictures[static_cast<std::size_t>(found - modes.begin())]).steps.push_back(std::move(step));
  }
  return report;
}

inline void add_trace_command(CLI::App& app, Command& command) {
  CLI::App& trace = *app.add_subcommand("trace", "the candidates of each step of a text that `generate --trace` wrote");
  struct Settings {
    std::string path;
    OutputSettings output;
  };
  const auto s = std::make_shared<Settings>();
  trace.add_option("STEPS", s->path, "the file of JSON lines")->required();
  add_output_options(trace, s->output);
  trace.callback([&command, s] {
    command = [s] {
      check_output(s->output, {s->path});
      write_report(trace_report(s->path), s->output);
      return 0;
    };
  });
}

}  // namespace activation_trace::examples
