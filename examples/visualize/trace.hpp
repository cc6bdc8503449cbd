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
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/formats/mapped_file.hpp"
#include "activation_trace/report/picture.hpp"
#include "evaluate/command.hpp"
#include "visualize/output.hpp"

namespace activation_trace::examples {

/// A line of a file that `generate --trace` wrote.
class TraceLine {
 public:
  TraceLine(std::string_view text, std::string place) : place_(std::move(place)) {
    object_ = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
    if (object_.is_discarded() || !object_.is_object()) fail("expected a JSON object");
  }

  [[nodiscard]] std::string mode() const { return text(object_, "mode"); }

  [[nodiscard]] TraceStep step() const {
    TraceStep step{.chosen = candidate(object_), .kept = {}};
    const nlohmann::json& kept = member(object_, "kept");
    if (!kept.is_array()) fail("expected 'kept' to be a list");
    for (const nlohmann::json& c : kept) step.kept.push_back(candidate(c));
    std::ranges::stable_sort(step.kept, [](const TraceCandidate& a, const TraceCandidate& b) {
      return a.score > b.score || (!std::isnan(a.score) && std::isnan(b.score));
    });
    const nlohmann::json& changed = member(object_, "changed");
    if (!changed.is_boolean()) fail("expected 'changed' to be true or false");
    if (changed.get<bool>()) {
      const double id = number(object_, "without_entropy");
      for (const TraceCandidate& c : step.kept)
        if (c.id == static_cast<TokenId>(id)) step.instead = c.token;
    }
    if (const auto alert = object_.find("alert"); alert != object_.end() && alert->is_boolean())
      step.alert = alert->get<bool>();
    return step;
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw FormatError(place_, problem + ", as generate --trace writes it");
  }

  [[nodiscard]] const nlohmann::json& member(const nlohmann::json& object, const char* key) const {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end()) fail("there is no '" + std::string(key) + "'");
    return *found;
  }

  /// What is not finite is null in JSON.
  [[nodiscard]] double number(const nlohmann::json& object, const char* key) const {
    const nlohmann::json& value = member(object, key);
    if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
    if (!value.is_number()) fail("expected '" + std::string(key) + "' to be a number");
    return value.get<double>();
  }

  [[nodiscard]] std::string text(const nlohmann::json& object, const char* key) const {
    const nlohmann::json& value = member(object, key);
    if (!value.is_string()) fail("expected '" + std::string(key) + "' to be a text");
    return value.get<std::string>();
  }

  [[nodiscard]] TraceCandidate candidate(const nlohmann::json& object) const {
    return {static_cast<TokenId>(number(object, "id")), text(object, "piece"), number(object, "log_prob"),
            number(object, "entropy"), number(object, "score")};
  }

  nlohmann::json object_;
  std::string place_;
};

/// The steps of a trace file, a picture per mode. Throws FormatError naming the line.
[[nodiscard]] inline Report trace_report(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  const std::string_view text = detail::text_of(file.bytes());
  Report report{.title = "How each token was chosen",
                .facts = {{"trace", std::filesystem::path(path).filename().string()}},
                .pictures = {}};
  std::vector<std::string> modes;
  std::size_t number = 1;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const TraceLine line(text.substr(begin, end - begin), path + ":" + std::to_string(number));
    begin = end + 1;
    const std::string mode = line.mode();
    auto found = std::ranges::find(modes, mode);
    if (found == modes.end()) {
      report.pictures.emplace_back(Trace{.title = "Mode " + mode, .steps = {}});
      modes.push_back(mode);
      found = modes.end() - 1;
    }
    std::get<Trace>(report.pictures[static_cast<std::size_t>(found - modes.begin())]).steps.push_back(line.step());
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
      check_output(s->output);
      write_report(trace_report(s->path), s->output);
      return 0;
    };
  });
}

}  // namespace activation_trace::examples
