// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "generation/step_oracle.hpp"

using namespace activation_trace;
using activation_trace::test::FakeModel;
using activation_trace::test::StepOracle;

namespace {

const std::vector<TokenId> kModesPrompt{3, 17, 5, 29, 3, 17, 5, 0, 3, 17};

// A mode with everything that it needs but the amateur.
struct NamedMode {
  std::string name;
  GenerationOptions options;
};

std::vector<NamedMode> modes() {
  constexpr float alpha = 0.7f;
  constexpr RelativeTopOptions unfiltered{.relative_top = 0};
  constexpr auto jensen_shannon = LayerDivergence::jensen_shannon;
  std::vector<NamedMode> all;
  const auto add = [&](std::string name, Mode mode) {
    all.push_back({std::move(name), {.mode = std::move(mode), .max_new_tokens = 12}});
  };
  add("baseline", Baseline{});
  add("mature layer", Baseline{.mature_layer = -2});
  add("static", DolaStatic{.premature_layer = 2});
  add("raw static", DolaStatic{.premature_layer = -4, .filter = unfiltered});
  add("dola", Dola{.candidate_layers = {0, 2, 4, 3}});
  add("dola, Jensen-Shannon",
      Dola{.candidate_layers = {0, 1, -2}, .divergence = jensen_shannon, .filter = {.relative_top = 0.02f}});
  add("dola, early mature layer", Dola{.candidate_layers = {0, 1, 2}, .mature_layer = 4});
  add("activation", Activation{.alpha = alpha});
  add("no filter", Activation{.alpha = alpha, .filter = unfiltered});
  add("kept tokens", Activation{.alpha = alpha, .filter = {.relative_top = 1, .min_tokens_to_keep = 6}});
  add("activation_dola", ActivationDola{.alpha = alpha, .candidate_layers = {0, 2, 4}});
  add("corrected activation_dola",
      ActivationDola{
          .alpha = alpha, .candidate_layers = {1, 3}, .divergence = jensen_shannon, .base = DolaBase::log_probs});
  add("activation_dola, unfiltered", ActivationDola{.alpha = alpha, .filter = unfiltered, .candidate_layers = {1, 3}});
  add("activation_dola, single_entropy",
      ActivationDola{.alpha = alpha, .strategy = ContextStrategy::single_entropy, .candidate_layers = {1, 3}});
  for (const ContextStrategy strategy :
       {ContextStrategy::single_entropy, ContextStrategy::subject, ContextStrategy::entropy_inverse,
        ContextStrategy::tendency, ContextStrategy::ema, ContextStrategy::majority_voting})
    for (const StrategyBase base : {StrategyBase::log_probs, StrategyBase::logits}) {
      if (strategy == ContextStrategy::single_entropy && base == StrategyBase::logits) continue;
      add(std::string(name(strategy)) + (base == StrategyBase::logits ? " on logits" : ""),
          Activation{.alpha = base == StrategyBase::logits ? 2 : 0.2f,
                     .strategy = strategy,
                     .base = base,
                     .subject_key = 3,
                     .majority_threshold = 0.1f});
    }
  return all;
}

struct Counts {
  int steps = 0;
  int close = 0;  // a gap below the rounding of float: the text is not followed further
};

// Generates and compares tokens, layers and records with the oracle.
void compare(FakeModel& model, const StepOracle& oracle, Counts& counts, const Companions& with = {}) {
  const GenerationOptions& options = oracle.options;
  std::vector<TokenId> generated;
  std::vector<Index> layers;
  const auto check = [&](const GeneratedToken& token) {
    const StepOracle::Step step = oracle.step(generated);
    double gap = 0;
    const TokenId expected = test::plain_argmax(step.scores, gap);
    if (gap < 1e-4) {
      ++counts.close;
      return Continue::no;
    }
    ++counts.steps;
    CHECK(token.id == expected);
    if (token.record != nullptr) {
      const StepRecord& record = *token.record;
      CHECK(record.layer == step.layer);
      CHECK(record.chosen.id == token.id);
      const auto check_candidate = [&](const SharpnessCandidate& c) {
        const auto v = static_cast<std::size_t>(c.id);
        CHECK(static_cast<double>(c.log_prob) == doctest::Approx(step.log_probs[v]).epsilon(1e-4));
        CHECK(static_cast<double>(c.entropy) == doctest::Approx(step.entropy[v]).epsilon(1e-4));
        if (std::isfinite(step.scores[v]))
          CHECK(static_cast<double>(c.score) == doctest::Approx(step.scores[v]).epsilon(1e-4));
        else
          CHECK(static_cast<double>(c.score) == step.scores[v]);
      };
      check_candidate(record.chosen);
      for (const SharpnessCandidate& c : record.kept) check_candidate(c);
      CHECK(record.alert == (options.alert_entropy && record.chosen.entropy > *options.alert_entropy));
    }
    layers.push_back(step.layer);
    generated.push_back(token.id);
    return token.id == expected ? Continue::yes : Continue::no;
  };
  const GenerationResult result =
      generate(model, test::numbered(40), oracle.prompt, options, {.on_token = check}, with);
  if (result.reason != FinishReason::length) return;
  std::vector<Index> histogram;
  for (const Index layer : premature_layers(options.mode))
    histogram.push_back(std::count(layers.begin(), layers.end(), layer < 0 ? layer + 6 : layer));
  CHECK(result.layer_histogram == histogram);
}

}  // namespace

