// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/text/csv.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

[[nodiscard]] inline bool is_blank(std::string_view text) { return strip(text).empty(); }

/// Whether one of the answers is more than white space.
[[nodiscard]] inline bool has_answer(std::span<const std::string> answers) {
  return !std::all_of(answers.begin(), answers.end(), is_blank);
}

[[noreturn]] inline void fail_row(const std::string& file, const CsvRow& row, const std::string& problem) {
  throw FormatError(file, "line " + std::to_string(row.line) + ": " + problem);
}

/// One JSON object of a data set, and where it stands.
class DataRecord {
 public:
  using Json = nlohmann::ordered_json;  // answers that are keys stay in their order

  DataRecord(Json value, std::string place, std::size_t number)
      : value_(std::move(value)), place_(std::move(place)), number_(number) {
    if (!value_.is_object()) fail("expected a JSON object, found " + std::string(value_.type_name()));
  }

  [[nodiscard]] std::size_t number() const noexcept { return number_; }

  [[nodiscard]] const std::string& text(const char* key) const {
    const Json& value = member(key);
    if (!value.is_string())
      fail("expected '" + std::string(key) + "' to be a string, found " + std::string(value.type_name()));
    return value.get_ref<const std::string&>();
  }

  /// As text(), of which there must be some.
  [[nodiscard]] const std::string& filled_text(const char* key) const {
    const std::string& value = text(key);
    if (is_blank(value)) fail("'" + std::string(key) + "' is empty");
    return value;
  }

  /// A string or a whole number as text, or the record's number if there is no such key.
  [[nodiscard]] std::string id(const char* key) const {
    if (!has(key)) return std::to_string(number_);
    const Json& value = member(key);
    if (value.is_number_integer()) return value.dump();
    if (!value.is_string())
      fail("expected '" + std::string(key) + "' to be a string or a whole number, found " + value.type_name());
    return value.get<std::string>();
  }

  [[nodiscard]] std::vector<std::string> texts(const char* key) const { return texts(value_, key); }

  /// As texts(), without the value if there is no such key.
  [[nodiscard]] std::vector<std::string> texts(const Json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) return {};
    if (!found->is_array()) fail("expected '" + std::string(key) + "' to be a list");
    std::vector<std::string> result;
    for (const Json& item : *found) {
      if (!item.is_string()) fail("expected '" + std::string(key) + "' to be a list of strings");
      result.push_back(item.get<std::string>());
    }
    return result;
  }

  [[nodiscard]] const Json& member(const char* key) const {
    const auto found = value_.find(key);
    if (found == value_.end()) fail("there is no '" + std::string(key) + "'");
    return *found;
  }

  [[nodiscard]] bool has(const char* key) const { return value_.contains(key); }

  /// The first of two names that the record has, else the first.
  [[nodiscard]] const char* either(const char* key, const char* other) const {
    return !has(key) && has(other) ? other : key;
  }

  [[noreturn]] void fail(const std::string& problem) const { throw FormatError(place_, problem); }

 private:
  Json value_;
  std::string place_;
  std::size_t number_;
};

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
