// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/ops/matmul.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "support/each_isa.hpp"
#include "support/oracle.hpp"
#include "support/random_matrix.hpp"

using namespace activation_trace;

namespace {

// y = x w^T on every path against double; x has a gap between its rows, and so has y, which must keep it.
void check_product(const StoredMatrix<>& w, Index n, std::mt19937& random) {
  const Index d = w.cols();
  const Index m = w.rows();
  const std::vector<float> x_memory = test::normal_floats(n * (d + 5), random);
  const MatrixView<const float> x = test::matrix(x_memory, n, d + 5).slice(1, 0, d);
  const std::vector<test::DotProduct> expected = test::products(x, w);
  // Rounding errors of d products grow like a random walk; 4 standard deviations and the few of the combination.
  const double tolerance = 0x1p-24 * (8 + 4 * std::sqrt(static_cast<double>(d)));
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(1, isa);
    const float gap = 12345.0f;
    const auto check = [&](const auto& multiply) {
      std::vector<float> y_memory(static_cast<std::size_t>(n * (m + 3)), gap);
      const MatrixView<float> y_all(y_memory.data(), {n, m + 3});
      multiply(execution, y_all.slice(1, 0, m));
      double worst = 0;
      bool gap_kept = true;
      for (Index i = 0; i < n; ++i) {
        for (Index r = 0; r < m; ++r) {
          const test::DotProduct& dot = expected[static_cast<std::size_t>(i * m + r)];
          const double error = std::abs(static_cast<double>(y_all(i, r)) - dot.value);
          if (!(error <= tolerance * dot.magnitude)) worst = std::max(worst, error / dot.magnitude);
        }
        for (Index c = m; c < m + 3; ++c) gap_kept = gap_kept && y_all(i, c) == gap;
      }
      CAPTURE(n);
      CAPTURE(m);
      CAPTURE(d);
      CHECK(worst <= tolerance);
      CHECK(gap_kept);
    };
    check([&](Execution<Host>& e, MatrixView<float> y) { matmul(e, x, w, y); });
    check([&](Execution<Host>& e, MatrixView<float> y) {
      const MatmulTarget<> target{w, y};
      matmul_by_row(e, x, std::span(&target, 1));
    });
  });
}

}  // namespace

TEST_CASE("every storage type, one row and many, awkward numbers of rows") {
  std::mt19937 random(1);
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    const Index block = block_elements(dtype);
    for (const Index n : {1, 2, 7, 33})
      check_product(test::RandomMatrix(dtype, 37, block == 256 ? 768 : 576, random).view(), n, random);
    for (const Index m : {1, 3, 8, 15, 16, 17, 33, 64}) {
      check_product(test::RandomMatrix(dtype, m, block == 1 ? 40 : block, random).view(), 1, random);
      check_product(test::RandomMatrix(dtype, m, block == 1 ? 40 : block, random).view(), 5, random);
    }
    check_product(test::RandomMatrix(dtype, 18, 3 * 256, random).view(), 140, random);
  }
}

TEST_CASE("any number of columns") {
  std::mt19937 random(2);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const Index d : {1, 7, 8, 9, 15, 17, 31, 65, 577, 1000})
      for (const Index n : {1, 3, 14}) check_product(test::RandomMatrix(dtype, 19, d, random).view(), n, random);
  for (const DType dtype : {DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::iq4_nl})
    for (const Index d : {32, 64, 96, 160, 1536})
      for (const Index n : {1, 6}) check_product(test::RandomMatrix(dtype, 19, d, random).view(), n, random);
  check_product(test::RandomMatrix(DType::f32, 40, 4097, random).view(), 9, random);
  check_product(test::RandomMatrix(DType::q4_k, 40, 2048, random).view(), 1, random);
}

TEST_CASE("whole numbers come out exactly, on every path") {
  std::mt19937 random(3);
  const Index d = 577;
  const Index m = 45;
  const std::vector<float> weights = test::small_integers(m * d, random);
  for (const Index n : {1, 2, 50}) {
    const std::vector<float> x = test::small_integers(n * d, random);
    const std::vector<test::DotProduct> expected = test::products(test::matrix(x, n, d), test::matrix(weights, m, d));
    test::each_isa([&](Isa isa) {
      Execution<Host> execution(2, isa);
      std::vector<float> y(static_cast<std::size_t>(n * m));
      matmul(execution, test::matrix(x, n, d), test::matrix(weights, m, d), {y.data(), {n, m}});
      bool exact = true;
      for (std::size_t i = 0; i < y.size(); ++i) exact = exact && static_cast<double>(y[i]) == expected[i].value;
      CHECK(exact);
    });
  }
}

