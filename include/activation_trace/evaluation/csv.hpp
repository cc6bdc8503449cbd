// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/tokenizer/unicode.hpp"

namespace activation_trace {
inline namespace v0 {

struct CsvRow {
  std::size_t line = 0;  ///< of its first character, counted from 1
  std::vector<std::string> fields;
};

/// The rows of separated values in UTF-8, as RFC 4180 and Python's csv module have them: a field that begins with '"'
/// may hold separators, line ends and doubled quotes. A byte order mark and empty lines are skipped; lines end in LF or
/// CRLF. Throws FormatError naming `file` and the line for a quote that is not closed, text after a closing quote, and
/// ill-formed UTF-8.
[[nodiscard]] inline std::vector<CsvRow> parse_csv(std::string_view text, const std::string& file,
                                                   char separator = ',') {
  std::size_t line = 1;
  const auto fail = [&](std::size_t at, const std::string& problem) {
    throw FormatError(file, "line " + std::to_string(at) + ": " + problem);
  };
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  std::vector<CsvRow> rows;
  const auto ends_line = [&](std::size_t i) {
    return i == text.size() || text[i] == '\n' || (text[i] == '\r' && (i + 1 == text.size() || text[i + 1] == '\n'));
  };
  for (std::size_t i = 0; i < text.size();) {
    CsvRow row{.line = line, .fields = {}};
    const bool empty = ends_line(i);
    for (bool more = true; more;) {
      std::string field;
      if (i < text.size() && text[i] == '"') {
        const std::size_t opened = line;
        for (++i;; ++i) {
          if (i == text.size()) fail(opened, "a quote is not closed");
          if (text[i] == '"' && (i + 1 == text.size() || text[i + 1] != '"')) break;
          if (text[i] == '"') ++i;
          if (text[i] == '\n') ++line;
          field += text[i];
        }
        ++i;
        if (!ends_line(i) && text[i] != separator) fail(line, "text after a closing quote");
      } else {
        for (; !ends_line(i) && text[i] != separator; ++i) field += text[i];
      }
      if (!is_valid_utf8(field)) fail(row.line, "is not UTF-8");
      row.fields.push_back(std::move(field));
      more = i < text.size() && text[i] == separator;
      if (more) ++i;
    }
    if (i < text.size() && text[i] == '\r') ++i;
    if (i < text.size()) ++i;
    ++line;
    if (!empty) rows.push_back(std::move(row));
  }
  return rows;
}

/// Separated values whose first row names the columns.
class CsvTable {
 public:
  /// Throws as parse_csv, and FormatError without a header or for a row of another length.
  CsvTable(std::string_view text, std::string file) : file_(std::move(file)), rows_(parse_csv(text, file_)) {
    if (rows_.empty()) throw FormatError(file_, "is empty: expected a line of column names");
    header_ = std::move(rows_.front());
    rows_.erase(rows_.begin());
    for (const CsvRow& row : rows_)
      if (row.fields.size() != header_.fields.size())
        throw FormatError(file_, "line " + std::to_string(row.line) + ": expected " +
                                     std::to_string(header_.fields.size()) + " columns, found " +
                                     std::to_string(row.fields.size()));
  }

  [[nodiscard]] const std::vector<CsvRow>& rows() const noexcept { return rows_; }
  [[nodiscard]] bool has_column(std::string_view name) const { return find(name) < header_.fields.size(); }

  /// The place of a column. Throws FormatError naming it and those that there are.
  [[nodiscard]] std::size_t column(std::string_view name) const {
    const std::size_t place = find(name);
    if (place < header_.fields.size()) return place;
    std::string found;
    for (const std::string& field : header_.fields) found += (found.empty() ? "" : ", ") + field;
    throw FormatError(file_, "line 1: expected a column '" + std::string(name) + "', found " + found);
  }

 private:
  [[nodiscard]] std::size_t find(std::string_view name) const {
    return static_cast<std::size_t>(std::find(header_.fields.begin(), header_.fields.end(), name) -
                                    header_.fields.begin());
  }

  std::string file_;
  std::vector<CsvRow> rows_;
  CsvRow header_;
};

}  // namespace v0
}  // namespace activation_trace
