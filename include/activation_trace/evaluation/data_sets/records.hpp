// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/text/csv.hpp"
#include "activation_trace/text/json.hpp"
#include "activation_trace/text/mapped_file.hpp"

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

/// A file's text without its byte order mark, and without the white space that it begins with.
[[nodiscard]] inline std::string_view text_of_data(const MappedFile& file) {
  std::string_view text = text_of(file.bytes());
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  return text;
}

/// Whether the first thing in a data set is a JSON list or object, not a table's header.
[[nodiscard]] inline bool holds_json(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && (text[first] == '[' || text[first] == '{');
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

  /// As text(), or the record's number if there is no such key.
  [[nodiscard]] std::string text_or_number(const char* key) const {
    return has(key) ? text(key) : std::to_string(number_);
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

/// The end of the record that begins at `begin`: the first line end outside of brackets, or the text's end.
[[nodiscard]] inline std::size_t end_of_record(std::string_view text, std::size_t begin) {
  std::size_t depth = 0;
  bool quoted = false;
  for (std::size_t i = begin; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      if (depth == 0) return i;
      quoted = false;  // no string holds one
    } else if (quoted) {
      if (c == '"') quoted = false;
      if (c == '\\' && i + 1 < text.size() && text[i + 1] != '\n') ++i;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return text.size();
}

/// Calls `use(record)` for each object: of a JSON list, of the list "Data" of an only object, or of objects one after
/// the other, a line each or more.
template <class Use>
void for_each_record(std::string_view text, const std::string& file, const Use& use) {
  using Json = DataRecord::Json;
  std::size_t number = 0;
  const auto use_list = [&](Json& list) {
    for (Json& item : list) {
      use(DataRecord(std::move(item), file + ": record " + std::to_string(number), number));
      ++number;
    }
  };
  std::size_t line = 1;
  constexpr std::string_view blanks = " \t\r\n";
  std::size_t reached = 0;
  for (std::size_t begin = text.find_first_not_of(blanks); begin < text.size();
       begin = text.find_first_not_of(blanks, reached)) {
    line += static_cast<std::size_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(reached),
                                                text.begin() + static_cast<std::ptrdiff_t>(begin), '\n'));
    const bool is_list = number == 0 && text[begin] == '[';
    const std::size_t end = is_list ? text.size() : end_of_record(text, begin);
    const std::string place = is_list ? file : file + ": line " + std::to_string(line);
    auto value = parse_json<Json>(text.substr(begin, end - begin), place, {.like_python = true});
    if (is_list)
      use_list(value);
    else if (const auto data = value.find("Data"); value.is_object() && data != value.end() && data->is_array())
      use_list(*data);
    else
      use(DataRecord(std::move(value), place, number++));
    line += static_cast<std::size_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                                text.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    reached = end;
  }
  if (number == 0) throw FormatError(file, "holds no records");
}

template <class Use>
void for_each_record(const std::filesystem::path& path, const Use& use) {
  const MappedFile file = MappedFile::open(path);
  for_each_record(text_of_data(file), file.name(), use);
}

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
