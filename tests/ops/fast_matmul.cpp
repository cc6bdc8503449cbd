// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/ops/fast_matmul.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
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

bool is_quantised(DType dtype) { return block_elements(dtype) > 1; }
bool is_rounded(Isa isa, DType dtype) { return is_quantised(dtype) || (dtype == DType::bf16 && rounds_bf16(isa)); }
/// Of any type, or one that some processor has.
bool may_be_rounded(DType dtype) { return is_quantised(dtype) || dtype == DType::bf16; }
/// Elements of the shortest row that is rounded.
Index rounded_block(DType dtype) { return std::max<Index>(32, block_elements(dtype)); }

/// Activations by the definition, as floats again, and half of the distance between an element's neighbours: in eight
/// bits, or in BF16.
struct Rounded {
  std::vector<float> values;
  std::vector<double> half_scales;

  Rounded(const std::vector<float>& x, DType dtype) : values(x.size()), half_scales(x.size()) {
    if (dtype == DType::bf16)
      to_bf16(x);
    else
      to_eight_bits(x);
  }

 private:
  void to_bf16(const std::vector<float>& x) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      int exponent;
      std::frexp(static_cast<double>(x[i]), &exponent);
      const double scale = std::ldexp(1.0, exponent - 8);  // eight bits, with the one that is not stored
      values[i] = static_cast<float>(scale * std::nearbyint(static_cast<double>(x[i]) / scale));
      half_scales[i] = scale / 2;
    }
  }

  void to_eight_bits(const std::vector<float>& x) {
    for (std::size_t i = 0; i < x.size(); i += 32) {
      float most = 0;
      for (std::size_t j = i; j < i + 32; ++j) most = std::max(most, std::abs(x[j]));
      const double scale = static_cast<double>(most / 127.0f);
      const float factor = most == 0 ? 0 : 127.0f / most;
      for (std::size_t j = i; j < i + 32; ++j) {
        values[j] = static_cast<float>(scale * std::nearbyint(static_cast<double>(x[j] * factor)));
        half_scales[j] = scale / 2;
      }
    }
  }
};

std::vector<float> multiplied(Execution<Host>& execution, MatrixView<const float> x, const StoredMatrix<>& w,
                              Arithmetic arithmetic) {
  std::vector<float> y(static_cast<std::size_t>(x.extent(0) * w.rows()));
  const MatmulTarget<> target{w, {y.data(), {x.extent(0), w.rows()}}};
  matmul(execution, x, std::span(&target, 1), arithmetic);
  return y;
}

// y = x w^T on every path against the sums in double of what is multiplied, and against those of x itself.
void check_fast_product(const StoredMatrix<>& w, Index n, std::mt19937& random) {
  const Index d = w.cols();
  const Index m = w.rows();
  const std::vector<float> x = test::normal_floats(n * d, random);
  const Rounded rounded(x, w.dtype());
  const std::vector<test::DotProduct> of_rounded = test::products(test::matrix(rounded.values, n, d), w);
  const std::vector<test::DotProduct> exact = test::products(test::matrix(x, n, d), w);
  const std::vector<double> weights = test::decoded(w);
  // Rounding errors of at most d sums grow like a random walk; 4 standard deviations and the few of a term.
  const double tolerance = 0x1p-24 * (8 + 4 * std::sqrt(static_cast<double>(d)));
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(1, isa);
    const std::vector<float> y = multiplied(execution, test::matrix(x, n, d), w, Arithmetic::fast);
    const std::vector<test::DotProduct>& expected = is_rounded(isa, w.dtype()) ? of_rounded : exact;
    double worst = 0;
    bool within_bound = true;
    for (Index i = 0; i < n; ++i) {
      for (Index r = 0; r < m; ++r) {
        const auto at = static_cast<std::size_t>(i * m + r);
        const double error = std::abs(static_cast<double>(y[at]) - expected[at].value);
        worst = std::max(worst, error / std::max(expected[at].magnitude, 1e-300));
        double bound = tolerance * exact[at].magnitude;
        for (Index c = 0; c < d; ++c)
          bound += rounded.half_scales[static_cast<std::size_t>(i * d + c)] *
                   std::abs(weights[static_cast<std::size_t>(r * d + c)]) * (1 + 1e-4);
        within_bound = within_bound && std::abs(static_cast<double>(y[at]) - exact[at].value) <= bound;
      }
    }
    CAPTURE(n);
    CAPTURE(m);
    CAPTURE(d);
    CHECK(worst <= tolerance);
    CHECK(within_bound);
  });
}

}  // namespace

TEST_CASE("fast: every type that is rounded, few rows and many, awkward numbers of rows") {
  std::mt19937 random(11);
  for (const DType dtype : all_dtypes) {
    if (!may_be_rounded(dtype)) continue;
    CAPTURE(std::string(name(dtype)));
    const Index block = rounded_block(dtype);
    for (const Index n : {1, 2, 3, 7, 8, 9, 33})
      check_fast_product(test::RandomMatrix(dtype, 37, block == 256 ? 768 : 576, random).view(), n, random);
    for (const Index m : {1, 3, 4, 5, 8, 9, 15, 16, 17, 33, 64})
      check_fast_product(test::RandomMatrix(dtype, m, block, random).view(), 2, random);
  }
}

