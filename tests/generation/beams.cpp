// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "generation/beam_oracle.hpp"
#include "generation/step_oracle.hpp"

using namespace activation_trace;
using activation_trace::test::FakeModel;
using activation_trace::test::PlainBeams;
using activation_trace::test::StepOracle;

namespace {

const std::vector<TokenId> kBeamPrompt{3, 1, 2, 0, 3};

// Scores that a beam search adds: those of a step, in baseline mode after log-softmax.
PlainBeams beam_oracle(const FakeModel& model, const GenerationOptions& options, const FakeModel* amateur = nullptr) {
  const auto log_probs = [&model, options, amateur](const std::vector<TokenId>& generated) {
    const StepOracle oracle{.model = model, .options = options, .prompt = kBeamPrompt, .amateur = amateur};
    const StepOracle::Step step = oracle.step(generated);
    return std::holds_alternative<Baseline>(options.mode) ? step.log_probs : step.scores;
  };
  return {log_probs, options.eos, options.beams, options.max_new_tokens};
}

}  // namespace

TEST_CASE("texts are those of transformers' algorithm, for every length penalty and early stopping") {
  int compared = 0;
  int shorter = 0;
  int differs_from_greedy = 0;
  for (unsigned seed = 1; seed <= 12; ++seed)
    for (const Index vocab : {12, 40})
      for (const Index count : {2, 4, 5})
        for (const float penalty : {-1.0f, 0.0f, 1.0f, 2.5f})
          for (const EarlyStopping stopping : {EarlyStopping::no, EarlyStopping::yes, EarlyStopping::never}) {
            FakeModel model(seed, 64, 5, vocab);
            GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 9, .eos = {4, 7}};
            if (seed % 3 == 0) options.eos = {5};
            const std::vector<TokenId> greedy = generate(model, test::numbered(40), kBeamPrompt, options).ids;
            options.beams = {.count = count, .length_penalty = penalty, .early_stopping = stopping};
            const PlainBeams::Result expected = beam_oracle(model, options).run();
            if (expected.gap < 1e-5) continue;
            const GenerationResult result = generate(model, test::numbered(40), kBeamPrompt, options);
            CHECK(result.ids == expected.ids);
            CHECK(result.score == doctest::Approx(expected.score).epsilon(1e-5));
            const bool ended =
                std::find(options.eos.begin(), options.eos.end(), result.ids.back()) != options.eos.end();
            CHECK(result.reason == (ended ? FinishReason::eos : FinishReason::length));
            ++compared;
            shorter += ended;
            differs_from_greedy += result.ids != greedy;
          }
  CHECK(compared > 700);
  CHECK(shorter > 200);
  CHECK(shorter < compared);
  CHECK(differs_from_greedy > 200);
}

TEST_CASE("every mode, with penalties and a bias, and an amateur of either kind") {
  int compared = 0;
  constexpr RelativeTopOptions filter{.relative_top = 0.02f};
  for (unsigned seed = 1; seed <= 6; ++seed)
    for (const Mode& mode :
         {Mode(DolaStatic{.premature_layer = 1, .filter = filter}),
          Mode(Dola{.candidate_layers = {0, 2, 4}, .filter = filter}),
          Mode(Activation{.alpha = 0.6f, .filter = filter, .context = {.info_layer = 3}}),
          Mode(ActivationDola{
              .alpha = 0.6f, .filter = filter, .context = {.info_layer = 3}, .candidate_layers = {0, 2, 4}}),
          Mode(Contrastive{.filter = filter})})
      for (const bool penalised : {false, true}) {
        FakeModel model(seed, 64, 4);
        FakeModel weaker(seed + 50, 64, 4);
        ModelAmateur amateur(weaker);
        NgramAmateur ngrams(40, {}, 4);
        GenerationOptions options{.mode = mode, .max_new_tokens = 8};
        options.eos = {4, 7};
        options.beams = {.count = 4, .length_penalty = 0.5f};
        if (penalised) {
          options.repetition_penalty = 1.4f;
          options.presence_penalty = 0.3f;
          options.frequency_penalty = 0.2f;
          options.logit_bias = {{9, 2.0f}};
        }
        const bool by_model = seed % 2 == 0;
        Companions with;
        if (std::holds_alternative<Contrastive>(mode)) {
          with.amateur = &ngrams;
          if (by_model) with.amateur = &amateur;
        }
        const PlainBeams::Result expected = beam_oracle(model, options, by_model ? &weaker : nullptr).run();
        if (expected.gap < 1e-4) continue;
        const GenerationResult result = generate(model, test::numbered(40), kBeamPrompt, options, {}, with);
        CHECK(result.ids == expected.ids);
        CHECK(result.score == doctest::Approx(expected.score).epsilon(1e-4));
        ++compared;
      }
  CHECK(compared > 40);
}

TEST_CASE("one beam is greedy decoding") {
  for (unsigned seed = 1; seed <= 20; ++seed)
    for (const Mode& mode : {Mode(Baseline{}), Mode(Activation{})}) {
      FakeModel model(seed);
      const GenerationOptions options{.mode = mode, .max_new_tokens = 12, .eos = {4, 7, 11}};
      const GenerationResult greedy = generate(model, test::numbered(40), kBeamPrompt, options);
      const GenerationCallbacks callbacks;
      const Companions alone;
      const GenerationResult result =
          BeamSearch(model, std::span<const TokenId>(kBeamPrompt), options, callbacks, alone, 0)
              .run(test::numbered(40));
      CHECK(result.ids == greedy.ids);
      CHECK(result.text == greedy.text);
      CHECK(result.reason == greedy.reason);
    }
}

