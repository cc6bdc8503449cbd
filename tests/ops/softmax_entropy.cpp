// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/ops/softmax_entropy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "support/each_isa.hpp"
#include "support/oracle.hpp"
#include "support/random_matrix.hpp"

using namespace activation_trace;
using test::infinity;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

std::vector<float> entropies(Isa isa, MatrixView<const float> hidden, const StoredMatrix<>& w) {
  Execution<Host> execution(1, isa);
  std::vector<float> result(static_cast<std::size_t>(w.rows()), -1.0f);  // poisoned
  softmax_entropy(execution, hidden, w, result);
  return result;
}

// The bar of numerics/README.md 2, tolerances, for a whole float pipeline, with the largest score of the column.
double tolerance(const std::vector<double>& scores) {
  double largest = 0;
  for (const double s : scores) largest = std::max(largest, std::abs(s));
  return 2e-5 * (1 + largest / 8);
}

void check_against_oracle(MatrixView<const float> hidden, const StoredMatrix<>& w) {
  std::vector<double> expected;
  std::vector<double> bars;
  for (Index v = 0; v < w.rows(); ++v) {
    const std::vector<double> column = test::scores(hidden, w, v);
    expected.push_back(test::entropy(column));
    bars.push_back(tolerance(column));
  }
  test::each_isa([&](Isa isa) {
    const std::vector<float> actual = entropies(isa, hidden, w);
    CAPTURE(hidden.extent(0));
    CAPTURE(w.cols());
    CAPTURE(w.rows());
    std::size_t wrong = 0;
    double worst = 0;
    for (std::size_t v = 0; v < actual.size(); ++v) {
      const double error = std::abs(static_cast<double>(actual[v]) - expected[v]);
      worst = std::max(worst, error / bars[v]);
      if (!(error <= bars[v]) && !(std::isnan(actual[v]) && std::isnan(expected[v]))) ++wrong;
    }
    CAPTURE(worst);
    CHECK(wrong == 0);
  });
}

// A [T, 1] context: logits that are exactly the given numbers for w = 1.
std::vector<float> entropy_of_scores(Isa isa, const std::vector<float>& scores) {
  const std::vector<float> one{1.0f};
  return entropies(isa, test::matrix(scores, static_cast<Index>(scores.size()), 1), test::matrix(one, 1, 1));
}

}  // namespace

TEST_CASE("awkward context lengths, widths and vocabularies, pairwise") {
  struct Case {
    Index T, d, V;
  };
  std::mt19937 random(1);
  for (const auto& [T, d, V] :
       {Case{1, 8, 129}, Case{2, 64, 7}, Case{31, 576, 1}, Case{32, 577, 33}, Case{33, 8, 1000}, Case{63, 1024, 15},
        Case{64, 64, 128}, Case{127, 577, 17}, Case{128, 8, 127}, Case{255, 64, 31}, Case{256, 1024, 7},
        Case{257, 8, 129}, Case{512, 576, 64}, Case{1000, 64, 47}, Case{2048, 65, 18}, Case{8192, 8, 33},
        Case{100, 4096, 20}, Case{13, 8192, 9}}) {
    const std::vector<float> hidden = test::normal_floats(T * d, random);
    const std::vector<float> w = test::normal_floats(V * d, random, 1 / std::sqrt(static_cast<float>(d)));
    check_against_oracle(test::matrix(hidden, T, d), test::matrix(w, V, d));
  }
}

TEST_CASE("every storage type and scale of scores") {
  std::mt19937 random(2);
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    const Index d = 512;
    const test::RandomMatrix w(dtype, 37, d, random);
    for (const float scale : {0.001f, 0.01f, 0.1f, 1.0f}) {
      const std::vector<float> hidden = test::normal_floats(70 * d, random, scale);
      check_against_oracle(test::matrix(hidden, 70, d), w.view());
    }
  }
}

TEST_CASE("exact scores isolate the epilogue: every path within 5e-6, and the maximum exact") {
  std::mt19937 random(3);
  const Index d = 96;
  const Index T = 300;
  const Index V = 50;
  const std::vector<float> hidden = test::small_integers(T * d, random);
  const std::vector<float> w = test::small_integers(V * d, random);
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(2, isa);
    std::vector<SoftmaxState> states(static_cast<std::size_t>(V));
    softmax_states(execution, test::matrix(hidden, T, d), test::matrix(w, V, d), states);
    for (Index v = 0; v < V; ++v) {
      const std::vector<double> column = test::scores(test::matrix(hidden, T, d), test::matrix(w, V, d), v);
      const SoftmaxState& state = states[static_cast<std::size_t>(v)];
      CHECK(static_cast<double>(state.max) == *std::max_element(column.begin(), column.end()));
      CHECK(std::abs(static_cast<double>(state.entropy()) - test::entropy(column)) <= 5e-6);
    }
  });
}

