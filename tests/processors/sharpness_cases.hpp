// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every EntropySharpnessProcessor does, wherever it runs: the includer says which, before it includes this.
//   SharpnessUnderTest   made of EntropySharpnessOptions and perhaps an execution context; host views in,
//   SharpnessRecord out sharpness_tolerance  how far entropy() may be from the entropies that were asked for on the way
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/repetition_penalty.hpp"
#include "processors/reference.hpp"

using namespace activation_trace;
using activation_trace::test::check_close;
using activation_trace::test::kInfinity;
using activation_trace::test::Matrix;
using activation_trace::test::random_matrix;

namespace {

// processors/README.md 7: an LM head of one-hot rows makes the hidden states the info logits.
struct WorkedExample {
  Matrix hidden{3, 4, {1, 0, -1, 2, 1, 3, -1, 0, 1, 0, -1, -2}};
  Matrix lm_head{4, 4, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}};
  std::vector<float> logits{2, 1.5f, -3, 1};
};

constexpr double kNone = -std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("the worked example") {
  WorkedExample example;
  SharpnessUnderTest processor({.alpha = 0.5f, .filter = {.relative_top = 0.1f}});
  processor.observe_context(example.hidden.view(), example.lm_head.view());
  const SharpnessRecord& record = processor.process(example.logits);
  check_close(example.logits, std::vector<double>{-1.2329826432, -1.3669734793, kNone, -1.9042052209}, 1e-6);
  CHECK(record.best == 0);
  CHECK_FALSE(record.changed());
  REQUIRE(record.kept.size() == 3);
  CHECK(record.kept[0].id == 0);
  CHECK(record.kept[1].id == 1);
  CHECK(record.kept[2].id == 3);
  CHECK(record.kept[1].log_prob == doctest::Approx(-1.1836764988).epsilon(1e-6));
  CHECK(record.kept[1].entropy == doctest::Approx(0.3665939609).epsilon(1e-6));
  CHECK(record.kept[1].score == example.logits[1]);
  check_close(processor.entropy(), std::vector{1.0986122887, 0.3665939609, 1.0986122887, 0.4410574441}, 1e-6);

  RepetitionPenalty penalty(1.2f, 4);
  penalty.observe(1);
  penalty.process(example.logits);
  CHECK(example.logits[1] == doctest::Approx(-1.6403681751).epsilon(1e-6));
}

TEST_CASE("the worked example with alpha 1: the entropy changes the choice") {
  WorkedExample example;
  SharpnessUnderTest processor({.alpha = 1, .filter = {.relative_top = 0.1f}});
  processor.observe_context(example.hidden.view(), example.lm_head.view());
  const SharpnessRecord& record = processor.process(example.logits);
  check_close(example.logits, std::vector<double>{-1.782288787, -1.550270460, kNone, -2.124733943}, 1e-6);
  CHECK(record.most_probable == 0);
  CHECK(record.best == 1);
  CHECK(record.changed());
}

TEST_CASE("the worked example without a filter") {
  WorkedExample example;
  SharpnessUnderTest processor({.alpha = 0.5f, .filter = {.relative_top = 0}});
  processor.observe_context(example.hidden.view(), example.lm_head.view());
  CHECK(processor.process(example.logits).kept.size() == 4);
  CHECK(example.logits[2] == doctest::Approx(-6.2329826432).epsilon(1e-6));
}

TEST_CASE("scores of random data are those of the oracle, for every kind of option") {
  std::mt19937 random(11);
  for (const Index vocab : {1, 2, 13, 130, 777}) {
    const Matrix hidden = random_matrix(random, 37, 19, 1);
    const Matrix w = random_matrix(random, vocab, 19, 0.7f);
    const std::vector<double> entropy = test::reference_entropies(hidden, w);
    for (const float alpha : {0.0f, 0.3f, 1.0f, 20.0f})
      for (const float relative_top : {0.0f, 0.1f, 0.5f, 1.0f})
        for (const Index keep : {1, 3, 1000}) {
          CAPTURE(vocab);
          CAPTURE(alpha);
          CAPTURE(relative_top);
          CAPTURE(keep);
          SharpnessUnderTest processor(
              {.alpha = alpha, .filter = {.relative_top = relative_top, .min_tokens_to_keep = keep}});
          processor.observe_context(hidden.view(), w.view());
          for (int step = 0; step < 3; ++step) {
            std::vector<float> logits = test::random_logits(random, vocab);
            if (vocab > 2) logits[static_cast<std::size_t>(step)] = -kInfinity;  // masked by an earlier processor
            const std::vector<double> expected =
                test::reference_scores(logits, entropy, static_cast<double>(alpha), static_cast<double>(relative_top),
                                       static_cast<std::size_t>(keep));
            const SharpnessRecord& record = processor.process(logits);
            check_close(logits, expected, 1e-4 * (1 + static_cast<double>(alpha)));
            // The record tells the same story.
            std::size_t finite = 0;
            for (const float x : logits) finite += x > -kInfinity;
            CHECK(record.kept.size() == finite);
            for (const SharpnessCandidate& c : record.kept) {
              const auto v = static_cast<std::size_t>(c.id);
              CHECK(c.score == logits[v]);
              CHECK(static_cast<double>(c.entropy) == doctest::Approx(entropy[v]).epsilon(1e-4));
            }
            CHECK(record.best == static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
          }
        }
  }
}

TEST_CASE("a candidate list in any order gives what the full row gives") {
  std::mt19937 random(12);
  const Matrix hidden = random_matrix(random, 21, 16, 1);
  const Matrix w = random_matrix(random, 90, 16, 0.7f);
  SharpnessUnderTest full, listed;
  full.observe_context(hidden.view(), w.view());
  listed.observe_context(hidden.view(), w.view());
  for (int round = 0; round < 20; ++round) {
    const std::vector<float> logits = test::random_logits(random, 90);
    std::vector<float> row = logits;
    full.process(row);
    std::vector<TokenId> ids(90);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random);
    std::vector<float> scores;
    for (const TokenId id : ids) scores.push_back(logits[static_cast<std::size_t>(id)]);
    const SharpnessRecord& record = listed.process(ids, scores);
    CHECK(record.best == full.record().best);
    CHECK(record.most_probable == full.record().most_probable);
    CHECK(record.kept.size() == full.record().kept.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const float expected = row[static_cast<std::size_t>(ids[i])];
      if (std::isinf(expected))
        CHECK(scores[i] == expected);
      else
        CHECK(scores[i] == doctest::Approx(expected).epsilon(1e-6));
    }
  }
}

