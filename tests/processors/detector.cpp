// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/detector.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "reference.hpp"

using namespace activation_trace;
using activation_trace::test::Matrix;
using activation_trace::test::random_matrix;
using activation_trace::test::reference_entropy;

TEST_CASE("a detector's entropies are the oracle's, and an alert is one above the threshold") {
  std::mt19937 random(61);
  const Matrix hidden = random_matrix(random, 23, 12, 1);
  const Matrix w = random_matrix(random, 40, 12, 1);
  Detector detector({.threshold = 1.5f});
  detector.observe_context(hidden.view(0, 9), w.view());
  detector.observe_context(hidden.view(9, 23), w.view());
  CHECK(detector.context_size() == 23);
  int alerts = 0;
  for (TokenId v = 0; v < 40; ++v) {
    CAPTURE(v);
    const double expected = reference_entropy(hidden, w, v, 0, 23);
    REQUIRE(std::abs(expected - 1.5) > 1e-4);  // no near tie with the threshold
    CHECK(std::abs(static_cast<double>(detector.entropy(v)) - expected) < 1e-4);
    CHECK(detector.alert(v) == (expected > 1.5));
    alerts += detector.alert(v) ? 1 : 0;
  }
  CHECK(alerts > 0);
  CHECK(alerts < 40);
}

TEST_CASE("a detector after a rewind is one that never saw the rest") {
  std::mt19937 random(62);
  const Matrix hidden = random_matrix(random, 20, 8, 1);
  const Matrix w = random_matrix(random, 30, 8, 1);
  Detector detector({.context = {.begin = 2, .end = 14}});
  detector.observe_context(hidden.view(0, 17), w.view());
  for (TokenId v = 0; v < 30; v += 2) (void)detector.entropy(v);  // these have seen what is cut off, others nothing
  for (const Index end : {13, 11}) {                              // by one, and by more
    detector.truncate_context(end);
    CHECK(detector.context_size() == end - 2);
    for (TokenId v = 0; v < 30; ++v)
      CHECK(std::abs(static_cast<double>(detector.entropy(v)) - reference_entropy(hidden, w, v, 2, end)) < 1e-4);
  }
  detector.observe_context(hidden.view(15, 20), w.view());  // another continuation: positions 11 to 15
  CHECK(detector.context_size() == 12);                     // of which two lie behind the span
  detector.truncate_context(1);                             // before the span
  CHECK(detector.context_size() == 0);
  CHECK_THROWS_AS((void)detector.entropy(0), StateError);
  detector.truncate_context(0);
  const Matrix other = random_matrix(random, 5, 8, 1);  // nothing is left, so another head may follow
  detector.observe_context(hidden.view(0, 6), other.view());
  for (TokenId v = 0; v < 5; ++v)
    CHECK(std::abs(static_cast<double>(detector.entropy(v)) - reference_entropy(hidden, other, v, 2, 6)) < 1e-4);
}

TEST_CASE("a context behind a prefix is cut behind it") {
  std::mt19937 random(63);
  const Matrix hidden = random_matrix(random, 18, 8, 1);
  const Matrix w = random_matrix(random, 16, 8, 1);
  Execution<Host> execution(1);
  ContextEntropy prefix(execution);
  prefix.observe(hidden.view(0, 7), w.view());
  ContextEntropy context(execution);
  context.begin_with(prefix);
  context.observe(hidden.view(7, 18), w.view());
  std::vector<float> entropies(16);
  context.entropy(entropies);
  context.truncate(12);
  CHECK(context.positions() == 12);
  for (TokenId v = 0; v < 16; ++v)
    CHECK(std::abs(static_cast<double>(context.state(v).entropy()) - reference_entropy(hidden, w, v, 0, 12)) < 1e-4);
  CHECK_THROWS_AS(context.truncate(6), ArgumentError);
  context.truncate(7);
  context.entropy(entropies);
  for (TokenId v = 0; v < 16; ++v)
    CHECK(std::abs(static_cast<double>(entropies[static_cast<std::size_t>(v)]) -
                   reference_entropy(hidden, w, v, 0, 7)) < 1e-4);
}

TEST_CASE("a detector says what is wrong") {
  std::mt19937 random(64);
  const Matrix hidden = random_matrix(random, 4, 8, 1);
  const Matrix w = random_matrix(random, 6, 8, 1);
  CHECK_THROWS_WITH_AS(Detector({.threshold = -1}), "threshold: expected a number >= 0, got -1.000000", ArgumentError);
  CHECK_THROWS_AS(Detector({.threshold = activation_trace::test::kNaN}), ArgumentError);
  Detector detector;
  CHECK_THROWS_AS((void)detector.alert(0), StateError);
  detector.observe_context(hidden.view(), w.view());
  CHECK_THROWS_AS((void)detector.entropy(6), ArgumentError);
  CHECK_THROWS_AS((void)detector.entropy(-1), ArgumentError);
  CHECK_THROWS_WITH_AS(detector.truncate_context(5), "context: it can be cut at positions 0 to 4, not at 5",
                       ArgumentError);
  detector.reset();
  CHECK_THROWS_AS((void)detector.entropy(0), StateError);
}