TEST_CASE("with room for every text the best of all is found") {
  // 4 ids, 4 tokens: 64 beams hold all beginnings of three.
  for (unsigned seed = 1; seed <= 10; ++seed)
    for (const float penalty : {0.0f, 1.0f}) {
      FakeModel model(seed, 16, 64, 4);
      GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 4, .eos = {1}};
      options.beams = {.count = 64, .length_penalty = penalty, .early_stopping = EarlyStopping::never};
      double best = -1e30;
      std::vector<TokenId> best_ids;
      const auto extend = [&](auto& self, std::vector<TokenId> ids, double sum) -> void {
        const bool ended = !ids.empty() && ids.back() == 1;
        if (ended || ids.size() == 4) {
          const double score = sum / std::pow(static_cast<double>(ids.size()), static_cast<double>(penalty));
          if (score > best) {
            best = score;
            best_ids = ids;
          }
          return;
        }
        const std::vector<double> lp =
            test::log_softmax(test::widened(model.logits_of(5, ids.empty() ? kBeamPrompt.back() : ids.back())));
        for (TokenId v = 0; v < 4; ++v) {
          std::vector<TokenId> longer = ids;
          longer.push_back(v);
          self(self, longer, sum + lp[static_cast<std::size_t>(v)]);
        }
      };
      extend(extend, {}, 0);
      const GenerationResult result = generate(model, test::numbered(40), kBeamPrompt, options);
      CHECK(result.ids == best_ids);
      CHECK(result.score == doctest::Approx(best).epsilon(1e-5));
    }
}

TEST_CASE("fewer plausible tokens than beams, and a single one, are enough") {
  FakeModel model(3, 64, 4);
  GenerationOptions options{.mode = Activation{.filter = {.relative_top = 1}}, .max_new_tokens = 6};
  options.beams.count = 4;
  const GenerationResult result = generate(model, test::numbered(40), kBeamPrompt, options);
  options.beams.count = 1;
  CHECK(result.ids == generate(model, test::numbered(40), kBeamPrompt, options).ids);
}

TEST_CASE("the best text is shown at the end, by prompt, and a full context ends it") {
  FakeModel model(2, 9, 3);
  GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 20};
  options.beams.count = 3;
  const std::vector<std::vector<TokenId>> prompts{{1, 2, 3}, {4, 5, 6, 7, 8, 9}};
  std::vector<std::string> shown(2);
  const std::vector<GenerationResult> results = generate_batch(
      model, [] { return test::numbered(40); }, prompts, options, {.on_token = [&](const GeneratedToken& token) {
        CHECK(token.record == nullptr);
        shown[static_cast<std::size_t>(token.sequence)] += token.text;
        return Continue::yes;
      }});
  REQUIRE(results.size() == 2);
  CHECK(results[0].ids.size() == 7);
  CHECK(results[1].ids.size() == 4);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(results[i].reason == FinishReason::context_full);
    CHECK(results[i].text == shown[i]);
    CHECK(results[i].ids == generate(model, test::numbered(40), prompts[i], options).ids);
  }
}

TEST_CASE("a stop sequence ends a beam as an end token does") {
  FakeModel model(7, 64, 4);
  GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 10};
  options.beams.count = 4;
  options.eos = {4};
  const GenerationResult by_eos = generate(model, test::numbered(40), kBeamPrompt, options);
  options.eos = {};
  options.stop_sequences = {{4}};
  const GenerationResult by_sequence = generate(model, test::numbered(40), kBeamPrompt, options);
  CHECK(by_sequence.ids == by_eos.ids);
  CHECK(by_sequence.reason ==
        (by_eos.reason == FinishReason::eos ? FinishReason::stop_sequence : FinishReason::length));
}

TEST_CASE("a search is cancelled before the next step, and keeps its best text") {
  FakeModel model(1, 64, 3);
  GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 10, .prefill_piece = 2};
  options.beams.count = 3;
  std::stop_source source;
  CHECK(generate(model, test::numbered(40), kBeamPrompt, options,
                 {.on_prefill =
                      [&](Index done, Index) {
                        if (done == 4) source.request_stop();
                      },
                  .stop = source.get_token()})
            .reason == FinishReason::cancelled);
  CHECK(model.calls.size() == 2);
  struct StopAfter {
    std::stop_source source;
    int steps;
    void observe(std::span<const TokenId>) {
      if (--steps == 0) source.request_stop();
    }
    void process(std::span<float>) const {}
    void process(std::span<const TokenId>, std::span<float>) const {}
  };
  std::stop_source later;
  ProcessorChain processors;
  processors.add("stop", StopAfter{later, 4});
  const GenerationResult result = generate(model, test::numbered(40), kBeamPrompt, options, {.stop = later.get_token()},
                                           {.processors = &processors});
  CHECK(result.reason == FinishReason::cancelled);
  CHECK(!result.ids.empty());
  CHECK(result.ids.size() < 10);
}
