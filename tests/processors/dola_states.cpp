// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What DoLa does with hidden states and records, on the host.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "activation_trace/processors/dola.hpp"
#include "reference.hpp"

using namespace activation_trace;
using activation_trace::test::check_close;
using activation_trace::test::Matrix;
using activation_trace::test::random_logits;
using activation_trace::test::random_matrix;
using activation_trace::test::reference_log_softmax;

namespace {

constexpr Index V = 60;
constexpr Index d = 16;

/// states W^T in double, to float.
Matrix products(const Matrix& states, const Matrix& w) {
  Matrix result{states.rows, w.rows, {}};
  for (Index j = 0; j < states.rows; ++j)
    for (Index v = 0; v < w.rows; ++v) {
      double sum = 0;
      for (Index k = 0; k < w.cols; ++k) sum += states.at(j, k) * w.at(v, k);
      result.data.push_back(static_cast<float>(sum));
    }
  return result;
}

/// Scores of one layer: differences of log-probabilities where the mature one is within ln 0.1 of the best.
std::vector<double> expected_scores(const std::vector<float>& mature, std::span<const float> early) {
  std::vector<double> scores = reference_log_softmax(mature);
  const double lowest = *std::max_element(scores.begin(), scores.end()) + std::log(0.1);
  const std::vector<double> base = reference_log_softmax(early);
  for (std::size_t v = 0; v < scores.size(); ++v)
    scores[v] = scores[v] < lowest ? -std::numeric_limits<double>::infinity() : scores[v] - base[v];
  return scores;
}

}  // namespace

TEST_CASE("DoLa from states, of heads in memory and on request, is DoLa from the logits that they make") {
  std::mt19937 random(71);
  const Matrix states = random_matrix(random, 1, d, 1);
  const Matrix w = random_matrix(random, V, d, 0.5f);
  const std::vector<float> mature = random_logits(random, V);
  const std::vector<double> expected = expected_scores(mature, products(states, w).data);
  const LmHead<> on_request(V, d, [&](Index begin, Index end, MatrixView<float> out) {
    for (Index v = begin; v < end; ++v)
      for (Index k = 0; k < d; ++k) out(v - begin, k) = static_cast<float>(w.at(v, k));
  });
  for (const LmHead<>& head : {LmHead<>(w.view()), on_request}) {
    DolaProcessor dola({6});
    dola.observe_states(states.view(), head);
    std::vector<float> scores = mature;
    const DolaRecord& record = dola.process(scores);
    check_close(scores, expected, 1e-4);
    CHECK(record.layer == 6);
    CHECK(record.best == std::max_element(expected.begin(), expected.end()) - expected.begin());
    std::size_t kept = 0;
    for (std::size_t v = 0; v < expected.size(); ++v) {
      if (std::isinf(expected[v])) continue;
      REQUIRE(kept < record.kept.size());
      CHECK(record.kept[kept].id == static_cast<TokenId>(v));
      CHECK(record.kept[kept].score == scores[v]);
      ++kept;
    }
    CHECK(kept == record.kept.size());
    CHECK(kept > 1);
  }
}

TEST_CASE("DoLa from states finds a list's candidates by their ids") {
  std::mt19937 random(72);
  const Matrix states = random_matrix(random, 1, d, 1);
  const Matrix w = random_matrix(random, V, d, 0.5f);
  const Matrix early = products(states, w);
  DolaProcessor dola({2});
  std::vector<TokenId> ids;
  std::vector<float> mature;
  std::vector<float> base;
  for (const TokenId id : {41, 3, 59, 0, 17, 22, 8}) {
    ids.push_back(id);
    mature.push_back(static_cast<float>(id % 5) * 0.3f);
    base.push_back(static_cast<float>(early.at(0, id)));
  }
  const std::vector<double> expected = expected_scores(mature, base);
  std::vector<float> scores = mature;
  dola.observe_states(states.view(), w.view());
  const TokenId best = dola.process(ids, scores).best;
  check_close(scores, expected, 1e-4);
  CHECK(best == ids[static_cast<std::size_t>(std::max_element(expected.begin(), expected.end()) - expected.begin())]);

  dola.observe_states(states.view(), w.view());
  ids.back() = static_cast<TokenId>(V);
  CHECK_THROWS_AS(dola.process(ids, mature), ArgumentError);
}

TEST_CASE("DoLa takes of several states the layer that diverges, and refuses other shapes") {
  std::mt19937 random(73);
  const Matrix w = random_matrix(random, V, d, 0.5f);
  Matrix states = random_matrix(random, 2, d, 1);
  std::vector<float> mature;
  for (Index v = 0; v < V; ++v) mature.push_back(static_cast<float>(products(states, w).at(0, v)));
  DolaProcessor dola({4, 8});
  dola.observe_states(states.view(), w.view());
  CHECK(dola.process(mature).layer == 8);  // layer 4 says what the mature one does

  CHECK_THROWS_AS(dola.observe_states(states.view(0, 1), w.view()), ShapeError);
  const Matrix narrow = random_matrix(random, V, d - 1, 1);
  CHECK_THROWS_AS(dola.observe_states(states.view(), narrow.view()), ShapeError);
  CHECK_THROWS_AS(dola.process(mature), StateError);
  std::vector<float> masked(static_cast<std::size_t>(V), -activation_trace::test::kInfinity);
  dola.observe_states(states.view(), w.view());
  const DolaRecord& record = dola.process(masked);
  CHECK(record.kept.empty());
  CHECK(record.best == -1);
  CHECK(record.layer == -1);
}
