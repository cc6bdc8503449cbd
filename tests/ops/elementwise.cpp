// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <functional>
#include <limits>
#include <numbers>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "activation_trace/ops/add_bias.hpp"
#include "activation_trace/ops/copy.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/first_not_finite.hpp"
#include "activation_trace/ops/gated_multiply.hpp"
#include "activation_trace/ops/gather.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/ops/rms_norm.hpp"
#include "activation_trace/ops/rope.hpp"
#include "activation_trace/ops/scale.hpp"
#include "activation_trace/ops/soft_cap.hpp"
#include "support/each_isa.hpp"
#include "support/random_matrix.hpp"

using namespace activation_trace;
using test::infinity;

namespace {

constexpr Index lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 64, 576, 577, 4096};

bool close(float actual, double expected, double relative) {
  return std::abs(static_cast<double>(actual) - expected) <= relative * std::abs(expected) + 1e-37;
}

/// A vector as a matrix of one row.
MatrixView<const float> row(const std::vector<float>& x) { return as_matrix(std::span(x), 1, std::ssize(x)); }
MatrixView<float> row(std::vector<float>& x) { return as_matrix(std::span(x), 1, std::ssize(x)); }

}  // namespace

TEST_CASE("rms_norm, also in place and with rows apart") {
  std::mt19937 random(1);
  for (const Index d : lengths) {
    for (const float scale : {1e-3f, 1.0f, 1e4f}) {
      std::vector<float> memory = test::normal_floats(3 * (d + 2), random, scale);
      const std::vector<float> weight = test::normal_floats(d, random);
      test::each_isa([&](Isa isa) {
        std::vector<float> y_memory = memory;
        const MatrixView<const float> x = test::matrix(memory, 3, d + 2).slice(1, 0, d);
        const MatrixView<float> y = MatrixView<float>(y_memory.data(), {3, d + 2}).slice(1, 0, d);
        Execution execution(1, isa);
        rms_norm(execution, y, weight, 1e-5f, y);
        for (Index i = 0; i < 3; ++i) {
          double sum = 0;
          for (Index c = 0; c < d; ++c) sum += static_cast<double>(x(i, c)) * static_cast<double>(x(i, c));
          const double norm = std::sqrt(sum / static_cast<double>(d) + static_cast<double>(1e-5f));
          for (Index c = 0; c < d; ++c)
            if (!close(y(i, c),
                       static_cast<double>(x(i, c)) / norm * static_cast<double>(weight[static_cast<std::size_t>(c)]),
                       1e-6))
              FAIL_CHECK("d " << d << " element " << i << ", " << c);
          CHECK(y_memory[static_cast<std::size_t>(i * (d + 2) + d)] ==
                memory[static_cast<std::size_t>(i * (d + 2) + d)]);
        }
      });
    }
  }
  std::vector<float> y(6);
  Execution<Host> execution;
  CHECK_THROWS_WITH_AS(rms_norm(execution, as_matrix<const float>(y, 2, 3), y, 1e-5f, {y.data(), {2, 3}}),
                       "rms_norm: length of weight: expected 3, got 6", ShapeError);
}

