// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "activation_trace/generation/generate_grid.hpp"
#include "generation/fake_model.hpp"
#include "support/mode_fields.hpp"

using namespace activation_trace;
using test::FakeModel;

namespace {

const std::vector<TokenId> kGridPrompt{4, 9, 30, 2, 17, 9, 25};

std::vector<GridPoint> grid_points() {
  std::vector<GridPoint> all;
  for (const float alpha : {0.0f, 0.3f, 1.0f, 4.0f})
    for (const Index layer : {1, 3, 5, -3}) all.push_back({alpha, layer});
  return all;
}

ContextOptions grid_context() { return {.final_norm = true}; }

GenerationOptions grid_options() {
  return {.mode = Activation{.filter = {.relative_top = 0.01f}, .context = grid_context()},
          .repetition_penalty = 1.3f,
          .max_new_tokens = 12,
          .eos = {3},
          .stop = {"<7>", "8><1"},
          .stop_sequences = {{11, 5}},
          .prefill_piece = 3};
}

// The options with a point's alpha and layer.
GenerationOptions at_point(GenerationOptions options, const GridPoint& point) {
  test::set_alpha(options.mode, point.alpha);
  test::change_contexts(options, [&](ContextOptions& context) { context.info_layer = point.info_layer; });
  return options;
}

}  // namespace

TEST_CASE("a grid's texts are those of one setting at a time, with any number of sequences") {
  std::set<std::string> texts;
  std::set<FinishReason> reasons;
  for (const unsigned seed : {1u, 2u, 3u, 4u, 5u, 6u}) {
    for (const Index max_context : {64, 12}) {
      std::vector<GenerationResult> expected;
      FakeModel alone(seed, max_context);
      for (const GridPoint& point : grid_points())
        expected.push_back(generate(alone, test::numbered(40), kGridPrompt, at_point(grid_options(), point)));
      for (const Index sequences : {1, 2, 3, 16}) {
        CAPTURE(seed);
        CAPTURE(sequences);
        FakeModel model(seed, max_context, sequences);
        const std::vector<GenerationResult> grid = generate_grid(
            model, [] { return test::numbered(40); }, kGridPrompt, grid_points(), grid_options());
        REQUIRE(grid.size() == expected.size());
        for (std::size_t i = 0; i < grid.size(); ++i) {
          CHECK(grid[i].ids == expected[i].ids);
          CHECK(grid[i].text == expected[i].text);
          CHECK(grid[i].reason == expected[i].reason);
          texts.insert(grid[i].text);
          reasons.insert(grid[i].reason);
        }
      }
    }
  }
  CHECK(texts.size() > 20);
  CHECK(reasons.size() >= 4);  // or the test would not see how texts end
}

TEST_CASE("a grid of activation_dola is that of one setting at a time, in both forms") {
  std::set<std::string> texts;
  for (const unsigned seed : {1u, 2u, 3u})
    for (const DolaBase base : {DolaBase::logits, DolaBase::log_probs}) {
      CAPTURE(seed);
      CAPTURE(name(base));
      GenerationOptions o = grid_options();
      o.mode = ActivationDola{
          .filter = {.relative_top = 0.01f}, .context = grid_context(), .candidate_layers = {0, 2, 4}, .base = base};
      FakeModel model(seed, 64, 3);
      const std::vector<GenerationResult> grid = generate_grid(
          model, [] { return test::numbered(40); }, kGridPrompt, grid_points(), o);
      for (std::size_t i = 0; i < grid.size(); ++i) {
        FakeModel alone(seed, 64);
        const GenerationResult expected =
            generate(alone, test::numbered(40), kGridPrompt, at_point(o, grid_points()[i]));
        CHECK(grid[i].ids == expected.ids);
        CHECK(grid[i].reason == expected.reason);
        texts.insert(grid[i].text);
      }
    }
  CHECK(texts.size() > 10);
}

TEST_CASE("a grid computes what its texts have in common once") {
  FakeModel model(1, 64, 16);
  const std::vector<GridPoint> same(16, {0.5f, 3});
  GenerationOptions o{.max_new_tokens = 10};
  const auto grid = generate_grid(
      model, [] { return test::numbered(40); }, kGridPrompt, same, o);
  CHECK(grid.front().ids.size() == 10);
  // The prompt and nine tokens, whatever the number of points.
  CHECK(std::accumulate(model.calls.begin(), model.calls.end(), Index{0}) == std::ssize(kGridPrompt) + 9);
}

TEST_CASE("a grid computes what its prompt shares with others once") {
  for (const unsigned seed : {1u, 2u, 3u}) {
    for (const Index sequences : {1, 3, 16}) {
      CAPTURE(seed);
      CAPTURE(sequences);
      PrefixCache prefix({kGridPrompt.begin(), kGridPrompt.begin() + 3});
      FakeModel alone(seed, 64, sequences);
      FakeModel model(seed, 64, sequences);
      for (const TokenId last : {25, 11, 25}) {
        std::vector<TokenId> prompt = kGridPrompt;
        prompt.back() = last;
        const auto run = [&](FakeModel& of, PrefixCache* with) {
          of.calls.clear();
          return generate_grid(of, [] { return test::numbered(40); }, prompt, grid_points(), grid_options(), {},
                               {.prefix = with});
        };
        const auto expected = run(alone, nullptr);
        const bool first = model.calls.empty();
        const auto found = run(model, &prefix);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          CHECK(found[i].ids == expected[i].ids);
          CHECK(found[i].text == expected[i].text);
          CHECK(found[i].reason == expected[i].reason);
        }
        const auto computed = [](const FakeModel& of) {
          return std::accumulate(of.calls.begin(), of.calls.end(), Index{0});
        };
        CHECK(computed(model) == computed(alone) - (first ? 0 : 3));
      }
    }
  }
}

TEST_CASE("a grid refuses what it does not do") {
  FakeModel model;
  const auto run = [&](const GenerationOptions& o, const std::vector<GridPoint>& at = {{0.5f, 2}}) {
    return generate_grid(
        model, [] { return test::numbered(40); }, kGridPrompt, at, o);
  };
  GenerationOptions o;
  CHECK(run(o, {}).empty());
  CHECK_THROWS_AS(run(o, {{-1.0f, 2}}), ArgumentError);
  CHECK_THROWS_AS(run(o, {{0.5f, 2}, {0.5f, 6}}), ArgumentError);
  o = {.mode = Baseline{}};
  CHECK_THROWS_AS(run(o), ArgumentError);
  o = {.mode = Activation{.strategy = ContextStrategy::ema}};
  CHECK_THROWS_AS(run(o), ArgumentError);
  o = {.sampling = SamplingOptions{}};
  CHECK_THROWS_AS(run(o), ArgumentError);
  o = {.record = RecordOptions{}};
  CHECK_THROWS_AS(run(o), ArgumentError);
  o = {.mode = Activation{.context = {.growth = ContextGrowth::growing}}};
  CHECK_THROWS_AS(run(o), ArgumentError);
}

TEST_CASE("a grid can be stopped") {
  FakeModel model;
  std::stop_source stop;
  const GenerationCallbacks callbacks{.on_prefill = [&](Index, Index) { stop.request_stop(); },
                                      .stop = stop.get_token()};
  const auto grid = generate_grid(
      model, [] { return test::numbered(40); }, kGridPrompt, grid_points(), grid_options(), callbacks);
  for (const GenerationResult& result : grid) {
    CHECK(result.reason == FinishReason::cancelled);
    CHECK(result.ids.empty());
  }
}
