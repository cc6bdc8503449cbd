// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "generation/fake_model.hpp"
#include "support/mode_fields.hpp"

using namespace activation_trace;
using activation_trace::test::FakeModel;

namespace {

// 11 prompts of 1 to 9 tokens.
std::vector<std::vector<TokenId>> batch_prompts() {
  std::vector<std::vector<TokenId>> all;
  for (int i = 0; i < 11; ++i) {
    all.emplace_back();
    for (int k = 0; k <= (5 * i) % 9; ++k) all.back().push_back((7 * i + 3 * k) % 40);
  }
  return all;
}

struct BatchToken {
  TokenId id;
  std::string text;
  std::vector<float> numbers;  // log-probability, entropy and score of the chosen and of the kept

  bool operator==(const BatchToken&) const = default;
};

GenerationCallbacks batch_recorder(std::vector<std::vector<BatchToken>>& shown) {
  return {.on_token = [&](const GeneratedToken& token) {
    std::vector<BatchToken>& mine = shown[static_cast<std::size_t>(token.sequence)];
    CHECK(token.step == static_cast<Index>(mine.size()));
    mine.push_back({token.id, std::string(token.text), {}});
    if (token.record == nullptr) return Continue::yes;
    const auto add = [&](const SharpnessCandidate& c) {
      mine.back().numbers.insert(mine.back().numbers.end(), {c.log_prob, c.entropy, c.score});
    };
    add(token.record->chosen);
    for (const SharpnessCandidate& c : token.record->kept) add(c);
    return Continue::yes;
  }};
}

std::vector<GenerationOptions> all_modes() {
  std::vector<GenerationOptions> all;
  const Mode each[] = {Baseline{},
                       DolaStatic{.premature_layer = 1},
                       Dola{.candidate_layers = {0, 2, 4}},
                       Activation{.alpha = 0.8f},
                       ActivationDola{.alpha = 0.8f, .candidate_layers = {0, 2, 4}},
                       Contrastive{}};
  for (const Mode& mode : each)
    for (const bool sampled : {false, true})
      for (const ContextGrowth growth : {ContextGrowth::prompt, ContextGrowth::growing}) {
        GenerationOptions options{.mode = mode, .repetition_penalty = 1.1f};
        options.max_new_tokens = 14;
        options.eos = {4, 17, 30};
        options.stop = {"><8", "<21>"};
        options.stop_sequences = {{9}, {2, 3}};
        options.prefill_piece = 3;
        options.record.emplace();
        test::change_contexts(options, [&](ContextOptions& context) { context.growth = growth; });
        options.frequency_penalty = 0.2f;
        if (sampled) options.sampling = SamplingOptions{.temperature = 1.5f, .top_p = 0.9f, .seed = 8, .stream = 40};
        all.push_back(options);
      }
  return all;
}

}  // namespace

TEST_CASE("a batch gives what one at a time gives, with more prompts than slots, in every mode") {
  const auto make_decoder = [] { return test::numbered(40); };
  std::set<FinishReason> reasons;
  for (unsigned seed = 1; seed <= 3; ++seed)
    for (const GenerationOptions& options : all_modes()) {
      const bool contrastive = std::holds_alternative<Contrastive>(options.mode);
      FakeModel alone(seed, 20);
      FakeModel weak_alone(seed + 9, 40);
      ModelAmateur amateur_alone(weak_alone);
      std::vector<GenerationResult> expected;
      std::vector<std::vector<BatchToken>> expected_shown(batch_prompts().size());
      for (std::size_t i = 0; i < batch_prompts().size(); ++i) {
        GenerationOptions mine = options;
        if (mine.sampling) mine.sampling->stream += i;
        std::vector<std::vector<BatchToken>> shown(1);
        expected.push_back(generate(alone, test::numbered(40), batch_prompts()[i], mine, batch_recorder(shown),
                                    {.amateur = contrastive ? &amateur_alone : nullptr}));
        expected_shown[i] = shown[0];
        reasons.insert(expected.back().reason);
      }
      for (const Index slots : {1, 3, 4, 16}) {
        FakeModel model(seed, 20, slots);
        FakeModel weaker(seed + 9, 40, 3);
        ModelAmateur amateur(weaker);
        std::vector<std::vector<BatchToken>> shown(batch_prompts().size());
        const std::vector<GenerationResult> results =
            generate_batch(model, make_decoder, batch_prompts(), options, batch_recorder(shown),
                           {.amateur = contrastive ? &amateur : nullptr});
        REQUIRE(results.size() == expected.size());
        for (std::size_t i = 0; i < results.size(); ++i) {
          CHECK(results[i].ids == expected[i].ids);
          CHECK(results[i].text == expected[i].text);
          CHECK(results[i].reason == expected[i].reason);
          CHECK(results[i].layer_histogram == expected[i].layer_histogram);
          CHECK(shown[i] == expected_shown[i]);
        }
        // Together means together: while prompts are left, every slot works.
        const Index together = *std::max_element(model.batches.begin(), model.batches.end());
        const Index usable = contrastive ? std::min<Index>(slots, 3) : slots;
        CHECK(together <= std::min<Index>(usable, 11));
        if (usable <= 4) CHECK(together == usable);
      }
    }
  CHECK(reasons.size() == 5);  // all but cancelled
}

