// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/formats/json.hpp"
#include "activation_trace/generation/result.hpp"

namespace activation_trace::examples {

/// JSON objects, one a line, each written at once. Bytes that are no UTF-8 become U+FFFD.
class JsonLines {
 public:
  /// Throws Error if the file cannot be written.
  explicit JsonLines(std::string name) : name_(std::move(name)), file_(name_, std::ios::binary | std::ios::trunc) {
    check();
  }

  void write(const nlohmann::ordered_json& line) {
    file_ << activation_trace::detail::json_text(line) << '\n' << std::flush;
    check();
  }

 private:
  void check() {
    if (!file_) throw Error(name_ + ": cannot be written: " + std::strerror(errno));
  }

  std::string name_;
  std::ofstream file_;
};

/// Per-step records as JSON lines: one object per token, written as soon as it is chosen; the id of a token tells what
/// bytes that are no UTF-8 were. Numbers in nats.
class TraceFile {
 public:
  /// Throws Error if the file cannot be written.
  explicit TraceFile(std::string name) : lines_(std::move(name)) {}

  /// `piece` gives the text of a token.
  void write(const std::string& mode, const GeneratedToken& token, const std::function<std::string(TokenId)>& piece) {
    const StepRecord& record = *token.record;
    const auto candidate = [&](const SharpnessCandidate& c) {
      return nlohmann::ordered_json{
          {"id", c.id}, {"piece", piece(c.id)}, {"log_prob", c.log_prob}, {"entropy", c.entropy}, {"score", c.score}};
    };
    nlohmann::ordered_json line{{"mode", mode}, {"step", token.step}};
    line.update(candidate(record.chosen));
    line["text"] = token.text;
    line["changed"] = record.changed();
    line["without_entropy"] = record.without_entropy;
    if (record.layer >= 0) line["layer"] = record.layer;
    line["alert"] = record.alert;
    line["filter_size"] = record.kept.size();
    line["kept"] = nlohmann::ordered_json::array();
    for (const SharpnessCandidate& c : record.kept) line["kept"].push_back(candidate(c));
    lines_.write(line);
  }

 private:
  JsonLines lines_;
};

}  // namespace activation_trace::examples
