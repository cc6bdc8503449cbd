// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/generation/generate.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "fake_model.hpp"
#include "support/mode_fields.hpp"

using namespace activation_trace;
using activation_trace::test::FakeDecoder;
using activation_trace::test::FakeModel;
using activation_trace::test::Matrix;

namespace {

// processors/README.md 1.2 in double precision over the fake model's table.
struct Expected {
  std::vector<TokenId> ids;
  std::vector<TokenId> without_entropy;
};

Expected reference(FakeModel& model, const std::vector<TokenId>& prompt, const GenerationOptions& options,
                   Index steps) {
  const Index vocab = model.config().vocab;
  const test::ModeFields mode(options);
  const Index layer = mode.context.info_layer.value_or(4);  // 0.8 * 5
  Matrix hidden{0, 6, {}};
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    const auto position = static_cast<Index>(i);
    if (position < mode.context.span.begin || position >= mode.context.span.end) continue;
    const std::vector<float> row = model.state(layer < 0 ? layer + 6 : layer, position, prompt[i]);
    hidden.data.insert(hidden.data.end(), row.begin(), row.end());
    ++hidden.rows;
  }
  const std::vector<double> entropy = test::reference_entropies(hidden, model.lm_head_matrix());
  std::set<TokenId> seen(prompt.begin(), prompt.end());
  const auto penalise = [&](std::vector<double> scores) {
    for (const TokenId id : seen) {
      double& s = scores[static_cast<std::size_t>(id)];
      s = s < 0 ? s * static_cast<double>(options.repetition_penalty)
                : s / static_cast<double>(options.repetition_penalty);
    }
    return static_cast<TokenId>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  };
  Expected expected;
  TokenId last = prompt.back();
  for (Index step = 0; step < steps; ++step) {
    std::vector<float> logits;
    for (Index v = 0; v < vocab; ++v) logits.push_back(static_cast<float>(model.table().at(last, v)));
    TokenId chosen = -1;
    TokenId plain = -1;
    if (std::holds_alternative<Baseline>(options.mode)) {
      chosen = plain = penalise({logits.begin(), logits.end()});
    } else {
      const auto relative_top = static_cast<double>(mode.filter.relative_top);
      chosen = penalise(test::reference_scores(logits, entropy, static_cast<double>(mode.alpha), relative_top));
      plain = penalise(test::reference_scores(logits, entropy, 0, relative_top));
    }
    expected.ids.push_back(chosen);
    expected.without_entropy.push_back(plain);
    seen.insert(chosen);
    last = chosen;
  }
  return expected;
}

const std::vector<TokenId> kPrompt{3, 17, 5, 5, 29, 11, 0};

}  // namespace

TEST_CASE("tokens are those of the specification, in both modes, with every option") {
  int changed = 0;
  for (unsigned seed = 1; seed <= 30; ++seed) {
    FakeModel model(seed);
    for (const bool activation : {false, true})
      for (const float penalty : {1.0f, 1.2f, 3.0f})
        for (const Index layer : {0, 2, 5, -1, -3})
          for (const Index piece : {1, 3, 512}) {
            Activation mode{.alpha = 0.7f, .filter = {.relative_top = 0.05f}, .context = {.info_layer = layer}};
            if (seed % 3 == 1) mode.context.span = ContextSpan::without_bos();
            if (seed % 3 == 2) mode.context.span = {.begin = 2, .end = 6};
            const GenerationOptions options{.mode = activation ? Mode(mode) : Mode(Baseline{}),
                                            .repetition_penalty = penalty,
                                            .max_new_tokens = 20,
                                            .prefill_piece = piece};
            const Expected expected = reference(model, kPrompt, options, 20);
            std::vector<TokenId> without_entropy;
            const GenerationResult result =
                generate(model, test::numbered(40), kPrompt, options, {.on_token = [&](const GeneratedToken& token) {
                           CHECK((token.record != nullptr) == activation);
                           if (token.record != nullptr) {
                             CHECK(token.record->chosen.id == token.id);
                             without_entropy.push_back(token.record->without_entropy);
                             changed += token.record->changed();
                           }
                           return Continue::yes;
                         }});
            CHECK(result.ids == expected.ids);
            if (activation) CHECK(without_entropy == expected.without_entropy);
            CHECK(result.reason == FinishReason::length);
            std::string text;
            for (const TokenId id : expected.ids) text += "<" + std::to_string(id) + ">";
            CHECK(result.text == text);
          }
  }
  CHECK(changed > 100);  // the entropy matters in what is tested here
}

