// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/data_sets/record.hpp"
#include "activation_trace/text/csv.hpp"
#include "activation_trace/text/json.hpp"
#include "activation_trace/text/mapped_file.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

/// How a data set is written.
enum class DataForm {
  records,     ///< JSON objects: one after the other, in a list, or in the list "Data" of one object
  tabs,        ///< a table, as the others
  commas,      ///< what a table of one column is, too
  semicolons,  ///< no public data set; spreadsheets save tables so
};

/// Throws FormatError, saying what to do, for a file that is no text of records or of a table.
inline void refuse_other_files(std::string_view text, const std::string& file) {
  struct Kind {
    std::string_view begin;
    const char* problem;
  };
  static constexpr Kind kinds[] = {
      {"PAR1",
       "is a Parquet file: save it as JSON lines, with pandas by read_parquet(...).to_json(..., "
       "orient='records', lines=True)"},
      {"\x1f\x8b", "is compressed (gzip): unpack it"},
      {"PK\x03\x04", "is a ZIP archive: unpack it"},
      {"\xff\xfe", "is UTF-16: save it as UTF-8"},
      {"\xfe\xff", "is UTF-16: save it as UTF-8"},
      {"<", "is a web page, not the data set: download the file itself"},
  };
  for (const Kind& kind : kinds)
    if (text.starts_with(kind.begin)) throw FormatError(file, kind.problem);
}

/// The form of a data set, which its content says, not its name: of all readers the only place that decides. `text`
/// has no byte order mark. Throws FormatError for what has no such form, or nothing in it.
[[nodiscard]] inline DataForm data_form(std::string_view text, const std::string& file) {
  refuse_other_files(text, file);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) throw FormatError(file, "holds no records");
  if (text[first] == '[' || text[first] == '{') return DataForm::records;
  switch (csv_separator(text)) {
    case '\t': return DataForm::tabs;
    case ';': return DataForm::semicolons;
    default: return DataForm::commas;
  }
}

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

/// A data set's file and its form.
class DataFile {
 public:
  /// Throws FormatError as MappedFile::open() and data_form() do.
  explicit DataFile(const std::filesystem::path& path) : file_(MappedFile::open(path)), text_(text_of(file_.bytes())) {
    if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);
    form_ = data_form(text_, name());
  }

  [[nodiscard]] const std::string& name() const noexcept { return file_.name(); }
  [[nodiscard]] DataForm form() const noexcept { return form_; }
  [[nodiscard]] bool has_records() const noexcept { return form_ == DataForm::records; }

  /// Calls `use(record)` for each record, of which there must be some. Throws FormatError for a table.
  template <class Use>
  void for_each_record(const Use& use) const;

  /// The rows of a table without a header, separated by tabs or commas. Throws FormatError for others.
  [[nodiscard]] std::vector<CsvRow> rows() const {
    if (form_ == DataForm::semicolons)
      throw FormatError(name(),
                        "line 1: columns are separated by semicolons, expected tabs or commas: save the file so");
    if (has_records()) refuse_records();
    return parse_csv(text_, name(), form_ == DataForm::tabs ? '\t' : ',');
  }

  /// A table with a header, separated by commas. Throws FormatError for others.
  [[nodiscard]] CsvTable table() const {
    if (has_records()) refuse_records();
    return {text_, name()};
  }

 private:
  [[noreturn]] void refuse_records() const { throw FormatError(name(), "expected a table (CSV), found JSON"); }

  MappedFile file_;
  std::string_view text_;
  DataForm form_ = DataForm::records;
};

template <class Use>
void DataFile::for_each_record(const Use& use) const {
  using Json = DataRecord::Json;
  if (!has_records()) throw FormatError(name(), "expected JSON records, found a table, or a text");
  std::size_t number = 0;
  const auto use_list = [&](Json& list) {
    for (Json& item : list) {
      use(DataRecord(std::move(item), name() + ": record " + std::to_string(number), number));
      ++number;
    }
  };
  std::size_t line = 1;
  constexpr std::string_view blanks = " \t\r\n";
  std::size_t reached = 0;
  for (std::size_t begin = text_.find_first_not_of(blanks); begin < text_.size();
       begin = text_.find_first_not_of(blanks, reached)) {
    line += static_cast<std::size_t>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(reached),
                                                text_.begin() + static_cast<std::ptrdiff_t>(begin), '\n'));
    const bool is_list = number == 0 && text_[begin] == '[';
    const std::size_t end = is_list ? text_.size() : end_of_record(text_, begin);
    const std::string place = is_list ? name() : name() + ": line " + std::to_string(line);
    auto value = parse_json<Json>(text_.substr(begin, end - begin), place, {.like_python = true});
    if (is_list)
      use_list(value);
    else if (const auto data = value.find("Data"); value.is_object() && data != value.end() && data->is_array())
      use_list(*data);
    else
      use(DataRecord(std::move(value), place, number++));
    line += static_cast<std::size_t>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(begin),
                                                text_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    reached = end;
  }
  if (number == 0) throw FormatError(name(), "holds no records");
}

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