TEST_CASE("gated_multiply by SiLU over the whole range of float") {
  std::mt19937 random(2);
  for (const Index n : lengths) {
    std::vector<float> gate = test::normal_floats(n, random, 20.0f);
    gate[0] = 0.0f;
    const std::vector<float> up = test::normal_floats(n, random);
    test::each_isa([&](Isa isa) {
      Execution execution(1, isa);
      std::vector<float> y(gate.size());
      gated_multiply(execution, FfnActivation::silu, row(gate), row(up), row(y));
      for (std::size_t i = 0; i < y.size(); ++i) {
        const auto g = static_cast<double>(gate[i]);
        if (!close(y[i], g / (1 + std::exp(-g)) * static_cast<double>(up[i]), 2e-6)) FAIL_CHECK(gate[i]);
      }
      std::vector<float> in_place = gate;
      gated_multiply(execution, FfnActivation::silu, row(in_place), row(up), row(in_place));
      CHECK(in_place == y);
    });
  }
  const std::vector<float> extremes{-infinity, -1e30f, -200.0f, -100.0f, -88.5f, -87.0f, 87.0f, 88.8f, 200.0f, 3e38f};
  test::each_isa([&](Isa isa) {
    Execution execution(1, isa);
    std::vector<float> y(extremes.size());
    gated_multiply(execution, FfnActivation::silu, row(extremes), row(std::vector<float>(y.size(), 1.0f)), row(y));
    CHECK(std::abs(y[0]) <= 1e-30f);
    for (std::size_t i = 1; i < y.size(); ++i) {
      const auto g = static_cast<double>(extremes[i]);
      CHECK(std::abs(static_cast<double>(y[i]) - g / (1 + std::exp(-g))) <= 2e-6 * std::max(0.0, g) + 1e-30);
    }
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> gates(20, 1.0f);
    gates[3] = gates[19] = nan;
    std::vector<float> out(20);
    gated_multiply(execution, FfnActivation::silu, row(gates), row(std::vector<float>(20, 1.0f)), row(out));
    for (std::size_t i = 0; i < 20; ++i) CHECK(std::isnan(out[i]) == (i == 3 || i == 19));
  });
  Execution<Host> execution;
  std::vector<float> three(3);
  CHECK_THROWS_AS(gated_multiply(execution, FfnActivation::silu, row(three), row(std::vector<float>(2)), row(three)),
                  ShapeError);
  CHECK_THROWS_AS(gated_multiply(execution, FfnActivation::silu, row(three), row(three), row(three).slice(1, 0, 2)),
                  ShapeError);
  CHECK_THROWS_AS(gated_multiply(execution, FfnActivation::silu, row(three), row(three), {three.data(), {3, 1}}),
                  ShapeError);
}

TEST_CASE("gated_multiply by GELU over the whole range of float") {
  std::mt19937 random(5);
  const auto gelu = [](double g) {
    return g / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g)));
  };
  for (const Index n : lengths) {
    std::vector<float> gate = test::normal_floats(n, random, 3.0f);
    gate[0] = 0.0f;
    const std::vector<float> up = test::normal_floats(n, random);
    test::each_isa([&](Isa isa) {
      Execution execution(1, isa);
      std::vector<float> y(gate.size());
      gated_multiply(execution, FfnActivation::gelu_tanh, row(gate), row(up), row(y));
      for (std::size_t i = 0; i < y.size(); ++i) {
        const auto g = static_cast<double>(gate[i]);
        const auto u = static_cast<double>(up[i]);
        // Relative to g: the exponent 2 u of size 100 is off by some 1e-5 where the result is 1e-40 of g.
        const double error = std::abs(static_cast<double>(y[i]) - gelu(g) * u);
        if (!(error <= 1e-6 * std::abs(g * u) + 1e-37)) FAIL_CHECK(gate[i]);
      }
      std::vector<float> in_place = gate;
      gated_multiply(execution, FfnActivation::gelu_tanh, row(in_place), row(up), row(in_place));
      CHECK(in_place == y);
    });
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> extremes{-infinity, -1e30f, -200.0f, -20.0f,   -6.0f, 6.0f,
                                    20.0f,     200.0f, 1e30f,   infinity, nan};
  test::each_isa([&](Isa isa) {
    Execution execution(1, isa);
    std::vector<float> y(extremes.size());
    gated_multiply(execution, FfnActivation::gelu_tanh, row(extremes), row(std::vector<float>(y.size(), 1.0f)), row(y));
    for (std::size_t i = 0; i < 4; ++i) CHECK(std::abs(y[i]) <= 1e-30f);
    CHECK(static_cast<double>(y[4]) == doctest::Approx(gelu(-6)).epsilon(1e-4));
    for (std::size_t i = 5; i < 10; ++i) CHECK(y[i] == extremes[i]);
    CHECK(std::isnan(y[10]));
  });
  Execution<Host> execution;
  std::vector<float> three(3);
  CHECK_THROWS_AS(
      gated_multiply(execution, FfnActivation::gelu_tanh, row(three), row(std::vector<float>(2)), row(three)),
      ShapeError);
  CHECK_THROWS_AS(
      gated_multiply(execution, FfnActivation::gelu_tanh, row(three), row(three), row(three).slice(1, 0, 2)),
      ShapeError);
  CHECK_THROWS_AS(gated_multiply(execution, FfnActivation::gelu_tanh, row(three), row(three), {three.data(), {3, 1}}),
                  ShapeError);
}

