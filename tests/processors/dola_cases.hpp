// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every DolaProcessor does, wherever it runs: the includer says which before it includes this. DolaUnderTest is
// made of layers, DolaOptions and perhaps an execution context, and takes host views.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "activation_trace/processors/dola.hpp"
#include "processors/reference.hpp"

using namespace activation_trace;
using activation_trace::test::kInfinity;
using activation_trace::test::kNaN;

namespace activation_trace::test {

// generation/README.md 1 and processors/README.md 2 in double precision. No entry of `mature` is masked.
struct DolaOracle {
  DolaOracle(const std::vector<float>& mature, const Matrix& early, const DolaOptions& options) {
    const std::vector<double> lp = reference_log_softmax(mature);
    for (Index j = 0; j < early.rows; ++j) {
      const std::vector<double> lq = reference_log_softmax(early.view().row(j).span());
      divergences.push_back(test::layer_divergence(lp, lq, options.divergence));
    }
    chosen = std::max_element(divergences.begin(), divergences.end()) - divergences.begin();
    const std::vector<double> base = reference_log_softmax(early.view().row(chosen).span());
    std::vector<double> sorted = lp;
    std::sort(sorted.rbegin(), sorted.rend());
    const double kth = options.filter.min_tokens_to_keep <= static_cast<Index>(sorted.size())
                           ? sorted[static_cast<std::size_t>(options.filter.min_tokens_to_keep - 1)]
                           : -std::numeric_limits<double>::infinity();
    const double threshold = std::min(kth, sorted[0] + std::log(static_cast<double>(options.filter.relative_top)));
    const bool raw = options.filter.relative_top == 0 && options.unfiltered == Unfiltered::logits;
    for (std::size_t v = 0; v < lp.size(); ++v) {
      const auto raw_base = early.at(chosen, static_cast<Index>(v));
      if (options.base == DolaBase::logits)
        scores.push_back(lp[v] - raw_base);
      else
        scores.push_back(raw ? static_cast<double>(mature[v]) - raw_base : lp[v] - base[v]);
    }
    if (options.output == DolaOutput::log_probs) {
      double sum = 0;
      for (const double d : scores) sum += std::exp(d);
      for (double& d : scores) d -= std::log(sum);
    }
    for (std::size_t v = 0; v < lp.size(); ++v)
      if (lp[v] < threshold) scores[v] = static_cast<double>(options.masked_value);
  }

  std::vector<double> divergences;
  Index chosen = 0;
  std::vector<double> scores;
};

inline std::vector<Index> numbers(Index count) {
  std::vector<Index> layers;
  for (Index j = 0; j < count; ++j) layers.push_back(2 * j);
  return layers;
}

}  // namespace activation_trace::test

using activation_trace::test::DolaOracle;

TEST_CASE("DoLa's scores, divergences and choice are those of the oracle, for every kind of option") {
  std::mt19937 random(41);
  std::vector<DolaOptions> all(1);
  for (const float top : {0.0f, 0.5f, 1.0f}) all.push_back({.filter = {.relative_top = top}});
  all.push_back({.filter = {.relative_top = 0}, .unfiltered = Unfiltered::log_probs});
  all.push_back({.filter = {.relative_top = 0.9f, .min_tokens_to_keep = 4}});
  all.push_back({.filter = {.min_tokens_to_keep = 4000}});
  all.push_back({.divergence = LayerDivergence::jensen_shannon});
  all.push_back({.base = DolaBase::logits});
  all.push_back({.filter = {.relative_top = 0}, .base = DolaBase::logits});
  all.push_back({.output = DolaOutput::log_probs, .masked_value = -1000});
  all.push_back({.filter = {.relative_top = 0}, .output = DolaOutput::log_probs});
  Execution<Host> execution(2);
  for (const DolaOptions& options : all)
    for (const Index V : {1, 3, 130, 1500})
      for (const Index layers : {1, 2, 5}) {
        CAPTURE(V);
        CAPTURE(layers);
        DolaUnderTest processor(test::numbers(layers), options, execution);
        std::vector<Index> histogram(static_cast<std::size_t>(layers));
        for (int step = 0; step < 4; ++step) {
          std::vector<float> scores = test::random_logits(random, V);
          const test::Matrix early = test::random_matrix(random, layers, V, 1.5f);
          const DolaOracle oracle(scores, early, options);
          processor.observe_layers(early.view());
          processor.process(scores);
          test::check_close(scores, oracle.scores, 5e-6);
          CHECK(processor.layer() == 2 * oracle.chosen);
          ++histogram[static_cast<std::size_t>(oracle.chosen)];
          REQUIRE(processor.divergences().size() == (layers == 1 ? 0 : static_cast<std::size_t>(layers)));
          for (std::size_t j = 0; j < processor.divergences().size(); ++j)
            CHECK(processor.divergences()[j] == doctest::Approx(oracle.divergences[j]).epsilon(1e-5));
        }
        CHECK(std::equal(histogram.begin(), histogram.end(), processor.histogram().begin()));
        processor.reset();
        CHECK(processor.layer() == -1);
        for (const Index n : processor.histogram()) CHECK(n == 0);
      }
}