TEST_CASE("a shortened list scores by the probabilities within the list") {
  WorkedExample example;
  SharpnessUnderTest processor({.alpha = 0.5f, .filter = {.relative_top = 0.1f}});
  processor.observe_context(example.hidden.view(), example.lm_head.view());
  std::vector<float> logits{1, 1.5f};
  processor.process(std::vector<TokenId>{3, 1}, logits);
  const double log_sum = std::log(1 + std::exp(-0.5));
  check_close(logits, std::vector<double>{-0.5 - log_sum - 0.5 * 0.4410574441, -log_sum - 0.5 * 0.3665939609}, 1e-6);
  CHECK(processor.record().best == 1);
}

TEST_CASE("a constant added to all logits changes nothing") {
  std::mt19937 random(13);
  const Matrix hidden = random_matrix(random, 21, 16, 1);
  const Matrix w = random_matrix(random, 90, 16, 0.7f);
  SharpnessUnderTest processor;
  processor.observe_context(hidden.view(), w.view());
  std::vector<float> logits = test::random_logits(random, 90);
  for (float& x : logits) x = std::round(x * 64) / 64;  // so that the sums below are exact
  std::vector<float> shifted = logits;
  for (float& x : shifted) x += 1024;
  processor.process(logits);
  processor.process(shifted);
  CHECK(logits == shifted);
}

TEST_CASE("masked entries stay masked and do not count") {
  std::mt19937 random(14);
  const Matrix hidden = random_matrix(random, 21, 16, 1);
  const Matrix w = random_matrix(random, 30, 16, 0.7f);
  SharpnessUnderTest processor;
  processor.observe_context(hidden.view(), w.view());
  std::vector<float> masked = test::random_logits(random, 30);
  std::vector<TokenId> ids;
  std::vector<float> listed;
  for (std::size_t v = 0; v < masked.size(); ++v) {
    if (v % 3 == 0) {
      masked[v] = -kInfinity;
    } else {
      ids.push_back(static_cast<TokenId>(v));
      listed.push_back(masked[v]);
    }
  }
  processor.process(masked);
  processor.process(ids, listed);
  for (std::size_t v = 0; v < masked.size(); v += 3) CHECK(masked[v] == -kInfinity);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const float in_row = masked[static_cast<std::size_t>(ids[i])];
    CHECK((in_row == listed[i] || std::abs(in_row - listed[i]) <= 1e-6f));  // sums of another order
  }
}

TEST_CASE("one candidate, everything masked, equal scores") {
  WorkedExample example;
  SharpnessUnderTest processor({.alpha = 0.5f});
  processor.observe_context(example.hidden.view(), example.lm_head.view());
  std::vector<float> one{-50};
  processor.process(std::vector<TokenId>{2}, one);
  CHECK(one[0] == doctest::Approx(-0.5 * std::log(3.0)).epsilon(1e-6));
  CHECK(processor.record().best == 2);

  std::vector<float> none(4, -kInfinity);
  processor.process(none);
  CHECK(none == std::vector<float>(4, -kInfinity));
  CHECK(processor.record().kept.empty());
  CHECK(processor.record().best == -1);
  CHECK_FALSE(processor.record().changed());

  std::vector<float> equal{3, 3};  // tokens 2 and 0 have the same entropy
  processor.process(std::vector<TokenId>{2, 0}, equal);
  CHECK(equal[0] == equal[1]);
  CHECK(processor.record().best == 0);
}