TEST_CASE("add_bias adds the same to each row, and nothing between rows") {
  std::mt19937 random(6);
  const std::vector<float> before = test::normal_floats(3 * 9, random);
  const std::vector<float> bias = test::normal_floats(7, random);
  std::vector<float> after = before;
  Execution<Host> execution;
  add_bias(execution, MatrixView<float>(after.data(), {3, 9}).slice(1, 0, 7), bias);
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t c = 0; c < 9; ++c) {
      // One addition: the double sum, rounded once.
      const double sum = double{before[i * 9 + c]} + (c < 7 ? double{bias[c]} : 0.0);
      CHECK(after[i * 9 + c] == static_cast<float>(sum));
    }
  CHECK_THROWS_WITH_AS(add_bias(execution, {after.data(), {3, 9}}, bias), "add_bias: length of bias: expected 9, got 7",
                       ShapeError);
}

TEST_CASE("scale, copy and add_rms_norm, with rows apart and shared among workers") {
  std::mt19937 random(8);
  for (const Index rows : {Index{0}, Index{1}, Index{3}, Index{700}}) {
    const std::vector<float> before = test::normal_floats(rows * 40, random);
    const std::vector<float> term = test::normal_floats(rows * 32, random);
    const std::vector<float> weight = test::normal_floats(32, random);
    for (const int threads : {1, 3}) {
      Execution execution(threads);
      const auto at = [](std::vector<float>& memory) {
        return MatrixView<float>(memory.data(), {std::ssize(memory) / 40, 40}).slice(1, 3, 35);
      };
      std::vector<float> scaled = before;
      scale(execution, at(scaled), 0.3f);
      std::vector<float> copied(before.size(), 7.0f);
      copy(execution, at(scaled), at(copied));
      std::vector<float> sums = before;
      std::vector<float> norms = term;
      add_rms_norm(execution, at(sums), {norms.data(), {rows, 32}}, weight, 1e-5f);
      std::vector<float> expected_norms(norms.size());
      rms_norm(execution, at(sums), weight, 1e-5f, {expected_norms.data(), {rows, 32}});
      CHECK(norms == expected_norms);
      bool right = true;
      for (std::size_t i = 0; i < before.size(); ++i) {
        const bool inside = i % 40 >= 3 && i % 40 < 35;
        const float product = static_cast<float>(double{before[i]} * double{0.3f});  // one rounding, as of the sum
        right = right && scaled[i] == (inside ? product : before[i]) && copied[i] == (inside ? product : 7.0f) &&
                sums[i] == (inside ? before[i] + term[i / 40 * 32 + i % 40 - 3] : before[i]);
      }
      CHECK(right);
    }
  }
  Execution<Host> execution;
  std::vector<float> x(12);
  CHECK_THROWS_WITH_AS(copy(execution, {x.data(), {2, 3}}, {x.data() + 6, {2, 2}}),
                       "copy: columns of to: expected 3, got 2", ShapeError);
  CHECK_THROWS_AS(copy(execution, {x.data(), {2, 3}}, {x.data() + 6, {1, 3}}), ShapeError);
}

TEST_CASE("copy moves rows towards the front of the same memory, whoever works first") {
  Execution<Host> execution(4, [](int parts, const std::function<void(int)>& part) {
    for (int w = parts; w-- > 0;) part(w);
  });
  std::vector<float> memory(1000 * 20);
  std::iota(memory.begin(), memory.end(), 0.0f);  // exact: below 2^24
  const MatrixView<float> rows(memory.data(), {1000, 20});
  copy(execution, rows.slice(0, 7, 1000), rows.slice(0, 0, 993));
  bool moved = true;
  for (Index i = 0; i < 993; ++i)
    for (Index c = 0; c < 20; ++c) moved = moved && rows(i, c) == static_cast<float>((i + 7) * 20 + c);
  CHECK(moved);
}

