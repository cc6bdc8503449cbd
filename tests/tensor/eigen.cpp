// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/eigen.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace activation_trace;

TEST_CASE("views and Eigen see the same elements, whatever the strides") {
  std::vector<double> data{0, 1, 2, 3, 4, 5};
  const MatrixView<double> m = as_matrix(std::span<double>(data), 2, 3);
  CHECK(as_eigen(m)(1, 2) == 5);
  CHECK(as_eigen(m.transposed())(2, 1) == 5);
  CHECK(as_eigen(m.slice(1, 1, 3)).sum() == 1 + 2 + 4 + 5);
  as_eigen(m.row(0))(1) = 9;
  CHECK(data[1] == 9);

  Eigen::MatrixXf columns(2, 3);  // column-major
  columns << 0, 1, 2, 3, 4, 5;
  const auto view = as_view(columns);
  CHECK(view(1, 2) == 5);
  CHECK(view.stride(0) == 1);
  const Eigen::VectorXf v = columns.row(1);
  CHECK(as_view(v)[2] == 5);
  CHECK(as_view(columns.row(1))[2] == 5);
}
