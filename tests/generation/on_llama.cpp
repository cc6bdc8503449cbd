// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/generate_grid.hpp"
#include "activation_trace/model/llama.hpp"
#include "generation/beam_oracle.hpp"
#include "support/mode_fields.hpp"
#include "support/no_text.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;

// generate() on a model that has a KV cache and kernels of its own: what a fake one cannot get wrong.

namespace {

using test::NoText;

const auto kNoText = [] { return NoText{}; };

LlamaConfig config() {
  LlamaConfig c = test::tiny_llama_config();
  c.layers = 4;
  c.hidden = 64;
  c.ffn = 96;
  c.head_dim = 16;
  c.max_context = 64;
  return c;
}

// Weights, threads and a model with `sequences`.
struct Tiny {
  explicit Tiny(Index sequences, int threads = 1, std::uint64_t seed = 1)
      : weights({.config = config(), .seed = seed}),
        execution(threads),
        model(weights.config(), weights.weights(), {.max_context = 48, .max_batch = 16, .sequences = sequences},
              execution) {}

  test::TinyLlama weights;
  Execution<Host> execution;
  Llama<> model;
};

std::vector<std::vector<TokenId>> prompts() {
  std::vector<std::vector<TokenId>> all;
  for (int i = 0; i < 6; ++i) {
    all.emplace_back();
    for (int k = 0; k < 3 + (7 * i) % 20; ++k) all.back().push_back((37 * i + 11 * k * k + 5) % 320);
  }
  return all;
}

GenerationOptions options_of(const Mode& mode) {
  GenerationOptions options{.mode = mode, .repetition_penalty = 1.2f, .max_new_tokens = 12};
  options.record.emplace();
  options.prefill_piece = 7;
  test::change_contexts(options, [](ContextOptions& context) { context.info_layer = 3; });
  return options;
}

const Dola kDola{.candidate_layers = {0, 1, 2}};
const Mode kModes[] = {
    Baseline{},   DolaStatic{.premature_layer = 1}, kDola, Activation{}, ActivationDola{.candidate_layers = {0, 1, 2}},
    Contrastive{}};

struct Shown {
  TokenId id;
  Index layer;
  SharpnessCandidate chosen;
};

GenerationCallbacks recorder(std::vector<std::vector<Shown>>& shown) {
  return {.on_token = [&](const GeneratedToken& token) {
    REQUIRE(token.record != nullptr);
    shown[static_cast<std::size_t>(token.sequence)].push_back({token.id, token.record->layer, token.record->chosen});
    return Continue::yes;
  }};
}

}  // namespace

TEST_CASE("batches of up to five decode as one at a time: tokens, layers, entropies to 1e-6") {
  for (const Mode& mode : kModes)
    for (const ContextGrowth growth : {ContextGrowth::prompt, ContextGrowth::growing}) {
      CAPTURE(name(mode));
      GenerationOptions options = options_of(mode);
      test::change_contexts(options, [&](ContextOptions& context) { context.growth = growth; });
      const bool contrastive = std::holds_alternative<Contrastive>(mode);
      Tiny alone(1);
      Tiny weak_alone(1, 1, 2);
      ModelAmateur amateur_alone(weak_alone.model);
      const Companions with_alone{.amateur = contrastive ? &amateur_alone : nullptr};
      std::vector<GenerationResult> expected;
      std::vector<std::vector<Shown>> expected_shown(prompts().size());
      for (std::size_t i = 0; i < prompts().size(); ++i) {
        std::vector<std::vector<Shown>> one(1);
        expected.push_back(generate(alone.model, NoText{}, prompts()[i], options, recorder(one), with_alone));
        expected_shown[i] = one[0];
      }
      // Some end early, so that others take their places.
      options.eos = {expected[0].ids[3], expected[2].ids[6]};
      for (const Index sequences : {2, 5}) {
        Tiny together(sequences);
        Tiny weaker(sequences, 1, 2);
        ModelAmateur amateur(weaker.model);
        std::vector<std::vector<Shown>> shown(prompts().size());
        const std::vector<GenerationResult> results =
            generate_batch(together.model, kNoText, prompts(), options, recorder(shown),
                           {.amateur = contrastive ? &amateur : nullptr});
        for (std::size_t i = 0; i < results.size(); ++i) {
          std::vector<TokenId> ids = expected[i].ids;
          const auto end = std::find_first_of(ids.begin(), ids.end(), options.eos.begin(), options.eos.end());
          if (end != ids.end()) ids.erase(end + 1, ids.end());
          CHECK(results[i].ids == ids);
          for (std::size_t k = 0; k < std::min(shown[i].size(), ids.size()); ++k) {
            const Shown& a = shown[i][k];
            const Shown& b = expected_shown[i][k];
            CHECK(a.layer == b.layer);
            // A growing context holds states that were computed together, which differ by rounding.
            const double tolerance = growth == ContextGrowth::prompt ? 1e-6 : 2e-5;
            CHECK(std::abs(static_cast<double>(a.chosen.entropy) - static_cast<double>(b.chosen.entropy)) <= tolerance);
            CHECK(std::abs(static_cast<double>(a.chosen.log_prob) - static_cast<double>(b.chosen.log_prob)) <= 1e-4);
          }
        }
      }
    }
}