TEST_CASE("every mode chooses as processors/README.md 1 to 4 in double, with and without bias, penalties and records") {
  for (const NamedMode& mode : modes()) {
    CAPTURE(mode.name);
    Counts counts;
    for (unsigned seed = 1; seed <= 6; ++seed)
      for (int variant = 0; variant < 4; ++variant) {
        FakeModel model(seed);
        GenerationOptions options = mode.options;
        if (variant % 2 == 1) options.record.emplace();
        test::change_contexts(options, [&](ContextOptions& context) {
          context.info_layer = static_cast<Index>(seed % 6);
          if (seed == 3) context.span = {.begin = 1, .end = 8};
        });
        if (variant >= 2) {
          options.repetition_penalty = 1.3f;
          options.presence_penalty = 0.4f;
          options.frequency_penalty = 0.7f;
          options.logit_bias = {{7, 1.5f}, {12, -std::numeric_limits<float>::infinity()}, {39, -2}};
        }
        if (seed == 4) options.alert_entropy = 1.2f;
        options.prefill_piece = seed % 2 == 0 ? 4 : 512;
        compare(model, {.model = model, .options = options, .prompt = kModesPrompt}, counts);
      }
    CHECK(counts.steps > 200);
    CHECK(counts.close < 10);
  }
}

TEST_CASE("contrastive decoding with another model and with the n-grams of the text") {
  Counts counts;
  for (unsigned seed = 1; seed <= 6; ++seed)
    for (const float relative_top : {0.1f, 0.0f})
      for (const float temperature : {1.0f, 0.5f}) {
        FakeModel model(seed);
        FakeModel weaker(seed + 100);
        ModelAmateur amateur(weaker);
        GenerationOptions options{.mode = Contrastive{.coefficient = 0.6f,
                                                      .student_temperature = temperature,
                                                      .filter = {.relative_top = relative_top}},
                                  .repetition_penalty = seed % 2 == 0 ? 1.2f : 1.0f,
                                  .max_new_tokens = 12};
        compare(model, {.model = model, .options = options, .prompt = kModesPrompt, .amateur = &weaker}, counts,
                {.amateur = &amateur});
        CHECK(weaker.position() == model.position());

        ModelAmateur forgetful(weaker, AmateurPrompt::last_token);
        compare(model, {.model = model, .options = options, .prompt = kModesPrompt, .amateur = &weaker}, counts,
                {.amateur = &forgetful});
        CHECK(weaker.position() == model.position() - static_cast<Index>(kModesPrompt.size()) + 1);

        NgramAmateur ngrams(40);
        options.record.emplace();
        compare(model, {.model = model, .options = options, .prompt = kModesPrompt}, counts, {.amateur = &ngrams});
      }
  CHECK(counts.steps > 600);
  CHECK(counts.close < 20);
}

TEST_CASE("a growing context is that of the whole text so far, computed anew") {
  for (const NamedMode& mode : modes()) {
    const bool reads = context_of(mode.options.mode) != nullptr;
    CAPTURE(mode.name);
    Counts counts;
    int different = 0;
    for (unsigned seed = 1; seed <= 6; ++seed) {
      FakeModel model(seed);
      GenerationOptions options = mode.options;
      options.record.emplace();
      test::set_alpha(options.mode, 2);
      options.max_new_tokens = 20;
      const std::vector<TokenId> fixed = generate(model, test::numbered(40), kModesPrompt, options).ids;
      test::change_contexts(options, [&](ContextOptions& context) {
        context.growth = ContextGrowth::growing;
        context.span.begin = seed % 2;
      });
      compare(model, {.model = model, .options = options, .prompt = kModesPrompt}, counts);
      test::change_contexts(options, [](ContextOptions& context) { context.span.begin = 0; });
      different += generate(model, test::numbered(40), kModesPrompt, options).ids != fixed;
    }
    CHECK(counts.steps > 60);
    if (!reads) CHECK(different == 0);
    if (mode.name == "activation") CHECK(different > 0);
  }
}

