// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/ops/layer_divergence.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "support/each_isa.hpp"
#include "support/random_matrix.hpp"

using namespace activation_trace;

namespace activation_trace::test {

// The formulas of processors/README.md 2.2 as written there, over the entries that are not masked, in long double.
inline double reference_divergence(std::span<const float> mature, std::span<const float> layer, LayerDivergence kind) {
  std::vector<std::size_t> entries;
  for (std::size_t v = 0; v < mature.size(); ++v)
    if (!std::isinf(mature[v])) entries.push_back(v);
  const auto log_sum = [&](std::span<const float> x) {
    long double largest = -std::numeric_limits<long double>::infinity();
    for (const std::size_t v : entries) largest = std::max(largest, static_cast<long double>(x[v]));
    long double sum = 0;
    for (const std::size_t v : entries) sum += std::exp(static_cast<long double>(x[v]) - largest);
    return largest + std::log(sum);
  };
  const long double log_p = log_sum(mature);
  const long double log_q = log_sum(layer);
  long double first = 0;
  long double second = 0;
  for (const std::size_t v : entries) {
    const long double a = static_cast<long double>(mature[v]) - log_p;
    const long double b = static_cast<long double>(layer[v]) - log_q;
    const long double p = std::exp(a);
    const long double q = std::exp(b);
    const long double m = (p + q) / 2;
    const long double log_m = std::max(a, b) + std::log((1 + std::exp(-std::abs(a - b))) / 2);
    if (kind == LayerDivergence::reference) {
      first += m * (log_m - a);
      second += m * (log_m - b);
    } else {
      first += p * (a - log_m);
      second += q * (b - log_m);
    }
  }
  const auto n = static_cast<long double>(entries.size());
  return static_cast<double>(kind == LayerDivergence::reference ? (first / n + second / n) / 2 : (first + second) / 2);
}

struct DivergenceProblem {
  DivergenceProblem(std::mt19937& random, Index V, Index layers)
      : C(layers), mature(test::normal_floats(V, random, 3)) {
    // From far away over close to all but equal, where differences cancel.
    for (Index j = 0; j < C; ++j) {
      const std::vector<float> noise = test::normal_floats(V, random, 3);
      const float share = std::pow(10.0f, static_cast<float>(-j));
      for (std::size_t v = 0; v < noise.size(); ++v)
        rows.push_back(mature[v] * (1 - share) + noise[v] * share + static_cast<float>(j));
    }
  }
  [[nodiscard]] MatrixView<const float> view() const {
    return test::matrix(rows, C, static_cast<Index>(mature.size()));
  }
  [[nodiscard]] std::span<const float> row(Index j) const {
    return std::span(rows).subspan(static_cast<std::size_t>(j) * mature.size(), mature.size());
  }
  std::vector<double> divergences(Execution<Host>& execution, LayerDivergence kind) const {
    std::vector<LogNormalizer> normalizers(static_cast<std::size_t>(C + 1));
    std::vector<double> result(static_cast<std::size_t>(C));
    DivergenceMemory memory;
    log_normalizers(execution, mature, view(), normalizers, memory);
    layer_divergences(execution, mature, view(), normalizers, kind, result, memory);
    return result;
  }

  Index C;
  std::vector<float> mature;
  std::vector<float> rows;
};

}  // namespace activation_trace::test

using activation_trace::test::DivergenceProblem;

TEST_CASE("divergences are those of the oracle for near and far layers, with and without masked entries") {
  std::mt19937 random(31);
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(1, isa);
    for (const Index V : {1, 2, 7, 64, 1023, 1024, 1025, 5003})
      for (const int masked : {0, 3}) {
        DivergenceProblem problem(random, V, 5);
        if (masked != 0)
          for (Index v = 1; v < V; v += masked)
            problem.mature[static_cast<std::size_t>(v)] = -std::numeric_limits<float>::infinity();
        for (const LayerDivergence kind : {LayerDivergence::reference, LayerDivergence::jensen_shannon}) {
          const std::vector<double> got = problem.divergences(execution, kind);
          for (Index j = 0; j < problem.C; ++j) {
            CAPTURE(V);
            CAPTURE(j);
            const double expected = test::reference_divergence(problem.mature, problem.row(j), kind);
            // Shares of 10^-j of float logits are rounded themselves, but both sides see the same floats.
            CHECK(std::abs(got[static_cast<std::size_t>(j)] - expected) <= 2e-6 * expected + 1e-15);
          }
        }
      }
  });
}

