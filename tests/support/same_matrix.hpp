// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <vector>

#include "activation_trace/tensor/stored_matrix.hpp"

namespace activation_trace::test {

inline std::vector<float> row_of(const StoredMatrix<>& matrix, Index row) {
  std::vector<float> values(static_cast<std::size_t>(matrix.cols()));
  matrix.decode_row(row, values);
  return values;
}

/// Shapes and values, whatever the two are stored as.
inline void check_same(const StoredMatrix<>& a, const StoredMatrix<>& b) {
  REQUIRE(a.rows() == b.rows());
  REQUIRE(a.cols() == b.cols());
  for (Index r = 0; r < a.rows(); ++r) REQUIRE(row_of(a, r) == row_of(b, r));
}

}  // namespace activation_trace::test