TEST_CASE("fast: any number of blocks") {
  std::mt19937 random(12);
  for (const DType dtype : all_dtypes) {
    if (!may_be_rounded(dtype)) continue;
    CAPTURE(std::string(name(dtype)));
    for (const Index blocks : {1, 2, 3, 7, 8, 9, 17})
      check_fast_product(test::RandomMatrix(dtype, 19, blocks * rounded_block(dtype), random).view(), 5, random);
  }
}

TEST_CASE("fast: the largest quanta and activations do not overflow") {
  const Index d = 512;
  const Index m = 33;
  for (const DType dtype : all_dtypes) {
    if (!is_quantised(dtype)) continue;
    CAPTURE(std::string(name(dtype)));
    for (const unsigned bits : {0x00u, 0xffu, 0x80u, 0x7fu}) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(m * StoredMatrix<>::row_bytes_of(dtype, d)),
                                   static_cast<std::byte>(bits));
      visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
        for (std::size_t i = 0; i < bytes.size(); i += sizeof(T)) {
          T block;
          std::memcpy(static_cast<void*>(&block), bytes.data() + i, sizeof(T));
          if constexpr (requires { block.d; }) block.d = Half(0.25f);
          if constexpr (requires { block.m; }) block.m = Half(-0.5f);
          if constexpr (requires { block.dmin; }) block.dmin = Half(0.125f);
          std::memcpy(bytes.data() + i, &block, sizeof(T));
        }
      });
      const StoredMatrix<> w(dtype, bytes.data(), m, d);
      for (const float sign : {1.0f, -1.0f}) {
        const std::vector<float> x(static_cast<std::size_t>(9 * d), sign * 127.0f);  // of scale 1, so nothing is lost
        const std::vector<test::DotProduct> expected = test::products(test::matrix(x, 9, d), w);
        test::each_isa([&](Isa isa) {
          Execution<Host> execution(1, isa);
          const std::vector<float> y = multiplied(execution, test::matrix(x, 9, d), w, Arithmetic::fast);
          double worst = 0;
          for (std::size_t i = 0; i < y.size(); ++i)
            worst = std::max(
                worst, std::abs(static_cast<double>(y[i]) - expected[i].value) / std::max(1.0, expected[i].magnitude));
          CHECK(worst <= 0x1p-24 * 64);
        });
      }
    }
  }
}

TEST_CASE("fast: a row's bits are the same in any batch, beside any targets, with any threads, in either width") {
  std::mt19937 random(13);
  for (const DType dtype : {DType::q4_1, DType::q8_0, DType::q6_k, DType::q5_k, DType::q2_k, DType::iq4_xs}) {
    CAPTURE(std::string(name(dtype)));
    const Index d = 768;
    const Index n = 37;
    const test::RandomMatrix a(dtype, 53, d, random);
    const test::RandomMatrix b(DType::q4_0, 20, d, random);
    const test::RandomMatrix c(DType::bf16, 7, d, random);
    const std::vector<float> x = test::normal_floats(n * d, random);
    const auto run = [&](Execution<Host>& execution, Index rows, bool by_row) {
      std::vector<float> y(static_cast<std::size_t>(rows * 80));
      const MatrixView<float> all(y.data(), {rows, 80});
      const MatmulTarget<> targets[] = {
          {a.view(), all.slice(1, 0, 53)}, {b.view(), all.slice(1, 53, 73)}, {c.view(), all.slice(1, 73, 80)}};
      const MatrixView<const float> some = test::matrix(x, n, d).slice(0, 0, rows);
      if (by_row)
        matmul_by_row(execution, some, targets, Arithmetic::fast);
      else
        matmul(execution, some, targets, Arithmetic::fast);
      return y;
    };
    std::vector<float> of_avx2;
    test::each_isa([&](Isa isa) {
      Execution<Host> one(1, isa);
      const std::vector<float> expected = run(one, n, true);
      for (const int threads : {2, 3, 5, 8}) {
        Execution<Host> several(threads, isa);
        CHECK(run(several, n, true) == expected);
      }
      for (const Index rows : {1, 2, 3, 4, 6, 11}) {
        const std::vector<float> some = run(one, rows, true);
        CHECK(std::equal(some.begin(), some.end(), expected.begin()));
      }
      const std::vector<float> many = run(one, n, false);  // all the same but for bf16 where it is exact
      Index different = 0;
      for (Index i = 0; i < n; ++i)
        for (Index r = 0; r < (is_rounded(isa, DType::bf16) ? 80 : 73); ++r)
          different += many[static_cast<std::size_t>(i * 80 + r)] != expected[static_cast<std::size_t>(i * 80 + r)];
      CHECK(different == 0);
      if (isa == Isa::portable) return;
      std::vector<float> integers;
      for (Index i = 0; i < n; ++i)
        integers.insert(integers.end(), expected.begin() + i * 80, expected.begin() + i * 80 + 73);
      if (!of_avx2.empty()) CHECK(integers == of_avx2);
      of_avx2 = integers;
    });
  }
}

