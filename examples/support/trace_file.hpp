// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "activation_trace/generation/result.hpp"
#include "activation_trace/text/json.hpp"
#include "activation_trace/text/output_file.hpp"

namespace activation_trace::examples {

/// JSON objects, one a line, each written at once. Bytes that are no UTF-8 become U+FFFD. Whatever is at `path` is
/// emptied: check_output_file() comes first.
class JsonLines {
 public:
  /// Throws Error if the file cannot be written.
  explicit JsonLines(const std::string& path) : file_(OutputFile::begin(path)) {}

  void write(const nlohmann::ordered_json& line) { file_.write(activation_trace::detail::json_text(line) + '\n'); }

 private:
  OutputFile file_;
};

/// Per-step records as JSON lines: one object per token, written as soon as it is chosen; the id of a token tells what
/// bytes that are no UTF-8 were. Numbers in nats.
class TraceFile {
 public:
  /// Throws Error if the file cannot be written.
  explicit TraceFile(const std::string& path) : lines_(path) {}

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
