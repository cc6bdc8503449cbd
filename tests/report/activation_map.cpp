// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/report/activation_map.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "activation_trace/model/llama.hpp"
#include "support/oracle.hpp"
#include "support/reference_llama.hpp"
#include "support/tiny_llama.hpp"

// Of its own, because this file is compiled with others as one.
namespace activation_trace::test {

const std::vector<TokenId> prompt{1, 17, 90, 3, 3, 44, 101, 8, 59, 200, 7};
const std::vector<TokenId> ids{44, 0, 319, 44};

const test::TinyLlama& tiny() {
  static const test::TinyLlama model({.seed = 8});
  return model;
}

ActivationMaps mapped(const ActivationMapOptions& options, int threads = 1, Index batch = 512) {
  Execution<Host> execution(threads);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 16, .max_batch = batch}, execution);
  return activation_maps(llama, prompt, ids, options);
}

/// report/README.md in double, every distribution in full.
void check_definition(const ActivationMaps& maps, const ActivationMapOptions& options) {
  const LlamaWeights<> weights = tiny().weights();
  const reference::ForwardResult states = reference::forward(tiny().config(), weights, prompt);
  const std::size_t count = maps.positions.size();
  REQUIRE(maps.tokens.size() == ids.size());
  for (std::size_t k = 0; k < maps.layers.size(); ++k) {
    std::vector<std::vector<double>> logits;
    for (std::size_t i = 0; i < count; ++i) {
      reference::Vector h =
          states.hidden[static_cast<std::size_t>(maps.layers[k])][static_cast<std::size_t>(maps.first_position) + i];
      if (options.final_norm && maps.layers[k] < tiny().config().layers)
        h = reference::normalised(h, options.final_norm->weight, static_cast<double>(options.final_norm->eps));
      logits.push_back(reference::times(weights.lm_head, h));
    }
    for (std::size_t a = 0; a < ids.size(); ++a) {
      const ActivationMaps::Token& token = maps.tokens[a];
      CHECK(token.id == ids[a]);
      std::vector<double> column;
      for (std::size_t i = 0; i < count; ++i) column.push_back(logits[i][static_cast<std::size_t>(ids[a])]);
      const std::vector<double> log_softmax = test::log_softmax(column);
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t place = k * count + i;
        CHECK(std::abs(token.raw[place] - column[i]) < 1e-4);
        CHECK(std::abs(token.softmax[place] - std::exp(log_softmax[i])) < 1e-4);
        const double lens = test::log_softmax(logits[i])[static_cast<std::size_t>(ids[a])];
        CHECK(std::abs(std::log(token.probability[place]) - lens) < 2e-4);
      }
      CHECK(std::abs(token.entropies[k] - test::entropy(column)) < 1e-4);
    }
  }
}

TEST_CASE("Maps of a prompt are their definition in double, at any layers, span and norm") {
  const FinalNorm norm{tiny().weights().final_norm, 1e-5f};
  for (const ActivationMapOptions& options :
       {ActivationMapOptions{}, ActivationMapOptions{.layers = {-1, 0}, .final_norm = norm},
        ActivationMapOptions{.span = {3, 9}, .final_norm = norm, .prefill_piece = 4},
        ActivationMapOptions{.layers = {1}, .span = ContextSpan::without_bos(), .prefill_piece = 5}}) {
    const ActivationMaps maps = mapped(options);
    check_definition(maps, options);
    check_definition(mapped(options, 3, 5), options);
  }
  const ActivationMaps all = mapped({});
  CHECK(all.layers == std::vector<Index>{0, 1, 2});
  CHECK(all.positions == prompt);
  CHECK(all.tokens[0].raw == all.tokens[3].raw);
  CHECK(mapped({.layers = {-1, 0}}).layers == std::vector<Index>{2, 0});
  CHECK(mapped({.span = {3, 9}}).positions == std::vector<TokenId>(prompt.begin() + 3, prompt.begin() + 9));
}

TEST_CASE("A map's entropies are those that scoring reads") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 16}, execution);
  std::vector<std::vector<TokenId>> sequences{prompt};
  sequences[0].insert(sequences[0].end(), ids.begin(), ids.end());
  const std::vector<LayerEntropies> scored =
      layer_entropies(llama, sequences, static_cast<Index>(prompt.size()), {}, {.context = ScoreContext::prompt});
  const ActivationMaps maps = activation_maps(llama, prompt, ids);
  for (std::size_t k = 0; k < 3; ++k)
    for (std::size_t a = 0; a < ids.size(); ++a)
      CHECK(std::abs(maps.tokens[a].entropies[k] - scored[0].entropies[k][a]) < 5e-5);
}

TEST_CASE("Pictures of maps show what they say") {
  const ActivationMaps maps = mapped({.layers = {2, 0}});
  const std::vector<MappedTokens> shown{{"first", {0}}, {"mean", {1, 2}}};
  const std::vector<std::string> labels(prompt.size(), "x");
  const HeatMap map = activation_heat_map(maps, "t", shown, labels, 2);
  map.validate();
  CHECK(map.rows == std::vector<std::string>{"2", "0"});
  CHECK(map.marked_row == 0);
  CHECK(activation_heat_map(maps, "t", shown, labels, 1).marked_row == std::nullopt);
  for (std::size_t i = 0; i < 2 * prompt.size(); ++i) {
    CHECK(map.views[0].panels[0][i] == maps.tokens[0].raw[i]);
    CHECK(map.views[1].panels[1][i] ==
          doctest::Approx((maps.tokens[1].softmax[i] + maps.tokens[2].softmax[i]) / 2).epsilon(1e-12));
    CHECK(map.views[2].panels[0][i] == maps.tokens[0].probability[i]);
  }
  const LineChart chart = entropy_chart(maps, "t", shown, 2);
  chart.validate();
  CHECK(chart.x == std::vector<double>{0, 2});  // ascending, whatever the order of the layers
  CHECK(chart.curves[0].y == std::vector<double>{maps.tokens[0].entropies[1], maps.tokens[0].entropies[0]});
  CHECK(chart.reference_y == doctest::Approx(std::log(11)));
}

TEST_CASE("What cannot be mapped is refused by name") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 16}, execution);
  const auto refuses = [&](const std::vector<TokenId>& of, const std::vector<TokenId>& tokens,
                           const ActivationMapOptions& options, const char* text) {
    CHECK_THROWS_WITH_AS(activation_maps(llama, of, tokens, options), text, ArgumentError);
  };
  refuses({}, ids, {}, "prompt: it is empty");
  refuses(prompt, {}, {}, "activation_maps: there are no tokens to map");
  refuses(prompt, {320}, {}, "token id 320 is not in the vocabulary of 320");
  refuses(std::vector<TokenId>(17, 5), ids, {}, "prompt: its 17 tokens do not fit into a context of 16");
  refuses(prompt, ids, {.layers = {0, -3}}, "layers: layer 0 is there twice");
  refuses(prompt, ids, {.layers = {3}}, "layer 3 does not exist: a model of 2 blocks has the hidden states -3..2");
  refuses(prompt, ids, {.span = {11, 20}}, "none of the prompt's 11 positions lies within the span from 11 to 20");
  refuses(prompt, ids, {.prefill_piece = 0}, "prefill_piece: must be positive, got 0");
}

}  // namespace activation_trace::test