TEST_CASE("the info layer is about 80 % of the depth unless it is given") {
  CHECK(default_info_layer(30) == 24);
  CHECK(default_info_layer(32) == 26);
  CHECK(default_info_layer(1) == 1);
  FakeModel model(3);
  GenerationOptions options{.mode = Activation{.alpha = 1}, .max_new_tokens = 20};
  const std::vector<TokenId> by_default = generate(model, test::numbered(40), kPrompt, options).ids;
  std::get<Activation>(options.mode).context.info_layer = 4;
  CHECK(generate(model, test::numbered(40), kPrompt, options).ids == by_default);
}

TEST_CASE("final_norm is the model's, and the states of the last layer have passed it") {
  std::set<std::vector<TokenId>> different;
  for (unsigned seed = 1; seed <= 5; ++seed)
    for (const Index layer : {3, 5, -1}) {
      FakeModel model(seed);
      Activation mode{.alpha = 2, .filter = {.relative_top = 0.01f}, .context = {.info_layer = layer}};
      const auto ids = [&] {
        return generate(model, test::numbered(40), kPrompt, {.mode = mode, .max_new_tokens = 20}).ids;
      };
      const std::vector<TokenId> plain = ids();
      mode.context.final_norm = true;
      const std::vector<TokenId> normalised = ids();
      if (layer == 3 && normalised != plain) different.insert(normalised);
      if (layer != 3) CHECK(normalised == plain);
    }
  CHECK(different.size() >= 3);
}

TEST_CASE("the prompt goes in by pieces, then one token at a time, the last one never") {
  FakeModel model;
  std::vector<Index> progress;
  const GenerationResult result =
      generate(model, test::numbered(40), kPrompt, {.max_new_tokens = 3, .prefill_piece = 3},
               {.on_prefill = [&](Index done, Index total) {
                 CHECK(total == 7);
                 progress.push_back(done);
               }});
  CHECK(model.calls == std::vector<Index>{3, 3, 1, 1, 1});
  CHECK(progress == std::vector<Index>{3, 6, 7});
  std::vector<TokenId> expected = kPrompt;
  expected.insert(expected.end(), result.ids.begin(), result.ids.begin() + 2);
  CHECK(model.texts.front() == expected);
}

