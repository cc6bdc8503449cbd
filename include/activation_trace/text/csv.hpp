// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/utf8.hpp"
#include "activation_trace/text/visible.hpp"

namespace activation_trace {
inline namespace v0 {

/// A row of a table of separated values.
struct CsvRow {
  std::size_t line = 0;             ///< of its first character, counted from 1
  std::vector<std::string> fields;  ///< without quotes, at least one
};

/// The rows of separated values in UTF-8, as RFC 4180 and Python's csv module have them: a field that begins with '"'
/// may hold separators, line ends and doubled quotes. A byte order mark and empty lines are skipped; lines end in LF or
/// CRLF. Throws FormatError naming `file` and the line for a quote that is not closed, text after a closing quote, a CR
/// alone outside of quotes, and ill-formed UTF-8.
[[nodiscard]] std::vector<CsvRow> parse_csv(std::string_view text, const std::string& file, char separator = ',');

/// What separates a table's values, by its first row: tabs if there is one outside of quotes, else commas, else
/// semicolons; a comma where there is none of them.
[[nodiscard]] char csv_separator(std::string_view text) noexcept;

/// Separated values whose first row names the columns.
class CsvTable {
 public:
  /// Throws as parse_csv, and FormatError without a header, for a row of another length, and for columns that are
  /// separated otherwise.
  CsvTable(std::string_view text, std::string file);

  /// The rows below the header, as many fields in each as it has.
  [[nodiscard]] const std::vector<CsvRow>& rows() const noexcept { return rows_; }

  /// Whether the header names such a column, once or more often.
  [[nodiscard]] bool has_column(std::string_view name) const { return count(name) != 0; }

  /// The place of a column. Throws FormatError naming it and those that there are, or that there are two of it.
  [[nodiscard]] std::size_t column(std::string_view name) const;

 private:
  [[nodiscard]] std::ptrdiff_t count(std::string_view name) const {
    return std::count(header_.fields.begin(), header_.fields.end(), name);
  }
  /// The columns' names, for a message.
  [[nodiscard]] std::string columns_found() const;

  std::string file_;
  std::vector<CsvRow> rows_;
  CsvRow header_;
};

/// Lines of CSV as in RFC 4180: commas, quotes where they are needed, CR LF. Texts that a spreadsheet would take for a
/// formula, those that begin with = + - @, their full-width forms, TAB, CR or LF, get an apostrophe before them, as
/// OWASP recommends. Bytes that are no UTF-8 become U+FFFD.
class CsvWriter {
 public:
  /// Numbers have as many digits as tell every double from the next; what is not finite is empty.
  using Cell = std::variant<std::string, double, Index>;

  /// Appends a row.
  void line(std::initializer_list<Cell> cells);

  /// All rows so far; to be called once, at the end.
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void put(const std::string& cell);
  template <class Number>
  void put(Number x);

  std::string text_;
};

namespace detail {

/// Reads separated values from first to last.
class CsvParser {
 public:
  CsvParser(std::string_view text, const std::string& file, char separator)
      : text_(text), file_(&file), separator_(separator) {
    if (text_.substr(0, 3) == "\xef\xbb\xbf") text_.remove_prefix(3);
  }

  [[nodiscard]] bool at_end() const noexcept { return at_ == text_.size(); }

  [[nodiscard]] CsvRow row() {
    CsvRow row{.line = line_, .fields = {}};
    for (bool more = true; more;) {
      std::string field = !at_end() && text_[at_] == '"' ? quoted_field() : plain_field();
      if (!is_valid_utf8(field)) fail(row.line, "is not UTF-8");
      row.fields.push_back(std::move(field));
      more = !at_end() && text_[at_] == separator_;
      if (more) ++at_;
    }
    if (!at_end() && text_[at_] == '\r') ++at_;
    if (!at_end()) ++at_;
    ++line_;
    return row;
  }

  /// Whether the next row has nothing in it.
  [[nodiscard]] bool at_empty_row() const { return ends_line(); }

 private:
  [[noreturn]] void fail(std::size_t line, const std::string& problem) const {
    throw FormatError(*file_, "line " + std::to_string(line) + ": " + problem);
  }

  [[nodiscard]] bool ends_line() const {
    return at_end() || text_[at_] == '\n' ||
           (text_[at_] == '\r' && (at_ + 1 == text_.size() || text_[at_ + 1] == '\n'));
  }

  std::string quoted_field() {
    const std::size_t opened = line_;
    std::string field;
    for (++at_;; ++at_) {
      if (at_end()) fail(opened, "a quote is not closed");
      if (text_[at_] == '"' && (at_ + 1 == text_.size() || text_[at_ + 1] != '"')) break;
      if (text_[at_] == '"') ++at_;
      if (text_[at_] == '\n') ++line_;
      field += text_[at_];
    }
    ++at_;
    refuse_carriage_return();
    if (!ends_line() && text_[at_] != separator_) fail(line_, "text after a closing quote");
    return field;
  }

  std::string plain_field() {
    const std::size_t begin = at_;
    for (; !ends_line() && text_[at_] != separator_; ++at_) refuse_carriage_return();
    return std::string(text_.substr(begin, at_ - begin));
  }

  void refuse_carriage_return() const {
    if (!ends_line() && text_[at_] == '\r')
      fail(line_,
           "a carriage return without a line feed; if lines end so (old Macintosh), save the file with LF or CRLF");
  }

  std::string_view text_;
  const std::string* file_;
  char separator_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
};

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::vector<CsvRow> parse_csv(std::string_view text, const std::string& file,
                                                               char separator) {
  detail::CsvParser parser(text, file, separator);
  std::vector<CsvRow> rows;
  while (!parser.at_end()) {
    const bool empty = parser.at_empty_row();
    CsvRow row = parser.row();
    if (!empty) rows.push_back(std::move(row));
  }
  return rows;
}

ACTIVATION_TRACE_COMPILED_INLINE char csv_separator(std::string_view text) noexcept {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of("\r\n"), text.size()));
  char found = ',';
  bool comma = false;
  bool begins = true;  // a field
  bool quoted = false;
  bool open = false;
  for (const char c : text) {
    if (begins) quoted = c == '"';
    if (quoted && c == '"') open = !open;  // and once more for a second one, which is a quote in the field
    begins = false;
    if (open) continue;
    if (c == '\t') return c;
    if (c == '\n' || c == '\r') break;
    if (c != ',' && c != ';') continue;
    begins = true;
    comma = comma || c == ',';
    if (!comma) found = c;
  }
  return comma ? ',' : found;
}

ACTIVATION_TRACE_COMPILED_INLINE CsvTable::CsvTable(std::string_view text, std::string file) : file_(std::move(file)) {
  // Before quotes are looked for, which mean nothing without the right separator.
  if (const char separator = csv_separator(text); separator != ',')
    throw FormatError(file_, std::string("line 1: columns are separated by ") +
                                 (separator == ';' ? "semicolons" : "tabs") + ", expected commas: save the file so");
  rows_ = parse_csv(text, file_);
  if (rows_.empty()) throw FormatError(file_, "is empty: expected a line of column names");
  header_ = std::move(rows_.front());
  rows_.erase(rows_.begin());
  for (const CsvRow& row : rows_)
    if (row.fields.size() != header_.fields.size())
      throw FormatError(file_, "line " + std::to_string(row.line) + ": expected " +
                                   std::to_string(header_.fields.size()) + " columns, found " +
                                   std::to_string(row.fields.size()));
}

ACTIVATION_TRACE_COMPILED_INLINE std::size_t CsvTable::column(std::string_view name) const {
  const std::string where = "line " + std::to_string(header_.line) + ": ";
  const std::ptrdiff_t times = count(name);
  if (times > 1)
    throw FormatError(file_, where + "the column '" + std::string(name) + "' is there " + std::to_string(times) +
                                 " times, expected once");
  if (times == 0)
    throw FormatError(file_, where + "expected a column '" + std::string(name) + "', found " + columns_found());
  return static_cast<std::size_t>(std::find(header_.fields.begin(), header_.fields.end(), name) -
                                  header_.fields.begin());
}

ACTIVATION_TRACE_COMPILED_INLINE std::string CsvTable::columns_found() const {
  constexpr std::size_t most = 12;
  std::string found;
  for (std::size_t i = 0; i < std::min(most, header_.fields.size()); ++i)
    found += (i == 0 ? "" : ", ") + detail::printable(header_.fields[i]);
  if (header_.fields.size() > most) found += " and " + std::to_string(header_.fields.size() - most) + " more";
  return found;
}

ACTIVATION_TRACE_COMPILED_INLINE void CsvWriter::line(std::initializer_list<Cell> cells) {
  bool first = true;
  for (const Cell& cell : cells) {
    if (!first) text_ += ',';
    first = false;
    std::visit([this](const auto& value) { put(value); }, cell);
  }
  text_ += "\r\n";
}

ACTIVATION_TRACE_COMPILED_INLINE void CsvWriter::put(const std::string& cell) {
  std::string text = replace_ill_formed(cell);
  if (!text.empty() &&
      std::u32string_view(U"=+-@\t\r\n\uff1d\uff0b\uff0d\uff20").find(decode_character(text, 0).code_point) !=
          std::u32string_view::npos)
    text.insert(0, 1, '\'');
  const bool quoted = text.find_first_of(",\"\r\n") != std::string::npos;
  if (quoted) text_ += '"';
  for (const char c : text) text_.append(quoted && c == '"' ? 2 : 1, c);
  if (quoted) text_ += '"';
}

#endif  // ACTIVATION_TRACE_BODIES

template <class Number>
void CsvWriter::put(Number x) {
  if (!std::isfinite(static_cast<double>(x))) return;
  char digits[40];
  text_.append(digits, std::to_chars(digits, digits + sizeof digits, x).ptr);
}

}  // namespace v0
}  // namespace activation_trace