TEST_CASE("DoLa on a shuffled list, with constants added, and with masked entries") {
  std::mt19937 random(42);
  const Index V = 257;
  DolaUnderTest processor({0, 2, 4},
                          {.filter = {.relative_top = 0.05f}, .divergence = LayerDivergence::jensen_shannon});
  for (int round = 0; round < 10; ++round) {
    std::vector<float> mature = test::random_logits(random, V);
    test::Matrix early = test::random_matrix(random, 3, V, 1.5f);
    // Exact sums below.
    for (float& x : mature) x = std::round(x * 64) / 64;
    for (float& x : early.data) x = std::round(x * 64) / 64;
    const auto run = [&](std::vector<float> scores, const test::Matrix& layers) {
      processor.observe_layers(layers.view());
      processor.process(scores);
      return scores;
    };
    const std::vector<float> plain = run(mature, early);
    const Index layer = processor.layer();

    const test::ShuffledRow list(random, mature);
    test::Matrix listed{3, V, {}};
    for (Index j = 0; j < 3; ++j)
      for (const TokenId id : list.ids) listed.data.push_back(early.view()(j, id));
    std::vector<float> scores = list.scores;
    processor.observe_layers(listed.view());
    processor.process(list.ids, scores);
    test::check_close(
        scores,
        [&] {
          const std::vector<float> picked = list.pick(plain);
          return std::vector<double>(picked.begin(), picked.end());
        }(),
        2e-6);
    CHECK(processor.layer() == layer);

    std::vector<float> shifted = mature;
    test::Matrix shifted_early = early;
    for (float& x : shifted) x += 512;
    for (Index v = 0; v < V; ++v) shifted_early.data[static_cast<std::size_t>(V + v)] -= 256;
    test::check_close(run(shifted, shifted_early), std::vector<double>(plain.begin(), plain.end()), 2e-6);
    CHECK(processor.layer() == layer);

    // Masked entries are as if they had not been given, whatever the layers say of them.
    std::vector<float> masked = mature;
    std::vector<float> rest;
    test::Matrix rest_early{3, 0, {}};
    for (std::size_t v = 0; v < masked.size(); ++v)
      (v % 3 == 0) ? void(masked[v] = -kInfinity) : rest.push_back(masked[v]);
    for (Index j = 0; j < 3; ++j)
      for (Index v = 0; v < V; ++v)
        if (v % 3 != 0) rest_early.data.push_back(early.view()(j, v));
    rest_early.cols = static_cast<Index>(rest.size());
    test::Matrix poisoned = early;
    for (Index v = 0; v < V; v += 3) poisoned.data[static_cast<std::size_t>(v)] = v % 2 == 0 ? -kInfinity : 900.0f;
    const std::vector<float> got = run(masked, poisoned);
    const Index chosen = processor.layer();
    const std::vector<float> expected = run(rest, rest_early);
    CHECK(processor.layer() == chosen);
    std::size_t next = 0;
    for (std::size_t v = 0; v < got.size(); ++v) {
      if (v % 3 == 0) {
        CHECK(got[v] == -kInfinity);
        continue;
      }
      const float other = expected[next++];
      if (std::isinf(other))
        CHECK(got[v] == other);
      else
        CHECK(got[v] == doctest::Approx(other).epsilon(1e-5));
    }
  }
}

TEST_CASE("DoLa: equals take the first layer, and with everything masked there is no layer") {
  DolaUnderTest processor({3, 5, 7});
  const test::Matrix early{3, 2, {1, 0, 1, 0, 1, 0}};
  std::vector<float> scores{0, 1};
  processor.observe_layers(early.view());
  processor.process(scores);
  CHECK(processor.layer() == 3);
  std::vector<float> none(2, -kInfinity);
  processor.observe_layers(early.view());
  processor.process(none);
  CHECK(none == std::vector<float>(2, -kInfinity));
  CHECK(processor.layer() == -1);
  CHECK(processor.histogram()[0] == 1);
}

TEST_CASE("DoLa refuses by name what cannot be, and leaves the scores alone") {
  CHECK_THROWS_AS(DolaUnderTest({}), ArgumentError);
  CHECK_THROWS_AS(DolaUnderTest({1}, {.filter = {.relative_top = 2}}), ArgumentError);
  CHECK_THROWS_AS(DolaUnderTest({1}, {.masked_value = kNaN}), ArgumentError);
  DolaUnderTest processor({3, 5});
  std::vector<float> scores{1, 2, 3};
  CHECK_THROWS_AS(processor.process(scores), StateError);
  test::Matrix early{2, 3, {1, 2, 3, 4, 5, 6}};
  CHECK_THROWS_AS(processor.observe_layers(early.view(0, 1)), ShapeError);
  processor.observe_layers(early.view());
  std::vector<float> two(2);
  CHECK_THROWS_AS(processor.process(two), ShapeError);
  processor.process(scores);
  CHECK_THROWS_AS(processor.process(scores), StateError);  // one step, one observation
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    scores = {1, 2, 3};
    test::Matrix poisoned = early;
    poisoned.data[4] = bad;
    processor.observe_layers(poisoned.view());
    CHECK_THROWS_AS(processor.process(scores), ArgumentError);
    DolaUnderTest one({5});
    one.observe_layers(poisoned.view(1, 2));
    CHECK_THROWS_AS(one.process(scores), ArgumentError);
    CHECK(scores == std::vector<float>{1, 2, 3});
    if (bad < 0) continue;
    scores[1] = bad;
    processor.observe_layers(early.view());
    CHECK_THROWS_AS(processor.process(scores), ArgumentError);
    CHECK(scores[2] == 3);
  }
  processor.observe_layers(early.view());
  CHECK_THROWS_AS(processor.process(std::vector<TokenId>{1}, scores), ShapeError);
}
