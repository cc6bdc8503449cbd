// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/stored_matrix.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace activation_trace;

TEST_CASE("scalar rows decode to their float values") {
  const std::vector<Half> halves{Half(1.0f), Half(-2.5f), Half(0.0f), Half(65504.0f)};
  const StoredMatrix<> m = MatrixView<const Half>(halves.data(), {2, 2});
  std::vector<float> row(2);
  m.decode_row(1, row);
  CHECK(row == std::vector<float>{0.0f, 65504.0f});
  CHECK(m.slice(1, 2).row(0) == m.row(1));
}

TEST_CASE("rows may be further apart than they are long, columns may not") {
  const std::vector<float> data{0, 1, 2, 3, 4, 5};
  const MatrixView<const float> all(data.data(), {2, 3});
  std::vector<float> row(2);
  StoredMatrix(all.slice(1, 1, 3)).decode_row(1, row);
  CHECK(row == std::vector<float>{4, 5});
  CHECK_THROWS_AS(StoredMatrix(all.transposed()), ShapeError);
}

TEST_CASE("shapes that are not rows of blocks are refused") {
  const std::byte byte{};
  CHECK_THROWS_WITH_AS(StoredMatrix(DType::q4_0, &byte, 1, 33),
                       "StoredMatrix: a row of 33 elements is not a multiple of Q4_0's block of 32", ShapeError);
  CHECK_THROWS_AS(StoredMatrix(DType::f32, &byte, -1, 4), ShapeError);
  CHECK_THROWS_AS(StoredMatrix(DType::f32, &byte, 1, std::numeric_limits<Index>::max() / 2), ShapeError);
  CHECK_THROWS_AS(StoredMatrix(DType::f32, nullptr, 1, 1), ShapeError);
  const StoredMatrix<> m(DType::q8_0, &byte, 0, 32);
  std::vector<float> row(32);
  CHECK_THROWS_AS(m.decode_row(0, row), ShapeError);
}

TEST_CASE("closed forms of the block formats") {
  std::vector<float> y(256);
  Q4_1Block q4_1{Half(0.5f), Half(-1.0f), {}};
  for (int j = 0; j < 16; ++j) q4_1.q[j] = static_cast<std::uint8_t>(j | ((15 - j) << 4));
  q4_1.decode(y.data());
  for (int j = 0; j < 16; ++j) {
    CHECK(y[static_cast<std::size_t>(j)] == 0.5f * static_cast<float>(j) - 1.0f);
    CHECK(y[static_cast<std::size_t>(j) + 16] == 0.5f * static_cast<float>(15 - j) - 1.0f);
  }
  Q6_KBlock q6{};  // all bits zero: every quantum is -32
  q6.d = Half(2.0f);
  for (int g = 0; g < 16; ++g) q6.scales[g] = static_cast<std::int8_t>(g - 8);
  q6.decode(y.data());
  for (std::size_t i = 0; i < 256; ++i) CHECK(y[i] == -64.0f * (static_cast<float>(i / 16) - 8.0f));
}