TEST_CASE("closed forms and special values of the scores") {
  std::mt19937 random(4);
  test::each_isa([&](Isa isa) {
    for (const int T : {1, 5, 6, 7, 100, 512, 3000}) {
      CAPTURE(T);
      const auto size = static_cast<std::size_t>(T);
      const float log_T = std::log(static_cast<float>(T));
      for (const float level : {0.0f, 100.0f, -1e4f, 3e38f, -3e38f, 1e-41f})
        CHECK(std::abs(entropy_of_scores(isa, std::vector<float>(size, level))[0] - log_T) <= 5e-6f);
      CHECK(std::isnan(entropy_of_scores(isa, std::vector<float>(size, -infinity))[0]));
      for (const float poison : {not_a_number, infinity}) {
        std::vector<float> scores = test::normal_floats(T, random);
        scores[random() % size] = poison;
        CHECK(std::isnan(entropy_of_scores(isa, scores)[0]));
      }
      // n equal spikes far above the rest
      std::vector<float> spikes(size, -50.0f);
      const std::size_t n = std::min<std::size_t>(3, size);
      for (std::size_t i = 0; i < n; ++i) spikes[i * size / n] = 100.0f;
      CHECK(std::abs(entropy_of_scores(isa, spikes)[0] - std::log(static_cast<float>(n))) <= 1e-6f);
      // Appending -inf changes nothing; doubling adds log 2; scores of the whole float range stay right.
      std::vector<float> scores = test::normal_floats(T, random, 3.0f);
      const float before = entropy_of_scores(isa, scores)[0];
      std::vector<float> changed = scores;
      changed.insert(changed.end(), 40, -infinity);
      CHECK(std::abs(entropy_of_scores(isa, changed)[0] - before) <= 2e-6f);
      changed = scores;
      changed.insert(changed.end(), scores.begin(), scores.end());
      CHECK(std::abs(entropy_of_scores(isa, changed)[0] - before - std::log(2.0f)) <= 5e-6f);
      changed = scores;
      std::shuffle(changed.begin(), changed.end(), random);
      CHECK(std::abs(entropy_of_scores(isa, changed)[0] - before) <= 5e-6f);
      CHECK(std::abs(entropy_of_scores(isa, {-3e38f, 0.0f, 3e38f})[0]) <= 1e-9f);
    }
    // One spike of 30 among 511 zeros: E = 1.5e-9, resolved because differences are taken exactly.
    std::vector<float> spike(512, 0.0f);
    spike[300] = 30.0f;
    const double expected = test::entropy(std::vector<double>(spike.begin(), spike.end()));
    CHECK(std::abs(static_cast<double>(entropy_of_scores(isa, spike)[0]) - expected) <= 1e-9);
  });
}

TEST_CASE("a poisoned entry does not touch its neighbours") {
  std::mt19937 random(5);
  const Index d = 32;
  std::vector<float> hidden = test::normal_floats(40 * d, random);
  std::vector<float> w = test::normal_floats(50 * d, random);
  w[17 * static_cast<std::size_t>(d) + 3] = not_a_number;
  w[33 * static_cast<std::size_t>(d)] = infinity;
  test::each_isa([&](Isa isa) {
    const std::vector<float> e = entropies(isa, test::matrix(hidden, 40, d), test::matrix(w, 50, d));
    for (std::size_t v = 0; v < 50; ++v) CHECK(std::isnan(e[v]) == (v == 17 || v == 33));
  });
}

