// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/processor_chain.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/logit_bias.hpp"
#include "activation_trace/processors/occurrence_penalty.hpp"
#include "activation_trace/processors/repetition_penalty.hpp"
#include "processors/reference.hpp"

// processor_chain.hpp, logit_bias.hpp, occurrence_penalty.hpp
using namespace activation_trace;
using activation_trace::test::kInfinity;
using activation_trace::test::kNaN;

static_assert(LogitsProcessor<ProcessorChain>);
static_assert(LogitsProcessor<EntropySharpnessProcessor<>>);
static_assert(!LogitsProcessor<std::vector<float>>);
static_assert(std::copyable<ProcessorChain>);

namespace activation_trace::test {

// Adds how many ids it has seen, and multiplies.
struct Affine {
  float factor = 1;
  float seen = 0;

  void observe(std::span<const TokenId> ids) { seen += static_cast<float>(ids.size()); }
  void process(std::span<float> scores) const {
    for (float& x : scores) x = x * factor + seen;
  }
  void process(std::span<const TokenId>, std::span<float> scores) const { process(scores); }
  void reset() { seen = 0; }
};

}  // namespace activation_trace::test

TEST_CASE("a chain runs in the order that it states, and an empty one does nothing") {
  ProcessorChain chain;
  CHECK(chain.empty());
  CHECK(chain.order().empty());
  std::vector<float> scores{1, 2};
  chain.process(scores);
  CHECK(scores == std::vector<float>{1, 2});
  chain.add("double", test::Affine{2}).add("bias", LogitBias({{1, 10.0f}})).add("triple", test::Affine{3});
  CHECK(chain.order() == "double > bias > triple");
  CHECK(chain.size() == 3);
  chain.process(scores);
  CHECK(scores == std::vector<float>{6, 42});
  scores = {2, 1};
  chain.process(std::vector<TokenId>{1, 0}, scores);
  CHECK(scores == std::vector<float>{42, 6});
  CHECK_THROWS_AS(chain.add("", test::Affine{}), ArgumentError);
}

TEST_CASE("a copied chain is independent, but for what was added by reference") {
  test::Affine shared{1};
  ProcessorChain chain;
  chain.add("own", test::Affine{1}).add("shared", std::ref(shared));
  ProcessorChain copy = chain;
  const std::vector<TokenId> ids{4, 5};
  chain.observe(ids);
  CHECK(shared.seen == 2);
  std::vector<float> a{0}, b{0};
  chain.process(a);
  copy.process(b);
  CHECK(a[0] == 4);
  CHECK(b[0] == 2);
  copy = chain;
  copy.reset();
  CHECK(shared.seen == 0);
  a = {0};
  chain.process(a);
  CHECK(a[0] == 2);
  ProcessorChain nested;
  nested.add("chain", chain).add("last", test::Affine{10});
  nested.observe_prompt(ids);
  a = {0};
  nested.process(a);
  CHECK(a[0] == 62);  // (own 4 + shared 2) * 10 + 2
}

TEST_CASE("a processor that can only be moved goes by reference") {
  const test::Matrix hidden{3, 4, {1, 0, -1, 2, 1, 3, -1, 0, 1, 0, -1, -2}};
  const test::Matrix w{4, 4, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}};
  EntropySharpnessProcessor processor({.alpha = 0.5f});
  processor.observe_context(hidden.view(), w.view());
  ProcessorChain chain;
  chain.add("sharpness", std::ref(processor)).add("repetition_penalty", RepetitionPenalty(1.2f, 4));
  chain.observe(std::vector<TokenId>{1});
  std::vector<float> scores{2, 1.5f, -3, 1};
  chain.process(scores);
  CHECK(scores[1] == doctest::Approx(-1.6403681751).epsilon(1e-6));  // processors/README.md 7
}