TEST_CASE("closed forms: equal layers have divergence 0, disjoint ones ln 2") {
  Execution<Host> execution(1);
  std::mt19937 random(1);
  DivergenceProblem problem(random, 2, 1);
  problem.mature = {0, -200};
  problem.rows = {-200, 0};
  CHECK(problem.divergences(execution, LayerDivergence::jensen_shannon)[0] ==
        doctest::Approx(std::log(2.0)).epsilon(1e-6));
  // ln M is -ln 2 and ln p is 0 and -200: (KL(M||p) + KL(M||q)) / 4 = (100 - ln 2) / 2.
  CHECK(problem.divergences(execution, LayerDivergence::reference)[0] ==
        doctest::Approx((100 - std::log(2.0)) / 2).epsilon(1e-6));
  problem.rows = {7, -193};
  CHECK(problem.divergences(execution, LayerDivergence::reference)[0] == 0);
  CHECK(problem.divergences(execution, LayerDivergence::jensen_shannon)[0] == 0);
}

TEST_CASE("normalizers pass over what the mature layer masks, and divergences are the same for any number of threads") {
  std::mt19937 random(32);
  DivergenceProblem problem(random, 9001, 3);
  for (std::size_t v = 0; v < problem.mature.size(); v += 7) {
    problem.mature[v] = -std::numeric_limits<float>::infinity();
    problem.rows[v] = 500;  // of the first layer: would be all there is
  }
  for (const LayerDivergence kind : {LayerDivergence::reference, LayerDivergence::jensen_shannon}) {
    Execution<Host> one(1);
    const std::vector<double> expected = problem.divergences(one, kind);
    CHECK(std::abs(expected[0] - test::reference_divergence(problem.mature, problem.row(0), kind)) <=
          2e-6 * expected[0]);
    for (const int threads : {2, 3, 7}) {
      Execution<Host> execution(threads);
      const std::vector<double> got = problem.divergences(execution, kind);
      CHECK(std::memcmp(got.data(), expected.data(), got.size() * sizeof(double)) == 0);
    }
  }
}

TEST_CASE("rows without a distribution have NaN as their normalizer") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  Execution<Host> execution(1);
  for (const float bad : {infinity, std::numeric_limits<float>::quiet_NaN()})
    for (const Index at : {0, 16}) {
      std::vector<float> mature(17, 1.0f);
      std::vector<float> layer(17, 2.0f);
      layer[static_cast<std::size_t>(at)] = bad;
      LogNormalizer normalizers[2];
      DivergenceMemory memory;
      log_normalizers(execution, mature, test::matrix(layer, 1, 17), normalizers, memory);
      CHECK(normalizers[0].max == 1);
      CHECK(normalizers[0].log_sum == doctest::Approx(std::log(17.0)));
      CHECK(std::isnan(normalizers[1].log_sum));
      mature[static_cast<std::size_t>(at)] = -infinity;  // does not count any more
      log_normalizers(execution, mature, test::matrix(layer, 1, 17), normalizers, memory);
      CHECK(normalizers[1].log_sum == doctest::Approx(std::log(16.0)));
      mature.assign(17, -infinity);
      log_normalizers(execution, mature, test::matrix(layer, 1, 17), normalizers, memory);
      CHECK(std::isnan(normalizers[0].log_sum));
      CHECK(std::isnan(normalizers[1].log_sum));
    }
  std::vector<float> three(3);
  LogNormalizer normalizers[2];
  DivergenceMemory memory;
  CHECK_THROWS_AS(log_normalizers(execution, three, test::matrix(three, 3, 1), normalizers, memory), ShapeError);
  CHECK_THROWS_AS(log_normalizers(execution, three, test::matrix(three, 1, 3), std::span(normalizers, 1), memory),
                  ShapeError);
}
