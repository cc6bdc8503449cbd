// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "activation_trace/tensor/view.hpp"

int main() {
  const auto numbers = nlohmann::json::parse("[[1, 2, 3], [4, 5, 6]]");  // the target has brought it along
  std::vector<float> data;
  for (const auto& row : numbers) data.insert(data.end(), row.begin(), row.end());
  return activation_trace::as_matrix(std::span(data), 2, 3)(1, 2) == 6 ? 0 : 1;
}