TEST_CASE("presence and frequency are subtracted, once and per occurrence") {
  OccurrencePenalty penalty({.presence = 1, .frequency = 0.25f}, 5);
  penalty.observe_prompt(std::vector<TokenId>{0, 0, 0});  // not counted: OpenAI's definition
  penalty.observe(std::vector<TokenId>{1, 3, 1});
  const std::vector<float> row{4, 4, 4, -4, -kInfinity};
  std::vector<float> scores = row;
  penalty.process(scores);
  CHECK(scores == std::vector<float>{4, 2.5f, 4, -5.25f, -kInfinity});
  std::vector<float> listed{-4, 4, 4};
  penalty.process(std::vector<TokenId>{3, 0, 1}, listed);
  CHECK(listed == std::vector<float>{-5.25f, 4, 2.5f});
  penalty.reset();
  scores = row;
  penalty.process(scores);
  CHECK(scores == row);

  ProcessorChain chain;
  chain.add("occurrence", OccurrencePenalty({.presence = 1, .scope = OccurrenceScope::prompt_and_generated}, 5));
  chain.observe_prompt(std::vector<TokenId>{0, 0});
  chain.observe(std::vector<TokenId>{2});
  chain.process(scores);
  CHECK(scores == std::vector<float>{3, 4, 3, -4, -kInfinity});

  CHECK_THROWS_AS(OccurrencePenalty({.presence = kNaN}, 5), ArgumentError);
  CHECK_THROWS_AS(OccurrencePenalty({.frequency = kInfinity}, 5), ArgumentError);
  CHECK_THROWS_AS(OccurrencePenalty({}, -1), ArgumentError);
  CHECK_THROWS_AS(penalty.observe(std::vector<TokenId>{5}), ArgumentError);
  CHECK_THROWS_AS(penalty.process(listed), ShapeError);
  CHECK_THROWS_AS(penalty.process(std::vector<TokenId>{1}, listed), ShapeError);
  CHECK_THROWS_AS(penalty.process(std::vector<TokenId>{1, 2, 5}, listed), ArgumentError);
}

TEST_CASE("a bias is added to its tokens, and -inf bans one") {
  const LogitBias bias({{3, -kInfinity}, {0, 2.5f}});
  std::vector<float> scores{1, 1, 1, 1};
  bias.process(scores);
  CHECK(scores == std::vector<float>{3.5f, 1, 1, -kInfinity});
  std::vector<float> listed{1, 1, -kInfinity};
  bias.process(std::vector<TokenId>{2, 0, 3}, listed);
  CHECK(listed == std::vector<float>{1, 3.5f, -kInfinity});
  LogitBias({}).process(listed);
  CHECK(listed[1] == 3.5f);
  CHECK_THROWS_WITH_AS(LogitBias({{2, 1.0f}, {1, 1.0f}, {2, 3.0f}}), "logit_bias: token id 2 occurs twice",
                       ArgumentError);
  CHECK_THROWS_AS(LogitBias({{-1, 1.0f}}), ArgumentError);
  CHECK_THROWS_AS(LogitBias({{1, kNaN}}), ArgumentError);
  CHECK_THROWS_AS(LogitBias({{1, -2e30f}}), ArgumentError);
  std::vector<float> heavy{-1e3f, 0};
  LogitBias({{0, -1e30f}, {1, 1e30f}}).process(heavy);
  CHECK(std::isfinite(heavy[0]));
  CHECK(heavy[1] == 1e30f);
  CHECK_THROWS_AS(bias.process(listed), ShapeError);
  CHECK_THROWS_AS(bias.process(std::vector<TokenId>{1}, listed), ShapeError);
}

TEST_CASE("a bias of +inf bans all other tokens") {
  const LogitBias one({{2, kInfinity}, {0, 5.0f}, {1, -kInfinity}});
  std::vector<float> scores{4, 3, -7, 9};
  one.process(scores);
  CHECK(scores == std::vector<float>{-kInfinity, -kInfinity, -7, -kInfinity});
  std::vector<float> listed{9, -7, 4};
  one.process(std::vector<TokenId>{3, 2, 0}, listed);
  CHECK(listed == std::vector<float>{-kInfinity, -7, -kInfinity});
  std::vector<float> lacking{9, 4};  // a list without the token: the other biases are all there is
  one.process(std::vector<TokenId>{3, 0}, lacking);
  CHECK(lacking == std::vector<float>{9, 9});

  // Of two their own scores decide, and one that a filter left out comes after all others.
  const LogitBias two({{3, kInfinity}, {1, kInfinity}});
  for (const bool as_list : {false, true}) {
    scores = {4, -kInfinity, 8, -200};
    if (as_list)
      two.process(std::vector<TokenId>{0, 1, 2, 3}, scores);
    else
      two.process(scores);
    CHECK(scores[0] == -kInfinity);
    CHECK(scores[2] == -kInfinity);
    CHECK(scores[3] == -200);
    CHECK(scores[1] < -200);
    CHECK(std::isfinite(scores[1]));
  }
}