TEST_CASE("gather widens the rows of ids, in any stored form") {
  std::mt19937 random(9);
  for (const DType dtype : all_dtypes) {
    const test::RandomMatrix w(dtype, 11, 256, random);
    std::vector<TokenId> ids;
    for (int i = 0; i < 60; ++i) ids.push_back(static_cast<TokenId>(random() % 11));
    Execution execution(2);
    std::vector<float> out(60 * 256);
    gather(execution, w.view(), ids, {out.data(), {60, 256}});
    std::vector<float> expected(256);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      w.view().decode_row(ids[i], expected);
      CHECK(std::equal(expected.begin(), expected.end(), out.begin() + static_cast<Index>(i) * 256));
    }
    ids.back() = 11;
    CHECK_THROWS_AS(gather(execution, w.view(), ids, {out.data(), {60, 256}}), ShapeError);
    CHECK_THROWS_AS(gather(execution, w.view(), std::span(ids).first(59), {out.data(), {60, 256}}), ShapeError);
  }
}

TEST_CASE("soft_cap bends towards the cap and leaves what is small") {
  std::mt19937 random(7);
  Execution<Host> execution;
  for (const float cap : {0.5f, 30.0f}) {
    std::vector<float> x = test::normal_floats(200, random, 40.0f);
    x.insert(x.end(), {0.0f, 1e-6f, -1e30f, infinity, -infinity});
    std::vector<float> y = x;
    soft_cap(execution, row(y), cap);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double expected = double{cap} * std::tanh(double{x[i]} / double{cap});
      CHECK(close(y[i], expected, 4e-7));
    }
  }
  std::vector<float> nan{std::numeric_limits<float>::quiet_NaN()};
  soft_cap(execution, row(nan), 1);
  CHECK(std::isnan(nan[0]));
  CHECK_THROWS_WITH_AS(soft_cap(execution, row(nan), 0), "soft_cap: cap must be positive and finite, got 0.000000",
                       ArgumentError);
  CHECK_THROWS_AS(soft_cap(execution, row(nan), infinity), ArgumentError);
}

TEST_CASE("rope turns pairs by position times frequency, in both layouts") {
  std::mt19937 random(3);
  const std::vector<float> frequencies{1.0f, 0.31622776f, 0.1f, 0.001f};
  const RopeTable table(frequencies, 700);
  Execution<Host> execution;
  CHECK(table.head_dim() == 8);
  for (const RopeLayout layout : {RopeLayout::half_split, RopeLayout::interleaved}) {
    const std::vector<float> before = test::normal_floats(5 * 3 * 8, random);
    std::vector<float> after = before;
    rope(execution, {after.data(), {5, 24}}, 3, 600, table, layout);
    for (std::size_t i = 0; i < 5; ++i) {
      for (std::size_t h = 0; h < 3; ++h) {
        for (std::size_t p = 0; p < 4; ++p) {
          const std::size_t head = i * 24 + h * 8;
          const std::size_t a = head + (layout == RopeLayout::half_split ? p : 2 * p);
          const std::size_t b = head + (layout == RopeLayout::half_split ? p + 4 : 2 * p + 1);
          const double angle = static_cast<double>(600 + i) * static_cast<double>(frequencies[p]);
          const auto x = static_cast<double>(before[a]);
          const auto y = static_cast<double>(before[b]);
          CHECK(std::abs(static_cast<double>(after[a]) - (x * std::cos(angle) - y * std::sin(angle))) <= 1e-6);
          CHECK(std::abs(static_cast<double>(after[b]) - (x * std::sin(angle) + y * std::cos(angle))) <= 1e-6);
        }
      }
    }
  }
  std::vector<float> x(24);
  CHECK_THROWS_AS(rope(execution, {x.data(), {1, 24}}, 2, 0, table, RopeLayout::half_split), ShapeError);
  CHECK_THROWS_WITH_AS(rope(execution, {x.data(), {1, 24}}, 3, 700, table, RopeLayout::half_split),
                       "rope: positions 700 to 701 lie beyond the table's 700", ArgumentError);
  CHECK_THROWS_AS(rope(execution, {x.data(), {1, 24}}, 3, -1, table, RopeLayout::half_split), ArgumentError);
  CHECK_THROWS_AS(RopeTable(std::vector<float>{infinity}, 4), ArgumentError);
  CHECK_THROWS_AS(RopeTable(frequencies, -1), ArgumentError);
  CHECK_THROWS_AS(RopeTable(frequencies, 4, 8, infinity), ArgumentError);
  CHECK_THROWS_WITH_AS(RopeTable(frequencies, 4, 6),
                       "RopeTable: head_dim must be at least twice the frequencies, 8, got 6", ArgumentError);
}