TEST_CASE("packing decodes every storage type bit for bit: rows of the identity read the weights back") {
  std::mt19937 random(6);
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    const Index d = 512;
    const Index m = 35;
    const test::RandomMatrix w(dtype, m, d, random);
    std::vector<float> identity(static_cast<std::size_t>(d * d));
    for (std::size_t i = 0; i < static_cast<std::size_t>(d); ++i) identity[i * static_cast<std::size_t>(d) + i] = 1.0f;
    const std::vector<double> expected = test::decoded(w.view());
    test::each_isa([&](Isa isa) {
      Execution<Host> execution(1, isa);
      std::vector<float> y(static_cast<std::size_t>(d * m));
      matmul(execution, test::matrix(identity, d, d), w.view(), {y.data(), {d, m}});
      Index different = 0;
      for (Index k = 0; k < d; ++k)
        for (Index r = 0; r < m; ++r)
          different += static_cast<double>(y[static_cast<std::size_t>(k * m + r)]) !=
                       expected[static_cast<std::size_t>(r * d + k)];
      CHECK(different == 0);
    });
  }
}

namespace {

// Rows of a matrix of `dtype` and of another, [m + 6, d], times `x` [n, d]: by matmul, where that is one row.
struct TwoMatrices {
  test::RandomMatrix a;
  test::RandomMatrix b;

  TwoMatrices(DType dtype, Index m, Index d, std::mt19937& random)
      : a(dtype, m, d, random), b(DType::f32, 6, d, random) {}

  [[nodiscard]] std::vector<float> multiply(Execution<Host>& execution, MatrixView<const float> x) const {
    const Index n = x.extent(0);
    const Index m = a.view().rows();
    std::vector<float> y(static_cast<std::size_t>(n * (m + 6)));
    const MatrixView<float> all(y.data(), {n, m + 6});
    const MatmulTarget<> targets[] = {{a.view(), all.slice(1, 0, m)}, {b.view(), all.slice(1, m, m + 6)}};
    if (n == 1)
      matmul(execution, x, targets);
    else
      matmul_by_row(execution, x, targets);
    return y;
  }
};

}  // namespace

TEST_CASE("by row, every row is what it is alone, bit for bit, long rows too") {
  std::mt19937 random(7);
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    const Index d = block_elements(dtype) == 1    ? 301
                    : block_elements(dtype) == 32 ? 608
                                                  : 512;        // 608: an odd last pair
    for (const Index length : {d, Index{1792}, Index{5120}}) {  // those that go in smaller groups, and in the smallest
      const TwoMatrices w(dtype, length == d ? 43 : 9, length, random);
      const std::vector<float> x = test::normal_floats(17 * length, random);
      test::each_isa([&](Isa isa) {
        Execution<Host> one(1, isa);
        Execution<Host> three(3, isa);
        const MatrixView<const float> rows = test::matrix(x, 17, length);
        std::vector<float> alone;
        for (Index i = 0; i < 17; ++i)
          std::ranges::copy(w.multiply(one, rows.slice(0, i, i + 1)), std::back_inserter(alone));
        for (Index n = 0; n <= 17; n += length == d ? 1 : 4) {
          const std::vector<float> together = w.multiply(three, rows.slice(0, 0, n));
          CAPTURE(n);
          CAPTURE(length);
          CHECK(std::equal(together.begin(), together.end(), alone.begin()));
        }
      });
    }
  }
}

TEST_CASE("however the work is cut, the results are the same bits, but for the depth of a panel") {
  std::mt19937 random(14);
  const Index d = 700, m = 300;
  const test::RandomMatrix w(DType::f32, m, d, random);
  for (const Index n : {1, 3, 40}) {
    const std::vector<float> x = test::normal_floats(n * d, random);
    test::each_isa([&](Isa isa) {
      Execution<Host> execution(2, isa);
      const auto product = [&](const MatmulTuning& tuning) {
        std::vector<float> y(static_cast<std::size_t>(n * m));
        matmul(execution, test::matrix(x, n, d), w.view(), {y.data(), {n, m}}, tuning);
        return y;
      };
      const std::vector<float> expected = product({});
      CHECK(product({.grain = 1, .row_block = 7, .block_panels = 1}) == expected);
      CHECK(product({.grain = 64, .row_block = 1000, .block_panels = 30}) == expected);
      const std::vector<float> deeper = product({.depth = 64});
      CHECK((deeper == expected) == (n < few_rows));
      for (std::size_t i = 0; i < deeper.size(); ++i)
        CHECK(deeper[i] == doctest::Approx(expected[i]).scale(std::sqrt(static_cast<double>(d))).epsilon(1e-5));
    });
  }
}