TEST_CASE("records: survivors, log-probability, entropy and final score, also of a baseline that asks for them") {
  FakeModel model(7);
  std::vector<double> entropy;
  {
    Matrix hidden{0, 6, {}};
    for (std::size_t i = 0; i < kPrompt.size(); ++i) {
      const std::vector<float> row = model.state(4, static_cast<Index>(i), kPrompt[i]);
      hidden.data.insert(hidden.data.end(), row.begin(), row.end());
      ++hidden.rows;
    }
    entropy = test::reference_entropies(hidden, model.lm_head_matrix());
  }
  for (const bool activation : {false, true})
    for (const float penalty : {1.0f, 5.0f}) {
      const GenerationOptions options{.mode = activation ? Mode(Activation{.alpha = 0.7f}) : Mode(Baseline{}),
                                      .repetition_penalty = penalty,
                                      .max_new_tokens = 12,
                                      .record = RecordOptions{}};
      std::set<TokenId> seen(kPrompt.begin(), kPrompt.end());
      TokenId last = kPrompt.back();
      const auto check = [&](const GeneratedToken& token) {
        REQUIRE(token.record != nullptr);
        std::vector<float> logits;
        for (Index v = 0; v < 40; ++v) logits.push_back(static_cast<float>(model.table().at(last, v)));
        const std::vector<double> lp = test::reference_scores(logits, entropy, 0, 0);
        const std::vector<double> filtered = test::reference_scores(logits, entropy, 0, 0.1);
        const auto check_candidate = [&](const SharpnessCandidate& c) {
          const auto v = static_cast<std::size_t>(c.id);
          CHECK(static_cast<double>(c.log_prob) == doctest::Approx(lp[v]).epsilon(1e-5));
          CHECK(static_cast<double>(c.entropy) == doctest::Approx(entropy[v]).epsilon(1e-5));
          double score = activation ? lp[v] - 0.7 * entropy[v] : static_cast<double>(logits[v]);
          if (seen.contains(c.id)) score = score < 0 ? score * penalty : score / penalty;
          CHECK(static_cast<double>(c.score) == doctest::Approx(score).epsilon(1e-4));
        };
        for (const SharpnessCandidate& c : token.record->kept) {
          CHECK(std::isfinite(filtered[static_cast<std::size_t>(c.id)]));
          check_candidate(c);
        }
        CHECK(static_cast<long>(token.record->kept.size()) ==
              std::count_if(filtered.begin(), filtered.end(), [](double x) { return std::isfinite(x); }));
        check_candidate(token.record->chosen);
        if (!activation) CHECK_FALSE(token.record->changed());
        seen.insert(token.id);
        last = token.id;
        return Continue::yes;
      };
      const GenerationResult result = generate(model, test::numbered(40), kPrompt, options, {.on_token = check});
      CHECK(result.ids == reference(model, kPrompt, options, 12).ids);
    }
}

TEST_CASE("an eos ends the text, is an id of the result and no part of the text") {
  FakeModel model;
  const GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 20};
  const std::vector<TokenId> ids = generate(model, test::numbered(40), kPrompt, options).ids;
  GenerationOptions ending = options;
  ending.eos = {39, ids[4]};
  const auto first = std::find_first_of(ids.begin(), ids.end(), ending.eos.begin(), ending.eos.end());
  std::vector<TokenId> shown;
  const GenerationResult result =
      generate(model, test::numbered(40), kPrompt, ending, {.on_token = [&](const GeneratedToken& token) {
                 shown.push_back(token.id);
                 return Continue::yes;
               }});
  CHECK(result.reason == FinishReason::eos);
  CHECK(result.ids == std::vector<TokenId>(ids.begin(), first + 1));
  CHECK(shown == result.ids);
  CHECK(result.text.find("<" + std::to_string(*first) + ">") == std::string::npos);
}

TEST_CASE("a stop string ends the text wherever it lies in the tokens") {
  FakeModel model;
  GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 20};
  const std::string text = generate(model, test::numbered(40), kPrompt, options).text;
  // From the middle of the third token to the middle of the fifth.
  std::size_t begin = 0;
  for (int i = 0; i < 2; ++i) begin = text.find('>', begin) + 1;
  std::size_t end = begin;
  for (int i = 0; i < 2; ++i) end = text.find('<', end + 1);
  const std::string stop = text.substr(begin + 1, end + 1 - begin);
  options.stop = {stop};
  std::string shown;
  const GenerationResult result =
      generate(model, test::numbered(40), kPrompt, options, {.on_token = [&](const GeneratedToken& token) {
                 shown += token.text;
                 return Continue::yes;
               }});
  CHECK(result.reason == FinishReason::stop_string);
  CHECK(result.text == text.substr(0, text.find(stop)));
  CHECK(shown == result.text);
}

TEST_CASE("what was held back is shown when the text ends otherwise") {
  FakeModel model;
  FakeDecoder decoder = test::numbered(40);
  decoder.rest = "?";  // as for a character that was not completed
  GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 3};
  const std::string whole = generate(model, decoder, kPrompt, options).text;
  CHECK(whole.ends_with(">?"));
  options.stop = {whole.substr(whole.size() - 3) + "never"};
  std::string shown;
  const auto show = [&](const GeneratedToken& token) {
    shown += token.text;
    return Continue::yes;
  };
  const GenerationResult result = generate(model, decoder, kPrompt, options, {.on_token = show});
  CHECK(result.text == whole);
  CHECK(shown == whole);
}