TEST_CASE("a finished text's slot goes to the next prompt at once") {
  FakeModel model(1, 64, 2);
  // The first prompt goes on for long; the others share the second slot.
  GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 6};
  struct LongFirst {
    bool first = false;
    int left = 2;
    void observe_prompt(std::span<const TokenId> ids) { first = ids.front() == 0; }
    void observe(std::span<const TokenId>) { --left; }
    void process(std::span<float> scores) const { scores[39] = !first && left == 0 ? 1e6f : -1e6f; }
    void process(std::span<const TokenId>, std::span<float>) const {}
  };
  ProcessorChain processors;
  processors.add("length", LongFirst{});
  options.eos = {39};
  const std::vector<std::vector<TokenId>> three{{0, 1}, {1, 2, 3}, {2}};
  const std::vector<GenerationResult> results =
      generate_batch(model, [] { return test::numbered(40); }, three, options, {}, {.processors = &processors});
  CHECK(results[0].ids.size() == 6);
  CHECK(results[1].ids.size() == 3);
  CHECK(results[2].ids.size() == 3);
  // Prompts of 2 and 3; two steps together; the prompt of 1 as soon as its predecessor ended; two together; one alone.
  CHECK(model.batches == std::vector<Index>{1, 1, 2, 2, 1, 2, 2, 1});
  CHECK(model.calls == std::vector<Index>{2, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
}

TEST_CASE("one text of a batch can be cancelled, and all can") {
  const auto make_decoder = [] { return test::numbered(40); };
  const GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 5};
  {
    FakeModel model(3, 64, 3);
    const std::vector<GenerationResult> results =
        generate_batch(model, make_decoder, batch_prompts(), options, {.on_token = [](const GeneratedToken& token) {
                         return token.sequence == 4 && token.step == 2 ? Continue::no : Continue::yes;
                       }});
    for (std::size_t i = 0; i < results.size(); ++i) {
      CHECK(results[i].reason == (i == 4 ? FinishReason::cancelled : FinishReason::length));
      CHECK(results[i].ids.size() == (i == 4 ? 3 : 5));
    }
  }
  {
    FakeModel model(3, 64, 3);
    std::stop_source source;
    const std::vector<GenerationResult> results = generate_batch(model, make_decoder, batch_prompts(), options,
                                                                 {.on_token =
                                                                      [&](const GeneratedToken& token) {
                                                                        if (token.sequence == 3) source.request_stop();
                                                                        return Continue::yes;
                                                                      },
                                                                  .stop = source.get_token()});
    REQUIRE(results.size() == 11);
    for (std::size_t i = 0; i < results.size(); ++i) {
      CHECK(results[i].reason == (i < 3 ? FinishReason::length : FinishReason::cancelled));
      CHECK(results[i].ids.size() == (i < 3 ? 5 : i == 3 ? 1 : 0));
    }
  }
}

TEST_CASE("no prompts, and no new tokens") {
  FakeModel model(1, 64, 2);
  const auto make_decoder = [] { return test::numbered(40); };
  CHECK(generate_batch(model, make_decoder, std::vector<std::vector<TokenId>>{}, {}).empty());
  const std::vector<GenerationResult> results =
      generate_batch(model, make_decoder, batch_prompts(), {.max_new_tokens = 0});
  CHECK(results.size() == 11);
  for (const GenerationResult& result : results) CHECK(result.reason == FinishReason::length);
  CHECK(model.calls.empty());
}