TEST_CASE("sampling draws from the scores after temperature and filters with the seed's numbers") {
  Counts counts;
  int unlikely = 0;
  for (const NamedMode& mode : modes())
    for (const std::uint64_t stream : {0u, 5u}) {
      CAPTURE(mode.name);
      FakeModel model(2);
      GenerationOptions options = mode.options;
      options.record.emplace();
      test::change_contexts(options, [](ContextOptions& context) { context.info_layer = 2; });
      options.sampling = SamplingOptions{.temperature = 1.7f, .top_k = 9, .min_p = 0.02f, .seed = 11, .stream = stream};
      const StepOracle oracle{.model = model, .options = options, .prompt = kModesPrompt};
      std::seed_seq sequence{11u, 0u, static_cast<unsigned>(stream), 0u};
      std::mt19937_64 random(sequence);
      std::vector<TokenId> generated;
      const GenerationResult result =
          generate(model, test::numbered(40), kModesPrompt, options, {.on_token = [&](const GeneratedToken& token) {
                     std::vector<double> s = oracle.step(generated).scores;
                     std::vector<double> sorted = s;
                     std::sort(sorted.rbegin(), sorted.rend());
                     double total = 0;
                     for (double& x : s) {
                       x = x < sorted[8] ? 0 : std::exp((x - sorted[0]) / static_cast<double>(1.7f));
                       if (x < static_cast<double>(0.02f)) x = 0;
                       total += x;
                     }
                     const double target = static_cast<double>(random() >> 11) / 9007199254740992.0 * total;
                     double sum = 0;
                     std::size_t v = 0;
                     double edge = 1;
                     for (;; ++v) {
                       sum += s[v];
                       if (s[v] > 0) edge = std::min(edge, std::abs(sum - target) / total);
                       if (sum > target) break;
                     }
                     if (edge < 1e-5) {
                       ++counts.close;
                       return Continue::no;
                     }
                     ++counts.steps;
                     unlikely += s[v] < 1;
                     CHECK(token.id == static_cast<TokenId>(v));
                     generated.push_back(token.id);
                     return Continue::yes;
                   }});
      CHECK((result.reason == FinishReason::length || result.reason == FinishReason::cancelled));
    }
  CHECK(counts.steps > 400);
  CHECK(unlikely > 50);
  CHECK(counts.close < 5);
}

TEST_CASE("without the entropy the same step chooses what alpha 0 chooses, drawn with the same number") {
  FakeModel model(4);
  for (const bool sampled : {false, true})
    for (const Mode& mode :
         {Mode(Activation{.alpha = 1.5f, .filter = {.relative_top = 0.01f}}),
          Mode(ActivationDola{.alpha = 1.5f, .filter = {.relative_top = 0.01f}, .candidate_layers = {1, 3}})}) {
      GenerationOptions options{.mode = mode, .repetition_penalty = 1.1f, .max_new_tokens = 30};
      if (sampled) options.sampling = SamplingOptions{.temperature = 1.2f, .seed = 3};
      int changed = 0;
      TokenId expected = -1;
      generate(model, test::numbered(40), kModesPrompt, options, {.on_token = [&](const GeneratedToken& token) {
                 // One step of the same text with alpha 0: only the first draw has the same number.
                 if (token.step == 0) expected = token.record->without_entropy;
                 changed += token.record->changed();
                 return Continue::yes;
               }});
      CHECK(changed > 0);
      test::set_alpha(options.mode, 0);
      options.max_new_tokens = 1;
      CHECK(generate(model, test::numbered(40), kModesPrompt, options).ids.front() == expected);
    }
}

namespace {

// Bans what is in its list, and lists what it is told.
struct Ban {
  std::vector<TokenId> ids;
  std::vector<TokenId> prompt = {};
  std::vector<TokenId> seen = {};