TEST_CASE("a context may arrive in pieces, and entries one by one") {
  std::mt19937 random(6);
  const Index d = 72;
  const Index T = 200;
  const Index V = 61;
  const std::vector<float> hidden_memory = test::normal_floats(T * d, random);
  const MatrixView<const float> hidden = test::matrix(hidden_memory, T, d);
  const std::vector<float> w_memory = test::normal_floats(V * d, random, 0.3f);
  const StoredMatrix<> w = test::matrix(w_memory, V, d);
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(1, isa);
    const std::vector<float> whole = entropies(isa, hidden, w);
    std::vector<SoftmaxState> states(static_cast<std::size_t>(V));
    for (Index begin = 0; begin < T;) {
      const Index end = std::min(T, begin + static_cast<Index>(random() % 60));
      softmax_states(execution, hidden.slice(0, begin, end), w, states);
      begin = end;
    }
    for (std::size_t v = 0; v < whole.size(); ++v) CHECK(std::abs(states[v].entropy() - whole[v]) <= 5e-6f);

    for (const Index k : {0, 1, 2, 3, 4, 8, 15, 16, 17, 64}) {
      std::vector<TokenId> ids;
      for (Index i = 0; i < k; ++i) ids.push_back(static_cast<TokenId>(random() % static_cast<unsigned>(V)));
      std::vector<SoftmaxState> gathered(static_cast<std::size_t>(k));
      softmax_states(execution, hidden, w, ids, gathered);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const float full = whole[static_cast<std::size_t>(ids[i])];
        CHECK(std::abs(gathered[i].entropy() - full) <= 5e-6f);
      }
      // Whether an entry is computed alone or among others makes no difference at all.
      for (std::size_t i = 0; i < ids.size(); ++i) {
        SoftmaxState alone;
        softmax_states(execution, hidden, w, std::span(ids).subspan(i, 1), std::span(&alone, 1));
        CHECK(alone.sum == gathered[i].sum);
        CHECK(alone.weighted == gathered[i].weighted);
      }
    }
  });
}

TEST_CASE("however the work is cut, entropies are the same, and the same bits but for the block of positions") {
  std::mt19937 random(16);
  const Index d = 40, T = 300, V = 700;
  const std::vector<float> hidden_memory = test::normal_floats(T * d, random);
  const MatrixView<const float> hidden = test::matrix(hidden_memory, T, d);
  const std::vector<float> w_memory = test::normal_floats(V * d, random, 0.3f);
  const StoredMatrix<> w = test::matrix(w_memory, V, d);
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(2, isa);
    const auto entropies_by = [&](const SoftmaxTuning& tuning) {
      std::vector<float> all(static_cast<std::size_t>(V));
      softmax_entropy(execution, hidden, w, all, {}, tuning);
      return all;
    };
    const std::vector<float> expected = entropies_by({});
    CHECK(entropies_by({.together = 1}) == expected);
    CHECK(entropies_by({.together = 100, .cached = 1 << 20}) == expected);
    const std::vector<float> in_fives = entropies_by({.row_block = 5});
    for (std::size_t v = 0; v < expected.size(); ++v) CHECK(std::abs(in_fives[v] - expected[v]) <= 5e-6f);
  });
}

TEST_CASE("an empty context changes nothing; no vocabulary is no work") {
  Execution<Host> execution;
  const std::vector<float> w(8, 1.0f);
  std::vector<float> e(2);
  softmax_entropy(execution, test::matrix({}, 0, 4), test::matrix(w, 2, 4), e);
  CHECK(std::isnan(e[0]));
  softmax_entropy(execution, test::matrix(w, 2, 4), test::matrix({}, 0, 4), {});
}

TEST_CASE("shapes and ids are checked") {
  Execution<Host> execution;
  const std::vector<float> values(24);
  std::vector<float> e(4);
  std::vector<SoftmaxState> states(4);
  CHECK_THROWS_WITH_AS(softmax_entropy(execution, test::matrix(values, 4, 6), test::matrix(values, 3, 8), e),
                       "softmax_entropy: length of entropy: expected 3, got 4", ShapeError);
  CHECK_THROWS_AS(
      softmax_entropy(execution, test::matrix(values, 4, 6), test::matrix(values, 4, 5 + 1).transposed(), e),
      ShapeError);
  CHECK_THROWS_WITH_AS(softmax_states(execution, test::matrix(values, 3, 8), test::matrix(values, 4, 6), states),
                       "softmax_states: columns of w: expected 8, got 6", ShapeError);
  const std::vector<TokenId> outside{0, 1, 2, 4};
  CHECK_THROWS_WITH_AS(
      softmax_states(execution, test::matrix(values, 4, 6), test::matrix(values, 4, 6), outside, states),
      "softmax_states: id 4 lies outside the 4 rows of w", ArgumentError);
  const std::vector<TokenId> two{0, 1};
  CHECK_THROWS_AS(softmax_states(execution, test::matrix(values, 4, 6), test::matrix(values, 4, 6), two, states),
                  ShapeError);
}