TEST_CASE("one position of context: no entropy, filtered log-probabilities remain") {
  std::mt19937 random(15);
  const Matrix hidden = random_matrix(random, 1, 5, 1);
  const Matrix w = random_matrix(random, 11, 5, 1);
  SharpnessUnderTest sharp({.alpha = 1}), plain({.alpha = 0});
  sharp.observe_context(hidden.view(), w.view());
  plain.observe_context(hidden.view(), w.view());
  std::vector<float> a = test::random_logits(random, 11);
  std::vector<float> b = a;
  sharp.process(a);
  plain.process(b);
  CHECK(a == b);
}

TEST_CASE("log-probabilities below -1000 count as masked, unless alpha is 0") {
  WorkedExample example;
  for (const float alpha : {0.0f, 0.5f}) {
    SharpnessUnderTest processor({.alpha = alpha, .filter = {.relative_top = 0}});
    processor.observe_context(example.hidden.view(), example.lm_head.view());
    std::vector<float> logits{0, -999, -1001, -2000};
    processor.process(logits);
    CHECK(logits[1] > -1001);
    CHECK(logits[2] == (alpha == 0 ? -1001 : -kInfinity));
    CHECK(logits[3] == (alpha == 0 ? -2000 : -kInfinity));
  }
}

TEST_CASE("entropies asked for on the way are those of all at once, as the context grows") {
  std::mt19937 random(16);
  const Matrix hidden = random_matrix(random, 64, 32, 1);
  const Matrix w = random_matrix(random, 200, 32, 0.7f);
  Execution<Host> execution(2);
  SharpnessUnderTest processor({.alpha = 0.5f, .filter = {.relative_top = 0.2f}}, execution);
  for (Index begin = 0; begin < 64; begin += 16) {
    processor.observe_context(hidden.view(begin, begin + 16), w.view());
    CHECK(processor.context_size() == begin + 16);
    for (int step = 0; step < 5; ++step) {
      std::vector<float> logits = test::random_logits(random, 200);
      processor.process(logits);
      const std::vector<SharpnessCandidate> kept = processor.record().kept;
      for (const SharpnessCandidate& c : kept) {
        CHECK(c.entropy == processor.state(c.id).entropy());
        CHECK(std::abs(static_cast<double>(c.entropy) - test::reference_entropy(hidden, w, c.id, 0, begin + 16)) <=
              1e-4);
      }
      if (step != 3) continue;
      const std::span<const float> entropy = processor.entropy();
      REQUIRE(entropy.size() == 200);
      for (const SharpnessCandidate& c : kept)
        CHECK(std::abs(entropy[static_cast<std::size_t>(c.id)] - c.entropy) <= sharpness_tolerance);
    }
  }
}

TEST_CASE("a moved processor goes on, and reset begins anew") {
  WorkedExample example;
  SharpnessUnderTest first({.alpha = 1});
  first.observe_context(example.hidden.view(), example.lm_head.view());
  SharpnessUnderTest processor = std::move(first);
  std::vector<float> logits = example.logits;
  CHECK(processor.process(logits).best == 1);
  processor.reset();
  CHECK(processor.record().kept.empty());
  CHECK_THROWS_AS(processor.process(logits), StateError);
  processor.observe_context(example.hidden.view(), example.lm_head.view());
  std::vector<float> again = example.logits;
  processor.process(again);
  CHECK(again == logits);
}

TEST_CASE("scores that are filtered already lose alpha times the entropy, and nothing else happens to them") {
  std::mt19937 random(17);
  const Matrix hidden = random_matrix(random, 21, 16, 1);
  const Matrix w = random_matrix(random, 90, 16, 0.7f);
  const std::vector<double> entropy = test::reference_entropies(hidden, w);
  SharpnessUnderTest processor({.alpha = 0.7f, .input = SharpnessInput::scores});
  processor.observe_context(hidden.view(), w.view());
  std::vector<float> scores = test::random_logits(random, 90, 3000);  // also below -1000, which means nothing here
  for (std::size_t v = 0; v < scores.size(); v += 4) scores[v] = -kInfinity;
  const test::ShuffledRow list(random, scores);
  std::vector<double> expected;
  for (std::size_t v = 0; v < scores.size(); ++v)
    expected.push_back(static_cast<double>(scores[v]) - static_cast<double>(0.7f) * entropy[v]);
  const std::vector<float> given = scores;
  processor.process(scores);
  check_close(scores, expected, 2e-3);
  CHECK(processor.record().kept.size() == 90 - 23);
  for (const SharpnessCandidate& c : processor.record().kept)
    CHECK(c.log_prob == given[static_cast<std::size_t>(c.id)]);
  std::vector<float> listed = list.scores;
  processor.process(list.ids, listed);
  CHECK(listed == list.pick(scores));

  std::vector<float> none(90, -kInfinity);
  CHECK(processor.process(none).best == -1);
  none[3] = kInfinity;
  CHECK_THROWS_AS(processor.process(none), ArgumentError);

  SharpnessUnderTest zero({.alpha = 0, .input = SharpnessInput::scores});
  zero.observe_context(hidden.view(), w.view());
  std::vector<float> same = given;
  zero.process(same);
  CHECK(same == given);
}