TEST_CASE("a growing context is what the whole text would give as a prompt") {
  Tiny tiny(1);
  Tiny fresh(1);
  for (const Mode& mode : {Mode(Activation{}), Mode(Baseline{})}) {
    GenerationOptions options = options_of(mode);
    options.repetition_penalty = 1;
    test::change_contexts(options, [](ContextOptions& context) { context.growth = ContextGrowth::growing; });
    std::vector<TokenId> text = prompts()[3];
    generate(tiny.model, NoText{}, prompts()[3], options, {.on_token = [&](const GeneratedToken& token) {
               GenerationOptions anew = options;
               test::change_contexts(anew, [](ContextOptions& c) { c.growth = ContextGrowth::prompt; });
               anew.max_new_tokens = 1;
               generate(fresh.model, NoText{}, text, anew, {.on_token = [&](const GeneratedToken& first) {
                          CHECK(first.id == token.id);
                          CHECK(first.record->chosen.entropy ==
                                doctest::Approx(static_cast<double>(token.record->chosen.entropy)).epsilon(1e-4));
                          return Continue::yes;
                        }});
               text.push_back(token.id);
               return Continue::yes;
             }});
    CHECK(text.size() == prompts()[3].size() + 12);
  }
}

TEST_CASE("the same seed gives the same text for any number of threads, another seed another") {
  for (const Mode& mode : {Mode(Baseline{}), Mode(kDola), Mode(Activation{})}) {
    GenerationOptions options = options_of(mode);
    options.sampling = SamplingOptions{.temperature = 1.3f, .top_p = 0.95f, .seed = 7};
    std::vector<std::vector<TokenId>> first;
    for (const int threads : {1, 2, 3}) {
      Tiny tiny(3, threads);
      const std::vector<GenerationResult> results = generate_batch(tiny.model, kNoText, prompts(), options);
      std::vector<std::vector<TokenId>> ids;
      for (const GenerationResult& result : results) ids.push_back(result.ids);
      if (first.empty()) first = ids;
      CHECK(ids == first);
    }
    options.sampling->seed = 8;
    Tiny tiny(3);
    CHECK(generate_batch(tiny.model, kNoText, prompts(), options)[0].ids != first[0]);
  }
}

TEST_CASE("beams on caches of which only the tail is copied are those of the whole text read anew") {
  int differs_from_greedy = 0;
  for (const std::uint64_t seed : {1u, 2u, 3u, 4u}) {
    Tiny tiny(4, 2, seed);
    Tiny fresh(1, 1, seed);
    for (const std::size_t p : {std::size_t{1}, std::size_t{4}}) {
      GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 10};
      options.eos = {5, 100, 200};
      options.beams.count = 4;
      const std::vector<TokenId> prompt = prompts()[p];
      const auto log_probs = [&](const std::vector<TokenId>& generated) {
        std::vector<TokenId> text = prompt;
        text.insert(text.end(), generated.begin(), generated.end());
        fresh.model.rewind(0);
        const std::span<const float> logits = fresh.model.forward(text);
        double largest = -1e30;
        for (const float z : logits) largest = std::max(largest, static_cast<double>(z));
        double sum = 0;
        for (const float z : logits) sum += std::exp(static_cast<double>(z) - largest);
        std::vector<double> result;
        for (const float z : logits) result.push_back(static_cast<double>(z) - largest - std::log(sum));
        return result;
      };
      const test::PlainBeams::Result expected =
          test::PlainBeams{log_probs, options.eos, options.beams, options.max_new_tokens}.run();
      REQUIRE(expected.gap > 1e-6);
      const GenerationResult result = generate(tiny.model, NoText{}, prompt, options);
      CHECK(result.ids == expected.ids);
      CHECK(result.score == doctest::Approx(expected.score).epsilon(1e-4));
      options.beams.count = 1;
      differs_from_greedy += generate(tiny.model, NoText{}, prompt, options).ids != result.ids;
    }
  }
  CHECK(differs_from_greedy > 0);
}

TEST_CASE("a grid of settings on a LLaMA gives the tokens of one setting at a time") {
  std::vector<GridPoint> points;
  for (const float alpha : {0.0f, 0.5f, 2.0f, 8.0f})
    for (const Index layer : {1, 2, 3, 4}) points.push_back({alpha, layer});
  GenerationOptions options{.repetition_penalty = 1.2f, .max_new_tokens = 12};
  options.prefill_piece = 7;
  Tiny alone(1);
  std::vector<std::vector<TokenId>> different;
  for (const Index sequences : {1, 5, 16}) {
    Tiny many(sequences, 2);
    for (const std::vector<TokenId>& prompt : prompts()) {
      const auto grid = generate_grid(many.model, kNoText, prompt, points, options);
      for (std::size_t i = 0; i < points.size(); ++i) {
        CAPTURE(sequences);
        CAPTURE(i);
        options.mode = Activation{.alpha = points[i].alpha, .context = {.info_layer = points[i].info_layer}};
        CHECK(grid[i].ids == generate(alone.model, NoText{}, prompt, options).ids);
        if (std::find(different.begin(), different.end(), grid[i].ids) == different.end())
          different.push_back(grid[i].ids);
      }
    }
  }
  CHECK(different.size() > 2 * prompts().size());
}