TEST_CASE("what an earlier product left in a worker's memory does not enter the next") {
  std::mt19937 random(9);
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    const Index block = block_elements(dtype);
    const Index d = block == 1 ? 33 : block == 32 ? 96 : 256;
    const test::RandomMatrix wide(dtype, 40, 1024, random);
    const test::RandomMatrix w(dtype, 19, d, random);
    for (const Index n : {1, 6, 20}) {
      const std::vector<float> nothing(static_cast<std::size_t>(n * 1024), std::numeric_limits<float>::quiet_NaN());
      const std::vector<float> x = test::normal_floats(n * d, random);
      test::each_isa([&](Isa isa) {
        std::vector<float> used(static_cast<std::size_t>(n * 40));
        std::vector<float> fresh(static_cast<std::size_t>(n * 19));
        std::vector<float> y(fresh.size());
        Execution<Host> untouched(1, isa);
        matmul(untouched, test::matrix(x, n, d), w.view(), {fresh.data(), {n, 19}});
        Execution<Host> execution(1, isa);
        matmul(execution, test::matrix(nothing, n, 1024), wide.view(), {used.data(), {n, 40}});
        matmul(execution, test::matrix(x, n, d), w.view(), {y.data(), {n, 19}});
        CHECK(y == fresh);
      });
    }
  }
}

TEST_CASE("several targets in one call are the same as one call each") {
  std::mt19937 random(4);
  const Index d = 256;
  const test::RandomMatrix a(DType::q4_1, 50, d, random);
  const test::RandomMatrix b(DType::q8_0, 7, d, random);
  const test::RandomMatrix c(DType::q6_k, 19, d, random);
  for (const Index n : {1, 21}) {
    const std::vector<float> x = test::normal_floats(n * d, random);
    test::each_isa([&](Isa isa) {
      Execution<Host> execution(3, isa);
      Execution<Host> alone(1, isa);  // whose memory holds what this one has to arrange itself
      std::vector<float> together(static_cast<std::size_t>(n * 76));
      std::vector<float> apart = together;
      std::vector<MatmulTarget<>> targets;
      float* y = together.data();
      float* z = apart.data();
      for (const StoredMatrix<>& w : {a.view(), b.view(), c.view()}) {
        targets.push_back({w, {y, {n, w.rows()}}});
        matmul(alone, test::matrix(x, n, d), w, {z, {n, w.rows()}});
        y += n * w.rows();
        z += n * w.rows();
      }
      matmul(execution, test::matrix(x, n, d), targets);
      CHECK(together == apart);
    });
  }
}

TEST_CASE("nothing to do is done, infinities and NaN stay in their row and column") {
  std::mt19937 random(5);
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(2, isa);
    const std::vector<float> x = test::normal_floats(8 * 64, random);
    std::vector<float> y(8 * 20, 1.0f);
    matmul(execution, test::matrix({}, 0, 64), test::RandomMatrix(DType::f16, 20, 64, random).view(),
           {y.data(), {0, 20}});
    matmul(execution, test::matrix(x, 8, 64), test::RandomMatrix(DType::f16, 0, 64, random).view(), {y.data(), {8, 0}});
    CHECK(y == std::vector<float>(y.size(), 1.0f));
    matmul(execution, test::matrix({}, 8, 0), StoredMatrix(DType::f32, nullptr, 20, 0), {y.data(), {8, 20}});
    CHECK(y == std::vector<float>(y.size(), 0.0f));
    for (const Index n : {1, 8}) {
      std::vector<float> weights = test::normal_floats(20 * 64, random);
      weights[3 * 64 + 9] = std::numeric_limits<float>::quiet_NaN();
      matmul(execution, test::matrix(x, 8, 64).slice(0, 0, n), test::matrix(weights, 20, 64), {y.data(), {n, 20}});
      for (Index i = 0; i < n; ++i)
        for (Index r = 0; r < 20; ++r) CHECK(std::isnan(y[static_cast<std::size_t>(i * 20 + r)]) == (r == 3));
    }
  });
}

TEST_CASE("shapes that do not fit are named") {
  Execution<Host> execution;
  const std::vector<float> x(12);
  std::vector<float> y(12);
  const StoredMatrix<> w = test::matrix(x, 4, 3);
  CHECK_THROWS_WITH_AS(matmul(execution, test::matrix(x, 3, 4), w, {y.data(), {3, 4}}),
                       "matmul: columns of w: expected 4, got 3", ShapeError);
  CHECK_THROWS_WITH_AS(matmul(execution, test::matrix(x, 4, 3), w, {y.data(), {3, 4}}),
                       "matmul: rows of y: expected 4, got 3", ShapeError);
  CHECK_THROWS_WITH_AS(matmul(execution, test::matrix(x, 4, 3), w, {y.data(), {4, 3}}),
                       "matmul: columns of y: expected 4, got 3", ShapeError);
  CHECK_THROWS_AS(matmul(execution, test::matrix(x, 3, 4).transposed(), w, {y.data(), {4, 4}}), ShapeError);
}
