// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/text/csv.hpp"

#include <cstdint>
#include <cstdlib>

#include "fuzz/inputs.hpp"

using namespace activation_trace;

// What is read, written with every field in quotes, is read again as the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = test::text_of_input(data, size);
  for (const char separator : {',', '\t', ';'}) try {
      const std::vector<CsvRow> rows = parse_csv(text, "input", separator);
      std::string again;
      for (const CsvRow& row : rows) {
        for (std::size_t i = 0; i < row.fields.size(); ++i) {
          if (i > 0) again += separator;
          again += '"';
          for (const char c : row.fields[i]) again.append(c == '"' ? 2 : 1, c);
          again += '"';
        }
        again += '\n';
      }
      const std::vector<CsvRow> second = parse_csv(again, "again", separator);
      if (second.size() != rows.size()) std::abort();
      for (std::size_t i = 0; i < rows.size(); ++i)
        if (second[i].fields != rows[i].fields) std::abort();
      static_cast<void>(CsvTable(text, "input").has_column("Question"));
    } catch (const FormatError&) {
    }
  return 0;
}