TEST_CASE("a full context ends the text, and one token needs no room") {
  FakeModel model(1, 9);
  const GenerationResult result =
      generate(model, test::numbered(40), kPrompt, {.mode = Baseline{}, .max_new_tokens = 20});
  CHECK(result.reason == FinishReason::context_full);
  CHECK(result.ids.size() == 3);  // two enter the cache, the third is only chosen
  FakeModel exact(1, 7);
  CHECK(generate(exact, test::numbered(40), kPrompt, {.max_new_tokens = 20}).ids.size() == 1);
  FakeModel small(1, 6);
  CHECK_THROWS_WITH_AS(generate(small, test::numbered(40), kPrompt, {}),
                       "prompt: its 7 tokens do not fit into a context of 6", ArgumentError);
}

TEST_CASE("the callback and the stop token end it with what there is") {
  FakeModel model;
  const GenerationResult result = generate(
      model, test::numbered(40), kPrompt, {},
      {.on_token = [](const GeneratedToken& token) { return token.step == 4 ? Continue::no : Continue::yes; }});
  CHECK(result.reason == FinishReason::cancelled);
  CHECK(result.ids.size() == 5);

  std::stop_source source;
  const GenerationResult stopped = generate(model, test::numbered(40), kPrompt, {},
                                            {.on_token =
                                                 [&](const GeneratedToken& token) {
                                                   if (token.step == 2) source.request_stop();
                                                   return Continue::yes;
                                                 },
                                             .stop = source.get_token()});
  CHECK(stopped.reason == FinishReason::cancelled);
  CHECK(stopped.ids.size() == 3);
  CHECK(generate(model, test::numbered(40), kPrompt, {}, {.stop = source.get_token()}).ids.empty());
}

TEST_CASE("no new tokens: nothing is computed") {
  FakeModel model;
  const GenerationResult result = generate(model, test::numbered(40), kPrompt, {.max_new_tokens = 0});
  CHECK(result.ids.empty());
  CHECK(result.reason == FinishReason::length);
  CHECK(model.calls.empty());
}

TEST_CASE("a logit that is not a number is an error in both modes") {
  for (const Mode& mode : {Mode(Baseline{}), Mode(Activation{})}) {
    FakeModel model;
    model.table().data[7] = std::numeric_limits<float>::quiet_NaN();  // after token 0, the prompt's last
    CHECK_THROWS_WITH_AS(generate(model, test::numbered(40), kPrompt, {.mode = mode}), "logits: [7] is nan",
                         ArgumentError);
  }
}

TEST_CASE("options that cannot be are refused by name") {
  FakeModel model;
  const auto run = [&](const GenerationOptions& options) { generate(model, test::numbered(40), kPrompt, options); };
  CHECK_THROWS_WITH_AS(generate(model, test::numbered(40), std::vector<TokenId>{}, {}), "prompt: it is empty",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(run({.mode = Activation{.context = {.info_layer = 6}}}),
                       "layer 6 does not exist: a model of 5 blocks has the hidden states -6..5", ArgumentError);
  CHECK_THROWS_AS(run({.mode = Activation{.context = {.info_layer = -7}}}), ArgumentError);
  CHECK_THROWS_AS(run({.mode = Activation{.alpha = -1}}), ArgumentError);
  CHECK_THROWS_AS(run({.mode = Activation{.filter = {.relative_top = 1.5f}}}), ArgumentError);
  CHECK_THROWS_AS(run({.repetition_penalty = 0}), ArgumentError);
  CHECK_THROWS_AS(run({.max_new_tokens = -1}), ArgumentError);
  CHECK_THROWS_AS(run({.eos = {40}}), ArgumentError);
  CHECK_THROWS_AS(run({.stop = {""}}), ArgumentError);
  CHECK_THROWS_AS(run({.prefill_piece = 0}), ArgumentError);
  CHECK_THROWS_AS(run({.mode = Activation{.context = {.span = {.begin = 7}}}}), StateError);  // no position is left
  CHECK(model.position() <= 7);
}