TEST_CASE("rope turns the first part of a head, leaves the rest, and multiplies what it turns by the amplitude") {
  std::mt19937 random(31);
  const std::vector<float> frequencies{0.7f, 0.02f, 0.003f};
  constexpr float amplitude = 1.19f;
  const RopeTable table(frequencies, 50, 10, amplitude);
  Execution<Host> execution;
  CHECK(table.head_dim() == 10);
  CHECK(table.rotary_dim() == 6);
  for (const RopeLayout layout : {RopeLayout::half_split, RopeLayout::interleaved}) {
    const std::vector<float> before = test::normal_floats(4 * 2 * 10, random);
    std::vector<float> after = before;
    rope(execution, {after.data(), {4, 20}}, 2, 40, table, layout);
    for (std::size_t i = 0; i < 4; ++i) {
      for (std::size_t head = i * 20; head < i * 20 + 20; head += 10) {
        for (std::size_t p = 0; p < 3; ++p) {
          const std::size_t re = head + (layout == RopeLayout::half_split ? p : 2 * p);
          const std::size_t im = head + (layout == RopeLayout::half_split ? p + 3 : 2 * p + 1);
          const std::complex<double> expected =
              std::complex<double>(before[re], before[im]) *
              std::polar(double{amplitude}, static_cast<double>(40 + i) * double{frequencies[p]});
          CHECK(std::abs(static_cast<double>(after[re]) - expected.real()) <= 1e-6);
          CHECK(std::abs(static_cast<double>(after[im]) - expected.imag()) <= 1e-6);
        }
        for (std::size_t j = head + 6; j < head + 10; ++j) CHECK(after[j] == before[j]);
      }
    }
  }
  std::vector<float> x(20);
  CHECK_THROWS_AS(rope(execution, {x.data(), {1, 20}}, 3, 0, table, RopeLayout::half_split), ShapeError);
}

TEST_CASE("log_softmax") {
  std::mt19937 random(4);
  for (const Index n : lengths) {
    std::vector<float> logits = test::normal_floats(n, random, 5.0f, 1000.0f);
    if (n > 2) logits[1] = -infinity;
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x) - 1000);
    for (const Isa isa : all_isas) {
      if (!supports(isa)) continue;
      std::vector<float> out = logits;
      const float best = log_softmax(Execution(1, isa), out, out);
      float largest = -infinity;
      for (std::size_t i = 0; i < out.size(); ++i) {
        const double expected = static_cast<double>(logits[i]) - 1000 - std::log(sum);
        CHECK((std::isinf(logits[i])
                   ? out[i] == -infinity
                   : std::abs(static_cast<double>(out[i]) - expected) <= 1e-6 * (1 + std::abs(expected))));
        largest = std::max(largest, out[i]);
      }
      CHECK(best == largest);
    }
  }
  const Execution<Host> execution;
  std::vector<float> out(2);
  CHECK(std::isnan(log_softmax(execution, std::vector<float>{-infinity, -infinity}, out)));
  CHECK(std::isnan(out[0]));
  log_softmax(execution, std::vector<float>{std::numeric_limits<float>::quiet_NaN(), 1.0f}, out);
  CHECK(std::isnan(out[1]));
  log_softmax(execution, std::vector<float>{infinity, 1.0f}, out);
  CHECK(std::isnan(out[0]));
  CHECK(std::isnan(log_softmax(execution, {}, {})));
  CHECK_THROWS_AS(log_softmax(execution, std::vector<float>(3), out), ShapeError);
}

TEST_CASE("first_not_finite finds the first of NaN and the infinities, wherever it is") {
  const Execution<Host> execution(1);
  for (const Index n : {1, 7, 64, 1001}) {
    std::vector<float> x(static_cast<std::size_t>(n), std::numeric_limits<float>::max());
    CHECK_FALSE(first_not_finite(execution, x).has_value());
    for (const Index at : {Index{0}, n / 2, n - 1})
      for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
        std::vector<float> y = x;
        y.back() = infinity;
        y[static_cast<std::size_t>(at)] = bad;
        const std::optional<NotFinite> found = first_not_finite(execution, y);
        REQUIRE(found.has_value());
        CHECK(found->at == at);
        CHECK((std::isnan(bad) ? std::isnan(found->value) : found->value == bad));
      }
  }
  CHECK_FALSE(first_not_finite(execution, std::vector<float>{}).has_value());
}
