// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/model/llama.hpp"
#include "model/family_facts.hpp"
#include "model/trace.hpp"
#include "support/each_isa.hpp"
#include "support/random_matrix.hpp"
#include "support/reference_llama.hpp"

// What other families change in the forward pass, each alone and all at once, against double precision.
using namespace activation_trace;
using namespace activation_trace::test;

namespace {

// 4 eps for each of four products and sums of a block, as rounding_tolerance has it, and what a fact amplifies: twice.
void check_against_reference(const TinyLlama& tiny, Index tokens, std::size_t piece, Isa isa) {
  const std::vector<TokenId> ids = some_ids(tokens, tiny.config().vocab);
  const reference::ForwardResult expected = reference::forward(tiny.config(), tiny.weights(), ids);
  Execution<Host> execution(2, isa);
  Llama model(tiny.config(), tiny.weights(), {.max_context = tokens}, execution);
  Trace trace(tiny.config().layers);
  trace.run(model, ids, piece);
  const double tolerance = 2 * rounding_tolerance(tiny.config());
  CAPTURE(tolerance);
  CAPTURE(piece);
  for (std::size_t layer = 0; layer < expected.hidden.size(); ++layer)
    for (std::size_t t = 0; t < ids.size(); ++t) {
      CAPTURE(layer);
      CAPTURE(t);
      CHECK(relative_error(trace.hidden[layer][t], expected.hidden[layer][t]) <= tolerance);
    }
  CHECK(relative_error(trace.logits, expected.logits.back()) <= tolerance);
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return largest;
}

std::vector<float> last_logits(const TinyLlama& tiny, Index tokens) {
  Execution<Host> execution(1);
  Llama model(tiny.config(), tiny.weights(), {.max_context = tokens}, execution);
  const auto logits = model.forward(some_ids(tokens, tiny.config().vocab));
  return {logits.begin(), logits.end()};
}

}  // namespace

TEST_CASE("each fact of other families changes the logits as double precision says, prefilled and decoded") {
  const std::vector<float> plain = last_logits(TinyLlama(small_family_options()), 33);
  for (const auto& named : family_facts()) {
    const std::string& fact = named.first;
    CAPTURE(fact);
    TinyLlamaOptions options = small_family_options();
    named.second(options);
    const TinyLlama tiny(options);
    test::each_isa([&](Isa isa) {
      check_against_reference(tiny, 33, 33, isa);
      check_against_reference(tiny, 9, 1, isa);
    });
    // Those that change no random number of the weights: not by rounding only.
    if (fact.find("bias") == std::string::npos && fact.find("norms") == std::string::npos)
      CHECK(difference(last_logits(tiny, 33), plain) > 1e-2);
  }
}

TEST_CASE("all facts at once, over more positions than a tile of attention holds") {
  TinyLlamaOptions options = small_family_options();
  for (const auto& named : family_facts()) named.second(options);
  options.config.windows = {7, 0, 130};
  const TinyLlama tiny(options);
  check_against_reference(tiny, 230, 230, best_isa());
  check_against_reference(tiny, 230, 50, best_isa());
  check_against_reference(tiny, 12, 1, Isa::portable);
}

TEST_CASE("with windows too, the cut into pieces of four or more does not show") {
  TinyLlamaOptions options = small_family_options();
  options.config.windows = {3, 100, 150};
  const TinyLlama tiny(options);
  const std::vector<TokenId> ids = some_ids(240, tiny.config().vocab);
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(2, isa);
    const auto run = [&](std::size_t piece) {
      Llama model(tiny.config(), tiny.weights(), {.max_context = 240}, execution);
      Trace trace(tiny.config().layers);
      trace.run(model, ids, piece);
      return trace.hidden;
    };
    const auto whole = run(240);
    CHECK(run(120) == whole);
    CHECK(run(60) == whole);
    CHECK(run(5) == whole);
  });
}

TEST_CASE("facts that no model can have are named") {
  const auto complaint = [](const FamilyFact& change) -> std::string {
    TinyLlamaOptions options = small_family_options();
    change(options);
    try {
      options.config.validate();
    } catch (const ArgumentError& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(complaint([&](auto& o) { o.config.embedding_scale = nan; }) ==
        "LlamaConfig: embedding_scale must be positive and finite");
  CHECK(complaint([](auto& o) { o.config.residual_scale = 0; }) ==
        "LlamaConfig: residual_scale must be positive and finite");
  CHECK(complaint([](auto& o) { o.config.logit_scale = -1; }) ==
        "LlamaConfig: logit_scale must be positive and finite");
  CHECK(complaint([](auto& o) { o.config.attention_scale = 0; }) ==
        "LlamaConfig: attention_scale must be positive and finite");
  CHECK(complaint([](auto& o) { o.config.attention_soft_cap = -1; }) ==
        "LlamaConfig: attention_soft_cap must be positive and finite");
  CHECK(complaint([&](auto& o) { o.config.logit_soft_cap = test::infinity; }) ==
        "LlamaConfig: logit_soft_cap must be positive and finite");
  CHECK(complaint([](auto& o) { o.config.windows = {4}; }) == "LlamaConfig: windows must be empty or one per layer");
  CHECK(complaint([](auto& o) { o.config.windows = {4, -1, 0}; }) == "LlamaConfig: windows must not be negative");
  CHECK(complaint([](auto& o) { o.config.rotated = {true}; }) == "LlamaConfig: rotated must be empty or one per layer");
  for (const Index part : {Index{-2}, Index{5}, Index{18}})
    CHECK(complaint([&](auto& o) { o.config.rope.rotary_dim = part; }) ==
          "LlamaConfig: rope rotary_dim must be even and in 0..head_dim");
  for (const float amplitude : {0.0f, -1.0f, nan})
    CHECK(complaint([&](auto& o) { o.config.rope.amplitude = amplitude; }) ==
          "LlamaConfig: rope amplitude must be positive and finite");
  CHECK(complaint([](auto& o) {
          o.config.rope.rotary_dim = 12;
          o.config.rope.long_divisors.assign(8, 1.0f);
        }) == "LlamaConfig: rope long_divisors must number 6, half of what is rotated of a head, got 8");
  CHECK(complaint([](auto& o) { o.config.rope.long_divisors = {1, 1, 1, 1, 1, 1, 1, -2}; }) ==
        "LlamaConfig: rope long_divisors must be positive and finite");
  CHECK(complaint([](auto& o) { o.config.window_rope = RopeConfig{}; }) ==
        "LlamaConfig: window_rope is given, but no windows");
  CHECK(complaint([](auto& o) {
          o.config.windows = {4, 0, 4};
          o.config.window_rope = RopeConfig{.theta = 0};
        }) == "LlamaConfig: rope theta must be in (1, 1e12)");
  const TinyLlama tiny(small_family_options());
  LlamaWeights<> weights = tiny.weights();
  weights.layers[1].q_bias = {1, 2};
  CHECK_THROWS_WITH_AS(weights.validate(tiny.config()), "layer 1 q_bias: expected [96], got [2]", ShapeError);
  weights = tiny.weights();
  weights.layers[2].k_norm = {1, 2, 3};
  CHECK_THROWS_WITH_AS(weights.validate(tiny.config()), "layer 2 k_norm: expected [16], got [3]", ShapeError);
  weights = tiny.weights();
  weights.layers[0].ffn_out_norm = {1};
  CHECK_THROWS_WITH_AS(weights.validate(tiny.config()), "layer 0 ffn_out_norm: expected [48], got [1]", ShapeError);
}
