// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/view.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

using namespace activation_trace;

// What must not compile is checked by concepts: the space is part of the type.
static_assert(std::is_trivially_copyable_v<MatrixView<float>>);
static_assert(std::is_convertible_v<MatrixView<float>, MatrixView<const float>>);
static_assert(!std::is_convertible_v<MatrixView<const float>, MatrixView<float>>);
static_assert(!std::is_constructible_v<MatrixView<float, Cuda>, MatrixView<float, Host>>);
static_assert(!std::is_constructible_v<MatrixView<float, Host>, MatrixView<float, Cuda>>);
static_assert(!std::is_constructible_v<VectorView<float, Cuda>, std::vector<float>&>);
static_assert(std::is_invocable_v<MatrixView<float>, int, int>);
static_assert(!std::is_invocable_v<MatrixView<float, Cuda>, int, int>);
static_assert(!std::is_invocable_v<MatrixView<float>, int>);

TEST_CASE("a matrix view is row-major and its rows and slices share the memory") {
  std::vector<float> data{0, 1, 2, 3, 4, 5};
  const MatrixView<float> m = as_matrix(std::span<float>(data), 2, 3);
  CHECK(m(1, 2) == 5);
  CHECK(m.row(1)[0] == 3);
  CHECK(m.slice(1, 1, 3)(1, 0) == 4);
  CHECK(m.slice(0, 1, 2).extent(0) == 1);
  m.transposed()(2, 0) = 7;
  CHECK(data[2] == 7);
  CHECK(m.contiguous());
  CHECK_FALSE(m.transposed().contiguous());
  CHECK_FALSE(m.slice(1, 0, 2).contiguous());
  CHECK(m.slice(0, 1, 2).span().size() == 3);
  CHECK_THROWS_AS((void)m.slice(1, 0, 2).span(), ShapeError);
}

TEST_CASE("slices are checked") {
  std::vector<float> data(6);
  const MatrixView<float> m = as_matrix(std::span<float>(data), 2, 3);
  CHECK_THROWS_AS((void)m.slice(0, 0, 3), ShapeError);
  CHECK_THROWS_AS((void)m.slice(0, -1, 1), ShapeError);
  CHECK_THROWS_AS((void)m.slice(0, 2, 1), ShapeError);
  CHECK_THROWS_AS((void)m.slice(2, 0, 1), ShapeError);
  CHECK_THROWS_AS((void)m.row(2), ShapeError);
  CHECK(m.slice(0, 2, 2).empty());
}

TEST_CASE("construction refuses what is not memory") {
  std::vector<float> data(6);
  CHECK_THROWS_AS((void)as_matrix(std::span<float>(data), 2, 2), ShapeError);
  CHECK_THROWS_AS((void)as_matrix(std::span<float>(data), -2, -3), ShapeError);
  CHECK_THROWS_AS(MatrixView<float>(nullptr, {1, 1}), ShapeError);
  CHECK_THROWS_AS(MatrixView<float>(data.data(), {std::numeric_limits<Index>::max(), 2}), ShapeError);
  CHECK_THROWS_WITH_AS((void)as_matrix(std::span<float>(data), 4, 2), "as_matrix: expected 4 x 2 elements, got 6",
                       ShapeError);
  CHECK(MatrixView<float>(nullptr, {0, 3}).empty());
}

TEST_CASE("a stride of zero broadcasts") {
  const float one = 1;
  const VectorView<const float> ones(&one, {5}, {0});
  CHECK(ones[4] == 1);
  CHECK(ones.size() == 5);
}
