// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/data_sets/data_file.hpp"
#include "activation_trace/evaluation/data_sets/record.hpp"
#include "activation_trace/text/csv.hpp"

namespace activation_trace {
inline namespace v0 {

/// A text with its true continuation and false ones.
struct FactorItem {
  std::string prefix;                       ///< the text
  std::string completion;                   ///< the true continuation
  std::vector<std::string> contradictions;  ///< the false ones, three
};

/// FACTOR's CSV: turncated_prefixes (so spelled; else full_prefix), completion, contradiction_0, _1 and _2.
[[nodiscard]] std::vector<FactorItem> read_factor(const std::filesystem::path& path);

inline std::vector<FactorItem> read_factor(const std::filesystem::path& path) {
  const detail::DataFile file(path);
  const CsvTable table = file.table();
  const std::size_t prefix =
      table.has_column("turncated_prefixes") ? table.column("turncated_prefixes") : table.column("full_prefix");
  const std::size_t completion = table.column("completion");
  const std::array<std::size_t, 3> false_ones{table.column("contradiction_0"), table.column("contradiction_1"),
                                              table.column("contradiction_2")};
  std::vector<FactorItem> items;
  for (const CsvRow& row : table.rows()) {
    FactorItem item{row.fields[prefix], row.fields[completion], {}};
    for (const std::size_t column : false_ones) item.contradictions.push_back(row.fields[column]);
    if (detail::is_blank(item.prefix)) detail::fail_row(file.name(), row, "the prefix is empty");
    if (detail::is_blank(item.completion)) detail::fail_row(file.name(), row, "the completion is empty");
    if (std::any_of(item.contradictions.begin(), item.contradictions.end(), detail::is_blank))
      detail::fail_row(file.name(), row, "a contradiction is empty");
    items.push_back(std::move(item));
  }
  if (items.empty()) throw FormatError(file.name(), "holds no items");
  return items;
}

}  // namespace v0
}  // namespace activation_trace