TEST_CASE("fast: what has no integers is multiplied exactly, and exact is exact") {
  std::mt19937 random(14);
  const Index d = 512;
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    const test::RandomMatrix w(dtype, 21, d, random);
    for (const Index n : {1, 6}) {
      const std::vector<float> x = test::normal_floats(n * d, random);
      test::each_isa([&](Isa isa) {
        Execution<Host> execution(2, isa);
        std::vector<float> expected(static_cast<std::size_t>(n * 21));
        matmul(execution, test::matrix(x, n, d), w.view(), {expected.data(), {n, 21}});
        CHECK(multiplied(execution, test::matrix(x, n, d), w.view(), Arithmetic::exact) == expected);
        const std::vector<float> fast = multiplied(execution, test::matrix(x, n, d), w.view(), Arithmetic::fast);
        CHECK((fast == expected) == !is_rounded(isa, dtype));
      });
    }
  }
}

TEST_CASE("fast: rows of BF16 that are no whole blocks are multiplied exactly") {
  std::mt19937 random(17);
  const test::RandomMatrix w(DType::bf16, 21, 72, random);
  const std::vector<float> x = test::normal_floats(3 * 72, random);
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(1, isa);
    const MatrixView<const float> rows = test::matrix(x, 3, 72);
    CHECK(multiplied(execution, rows, w.view(), Arithmetic::fast) ==
          multiplied(execution, rows, w.view(), Arithmetic::exact));
  });
}

TEST_CASE("fast: what is not finite spoils its row alone, nothing and next to nothing count as 0") {
  std::mt19937 random(15);
  const Index d = 576;
  const Index m = 20;
  const test::RandomMatrix w(DType::q4_1, m, d, random);
  const test::RandomMatrix scalars(DType::bf16, m, d, random);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), test::infinity, -test::infinity}) {
    std::vector<float> x = test::normal_floats(5 * d, random);
    x[static_cast<std::size_t>(2 * d + 45)] = bad;
    test::each_isa([&](Isa isa) {
      Execution<Host> execution(1, isa);
      const std::vector<float> y = multiplied(execution, test::matrix(x, 5, d), w.view(), Arithmetic::fast);
      for (Index i = 0; i < 5 * m; ++i) CHECK(std::isnan(y[static_cast<std::size_t>(i)]) == (i / m == 2));
      const std::vector<float> z = multiplied(execution, test::matrix(x, 5, d), scalars.view(), Arithmetic::fast);
      for (Index i = 0; i < 5 * m; ++i) CHECK(std::isfinite(z[static_cast<std::size_t>(i)]) == (i / m != 2));
    });
  }
  for (const float small : {0.0f, 1e-38f, 1e-45f}) {
    const std::vector<float> x(static_cast<std::size_t>(d), small);
    test::each_isa([&](Isa isa) {
      Execution<Host> execution(1, isa);
      const std::vector<float> y = multiplied(execution, test::matrix(x, 1, d), w.view(), Arithmetic::fast);
      CHECK(std::ranges::all_of(y, [](float v) { return v == 0; }));
    });
  }
}

TEST_CASE("fast: shapes that do not fit are refused, and nothing is nothing") {
  std::mt19937 random(16);
  const test::RandomMatrix w(DType::q8_0, 4, 64, random);
  std::vector<float> x(64 * 3);
  std::vector<float> y(4 * 3);
  Execution<Host> execution(1);
  const auto run = [&](Index n, Index d, Index rows, Index m) {
    const MatmulTarget<> target{w.view(), {y.data(), {rows, m}}};
    matmul(execution, {x.data(), {n, d}}, std::span(&target, 1), Arithmetic::fast);
  };
  CHECK_THROWS_AS(run(1, 32, 1, 4), ShapeError);
  CHECK_THROWS_AS(run(2, 64, 1, 4), ShapeError);
  CHECK_THROWS_AS(run(2, 64, 2, 3), ShapeError);
  CHECK_NOTHROW(run(0, 64, 0, 4));
  CHECK_NOTHROW(matmul(execution, {x.data(), {1, 64}}, std::span<const MatmulTarget<>>(), Arithmetic::fast));
  std::vector<float> out(4, 1.0f);
  const MatmulTarget<> no_columns{{DType::q8_0, nullptr, 4, 0}, {out.data(), {1, 4}}};
  matmul(execution, {x.data(), {1, 0}}, std::span(&no_columns, 1), Arithmetic::fast);
  CHECK(out == std::vector<float>(4, 0.0f));
}