  void observe_prompt(std::span<const TokenId> all) { prompt.assign(all.begin(), all.end()); }
  void observe(std::span<const TokenId> more) { seen.insert(seen.end(), more.begin(), more.end()); }
  void process(std::span<float> scores) const {
    for (const TokenId id : ids) scores[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
  }
  void process(std::span<const TokenId> candidates, std::span<float> scores) const {
    for (std::size_t i = 0; i < candidates.size(); ++i)
      if (std::find(ids.begin(), ids.end(), candidates[i]) != ids.end())
        scores[i] = -std::numeric_limits<float>::infinity();
  }
};

}  // namespace

TEST_CASE("the caller's processors run after the penalties and before the warpers, on a copy for every text") {
  const GenerationOptions all{
      .repetition_penalty = 2,
      .logit_bias = {{1, 1.0f}},
      .presence_penalty = 1,
      .sampling = SamplingOptions{.temperature = 2, .top_k = 5, .typical_p = 0.9f, .top_p = 0.9f, .min_p = 0.1f}};
  const ProcessorChain mine = ProcessorChain().add("mine", Ban{{1}}).add("yours", Ban{{2}});
  CHECK(make_score_chain(all, &mine, 40).order() ==
        "logit_bias > repetition_penalty > occurrence_penalty > mine > yours > temperature > top_k > typical > top_p > "
        "min_p");
  CHECK(make_score_chain({}, nullptr, 40).empty());

  for (const NamedMode& mode : modes()) {
    FakeModel model(5);
    const std::vector<TokenId> plain = generate(model, test::numbered(40), kModesPrompt, mode.options).ids;
    Ban ban{{plain[0], plain[3]}};
    ProcessorChain shared;
    shared.add("ban", std::ref(ban));
    const auto ids_with = [&](const ProcessorChain& processors) {
      return generate(model, test::numbered(40), kModesPrompt, mode.options, {}, {.processors = &processors}).ids;
    };
    const std::vector<TokenId> ids = ids_with(shared);
    CHECK(ids[0] != plain[0]);
    for (const TokenId id : ban.ids) CHECK(std::find(ids.begin(), ids.end(), id) == ids.end());
    CHECK(ban.prompt == kModesPrompt);
    CHECK(ban.seen == ids);

    ProcessorChain owned;
    owned.add("ban", Ban{ban.ids});
    CHECK(ids_with(owned) == ids);
    CHECK(ids_with(owned) == ids);
  }
}

TEST_CASE("a processor may raise what the filter masked") {
  struct Force {
    void process(std::span<float> scores) const { scores[33] = 1e6f; }
    void process(std::span<const TokenId>, std::span<float>) const {}
  };
  for (const NamedMode& mode : modes()) {
    FakeModel model(6);
    GenerationOptions options = mode.options;
    ProcessorChain processors;
    processors.add("force", Force{});
    options.record.emplace();
    options.max_new_tokens = 3;
    const auto check = [](const GeneratedToken& token) {
      CHECK(token.id == 33);
      CHECK(std::isfinite(token.record->chosen.log_prob));
      CHECK(token.record->chosen.score == 1e6f);
      return Continue::yes;
    };
    generate(model, test::numbered(40), kModesPrompt, options, {.on_token = check}, {.processors = &processors});
  }
}

TEST_CASE("everything banned is an error that says so") {
  for (const NamedMode& mode : modes()) {
    FakeModel model(1);
    GenerationOptions options = mode.options;
    for (TokenId id = 0; id < 40; ++id) options.logit_bias.emplace_back(id, -std::numeric_limits<float>::infinity());
    CHECK_THROWS_WITH_AS(generate(model, test::numbered(40), kModesPrompt, options), "logits: none is above -inf",
                         ArgumentError);
    options.sampling = SamplingOptions{};
    CHECK_THROWS_WITH_AS(generate(model, test::numbered(40), kModesPrompt, options), "scores: none is above -inf",
                         ArgumentError);
  }
}

TEST_CASE("a stop sequence of ids ends the text and stays in it") {
  FakeModel model;
  GenerationOptions options{.mode = Baseline{}, .max_new_tokens = 20};
  const std::vector<TokenId> ids = generate(model, test::numbered(40), kModesPrompt, options).ids;
  options.stop_sequences = {{39, 39, 39}, {ids[2], ids[3]}};
  const GenerationResult result = generate(model, test::numbered(40), kModesPrompt, options);
  CHECK(result.reason == FinishReason::stop_sequence);
  CHECK(result.ids == std::vector<TokenId>(ids.begin(), ids.begin() + 4));
  CHECK(result.text.ends_with("<" + std::to_string(ids[3]) + ">"));
}
