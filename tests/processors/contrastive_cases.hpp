// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every ContrastiveProcessor does, wherever it runs: the includer says which before it includes this.
// ContrastiveUnderTest is made of ContrastiveOptions and takes host views.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "activation_trace/processors/contrastive.hpp"
#include "processors/reference.hpp"

using namespace activation_trace;
using activation_trace::test::kInfinity;
using activation_trace::test::kNaN;

namespace activation_trace::test {

// processors/README.md 4: log-softmax of the amateur, then its temperature, then the coefficient.
inline std::vector<double> contrastive_scores(const std::vector<float>& expert, const std::vector<float>& amateur,
                                              const ContrastiveOptions& options) {
  const auto coefficient = static_cast<double>(options.coefficient);
  const auto temperature = static_cast<double>(options.student_temperature);
  const std::vector<double> e = reference_log_softmax(expert);
  const std::vector<double> a = reference_log_softmax(amateur);
  const double largest = *std::max_element(e.begin(), e.end());
  std::vector<double> scores;
  for (std::size_t v = 0; v < e.size(); ++v) {
    if (options.filter.relative_top == 0 && options.unfiltered == Unfiltered::logits)
      scores.push_back(static_cast<double>(expert[v]) - coefficient * static_cast<double>(amateur[v]) / temperature);
    else
      scores.push_back(e[v] < largest + std::log(static_cast<double>(options.filter.relative_top))
                           ? -std::numeric_limits<double>::infinity()
                           : e[v] - coefficient * (a[v] / temperature));
  }
  return scores;
}

}  // namespace activation_trace::test

TEST_CASE("contrastive scores are those of the oracle, also of a shuffled list") {
  std::mt19937 random(51);
  for (const ContrastiveOptions& options :
       {ContrastiveOptions{}, ContrastiveOptions{.coefficient = 0.5f, .student_temperature = 0.5f},
        ContrastiveOptions{.coefficient = 0},
        ContrastiveOptions{.student_temperature = 2, .filter = {.relative_top = 0}},
        ContrastiveOptions{.coefficient = 0.7f,
        .student_temperature = 2,
        .filter = {.relative_top = 0},
        .unfiltered = Unfiltered::log_probs},
        ContrastiveOptions{.filter = {.relative_top = 1}}})
    for (const Index V : {1, 2, 77, 2500}) {
      ContrastiveUnderTest processor(options);
      std::vector<float> expert = test::random_logits(random, V);
      const std::vector<float> amateur = test::random_logits(random, V);
      const std::vector<double> expected = test::contrastive_scores(expert, amateur, options);
      const test::ShuffledRow list(random, expert);
      processor.observe_amateur(amateur);
      processor.process(expert);
      test::check_close(expert, expected, 1e-5);
      std::vector<float> listed = list.scores;
      const std::vector<float> listed_amateur = list.pick(amateur);
      processor.observe_amateur(listed_amateur);
      processor.process(list.ids, listed);
      const std::vector<float> picked = list.pick(expert);
      test::check_close(listed, std::vector<double>(picked.begin(), picked.end()), 5e-6);
    }
}

TEST_CASE("contrastive: constants change nothing, masked entries do not count, an amateur's -inf excludes") {
  std::mt19937 random(52);
  const Index V = 90;
  ContrastiveUnderTest processor({.filter = {.relative_top = 0.01f}});
  std::vector<float> expert = test::random_logits(random, V);
  std::vector<float> amateur = test::random_logits(random, V);
  const auto run = [&](std::vector<float> scores, const std::vector<float>& other) {
    processor.observe_amateur(other);
    processor.process(scores);
    return scores;
  };
  const std::vector<float> plain = run(expert, amateur);
  std::vector<float> shifted = expert;
  std::vector<float> shifted_amateur = amateur;
  for (float& x : shifted) x += 8;
  for (float& x : shifted_amateur) x -= 32;
  test::check_close(run(shifted, shifted_amateur), std::vector<double>(plain.begin(), plain.end()), 2e-5);

  std::vector<float> kept;
  std::vector<float> kept_amateur;
  for (std::size_t v = 0; v < expert.size(); ++v) {
    if (v % 4 != 0) {
      kept.push_back(expert[v]);
      kept_amateur.push_back(amateur[v]);
      continue;
    }
    expert[v] = -kInfinity;
    amateur[v] = 300;
  }
  const std::vector<float> masked = run(expert, amateur);
  const std::vector<float> expected = run(kept, kept_amateur);
  std::size_t next = 0;
  for (std::size_t v = 0; v < masked.size(); ++v) {
    if (v % 4 == 0) {
      CHECK(masked[v] == -kInfinity);
      continue;
    }
    const auto other = static_cast<double>(expected[next++]);
    test::check_close(std::span(masked).subspan(v, 1), std::span(&other, 1), 5e-6);
  }

  const std::vector<float> excluded = run({1, 2, 3}, {0, -kInfinity, 0});
  CHECK(excluded[1] == -kInfinity);
  CHECK(excluded[2] > excluded[0]);
  CHECK(run({-kInfinity, -kInfinity}, {1, 2}) == std::vector<float>(2, -kInfinity));
  CHECK(run({1, 2}, {-kInfinity, -kInfinity}) == std::vector<float>(2, -kInfinity));
}

TEST_CASE("contrastive decoding refuses by name what cannot be, and leaves the scores alone") {
  for (const float bad : {-1.0f, kNaN, kInfinity}) {
    CHECK_THROWS_AS(ContrastiveUnderTest({.coefficient = bad}), ArgumentError);
    CHECK_THROWS_AS(ContrastiveUnderTest({.student_temperature = bad}), ArgumentError);
  }
  CHECK_THROWS_AS(ContrastiveUnderTest({.student_temperature = 0}), ArgumentError);
  ContrastiveUnderTest processor;
  std::vector<float> scores{1, 2, 3};
  CHECK_THROWS_AS(processor.process(scores), StateError);
  CHECK_THROWS_AS(processor.observe_amateur({}), ShapeError);
  const std::vector<float> two{1, 2};
  processor.observe_amateur(two);
  CHECK_THROWS_AS(processor.process(scores), ShapeError);
  for (const float bad : {kNaN, kInfinity}) {
    const std::vector<float> poisoned{0, bad, 0};
    processor.observe_amateur(poisoned);
    CHECK_THROWS_AS(processor.process(scores), ArgumentError);
    CHECK(scores == std::vector<float>{1, 2, 3});
  }
}
