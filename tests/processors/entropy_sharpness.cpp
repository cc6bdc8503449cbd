// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/entropy_sharpness.hpp"

#include <type_traits>

using SharpnessUnderTest = activation_trace::EntropySharpnessProcessor<>;
constexpr float sharpness_tolerance = 0;

#include "processors/sharpness_cases.hpp"

static_assert(std::is_move_constructible_v<SharpnessUnderTest>);

TEST_CASE("what cannot be is refused by name, and leaves the logits alone") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH_AS(SharpnessUnderTest({.alpha = -0.5f}), "alpha: expected a number >= 0, got -0.500000",
                       ArgumentError);
  CHECK_THROWS_AS(SharpnessUnderTest({.alpha = nan}), ArgumentError);
  CHECK_THROWS_AS(SharpnessUnderTest({.alpha = kInfinity}), ArgumentError);
  CHECK_THROWS_AS(SharpnessUnderTest({.filter = {.relative_top = 2}}), ArgumentError);
  CHECK_THROWS_AS(SharpnessUnderTest({.filter = {.min_tokens_to_keep = 0}}), ArgumentError);
  CHECK_THROWS_AS(SharpnessUnderTest({.context = {.begin = 3, .end = 2}}), ArgumentError);

  WorkedExample example;
  SharpnessUnderTest processor;
  std::vector<float> logits{1, 2, 3, 4};
  CHECK_THROWS_AS(processor.process(logits), StateError);
  CHECK_THROWS_AS(processor.process(std::vector<TokenId>{1, 2, 3, 0}, logits), StateError);
  CHECK_THROWS_AS((void)processor.entropy(), StateError);
  CHECK_THROWS_AS((void)processor.state(0), StateError);

  processor.observe_context(example.hidden.view(), example.lm_head.view());
  std::vector<float> five(5);
  CHECK_THROWS_WITH_AS(processor.process(five), "logits: expected 4, got 5", ShapeError);
  CHECK_THROWS_AS(processor.process(std::vector<TokenId>{1, 2}, logits), ShapeError);
  CHECK_THROWS_WITH_AS(processor.process(std::vector<TokenId>{1, 2, 4, 3}, logits),
                       "ids[2]: 4 is not in the vocabulary of 4", ArgumentError);
  CHECK_THROWS_AS(processor.process(std::vector<TokenId>{-1, 2, 1, 3}, logits), ArgumentError);
  CHECK_THROWS_AS(processor.process(std::span<const TokenId>(), std::span<float>()), ArgumentError);
  CHECK(logits == std::vector<float>{1, 2, 3, 4});
  std::vector<float> poisoned{1, kInfinity, nan, 4};
  CHECK_THROWS_WITH_AS(processor.process(poisoned), "logits: [1] is inf", ArgumentError);
  CHECK(poisoned[3] == 4);
  poisoned[1] = 0;
  CHECK_THROWS_WITH_AS(processor.process(poisoned), "logits: [2] is nan", ArgumentError);

  SharpnessUnderTest overflowing;
  const Matrix hidden{2, 1, {3e38f, 1}};
  const Matrix w{2, 1, {3e38f, 1}};
  overflowing.observe_context(hidden.view(), w.view());
  std::vector<float> two{1, 1};
  CHECK_THROWS_AS(overflowing.process(two), ArgumentError);
}

TEST_CASE("an infinite score is refused by its place") {
  WorkedExample example;
  SharpnessUnderTest processor({.input = SharpnessInput::scores});
  processor.observe_context(example.hidden.view(), example.lm_head.view());
  std::vector<float> scores{-kInfinity, -kInfinity, -kInfinity, kInfinity};
  CHECK_THROWS_WITH_AS(processor.process(scores), "scores: [3] is inf", ArgumentError);
}
