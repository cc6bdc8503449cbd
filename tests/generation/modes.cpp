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
  const GenerationOptions common{.alpha = 0.7f, .max_new_tokens = 12};
  const auto with = [&](DecodingMode mode, auto change) {
    GenerationOptions options = common;
    options.decoding_mode = mode;
    change(options);
    return options;
  };
  const auto nothing = [](GenerationOptions&) {};
  std::vector<NamedMode> all{
      {"baseline", with(DecodingMode::baseline, nothing)},
      {"mature layer", with(DecodingMode::baseline, [](GenerationOptions& o) { o.mature_layer = -2; })},
      {"static", with(DecodingMode::dola_static, [](GenerationOptions& o) { o.candidate_layers = {2}; })},
      {"raw static", with(DecodingMode::dola_static,
                          [](GenerationOptions& o) {
                            o.candidate_layers = {-4};
                            o.relative_top = 0;
                          })},
      {"dola", with(DecodingMode::dola,
                    [](GenerationOptions& o) {
                      o.candidate_layers = {0, 2, 4, 3};
                    })},
      {"dola, Jensen-Shannon", with(DecodingMode::dola,
                                    [](GenerationOptions& o) {
                                      o.candidate_layers = {0, 1, -2};
                                      o.divergence = LayerDivergence::jensen_shannon;
                                      o.relative_top = 0.02f;
                                    })},
      {"dola, early mature layer", with(DecodingMode::dola,
                                        [](GenerationOptions& o) {
                                          o.candidate_layers = {0, 1, 2};
                                          o.mature_layer = 4;
                                        })},
      {"activation", with(DecodingMode::activation, nothing)},
      {"no filter", with(DecodingMode::activation, [](GenerationOptions& o) { o.relative_top = 0; })},
      {"kept tokens", with(DecodingMode::activation,
                           [](GenerationOptions& o) {
                             o.relative_top = 1;
                             o.min_tokens_to_keep = 6;
                           })},
      {"activation_dola", with(DecodingMode::activation_dola,
                               [](GenerationOptions& o) {
                                 o.candidate_layers = {0, 2, 4};
                               })},
      {"corrected activation_dola", with(DecodingMode::activation_dola,
                                         [](GenerationOptions& o) {
                                           o.candidate_layers = {1, 3};
                                           o.activation_dola_base = DolaBase::log_probs;
                                           o.divergence = LayerDivergence::jensen_shannon;
                                         })},
      {"activation_dola, unfiltered", with(DecodingMode::activation_dola,
                                           [](GenerationOptions& o) {
                                             o.candidate_layers = {1, 3};
                                             o.relative_top = 0;
                                           })},
      {"activation_dola, single_entropy", with(DecodingMode::activation_dola,
                                               [](GenerationOptions& o) {
                                                 o.candidate_layers = {1, 3};
                                                 o.strategy = DecodingStrategy::single_entropy;
                                               })},
  };
  for (const auto strategy :
       {DecodingStrategy::single_entropy, DecodingStrategy::subject, DecodingStrategy::entropy_inverse,
        DecodingStrategy::tendency, DecodingStrategy::ema, DecodingStrategy::majority_voting})
    for (const StrategyBase base : {StrategyBase::log_probs, StrategyBase::logits}) {
      if (strategy == DecodingStrategy::single_entropy && base == StrategyBase::logits) continue;
      all.push_back({std::string(name(strategy)) + (base == StrategyBase::logits ? " on logits" : ""),
                     with(DecodingMode::activation, [&](GenerationOptions& o) {
                       o.strategy = strategy;
                       o.strategy_base = base;
                       o.subject_key = 3;
                       o.majority_threshold = 0.1f;
                       o.alpha = base == StrategyBase::logits ? 2 : 0.2f;
                     })});
    }
  return all;
}

struct Counts {
  int steps = 0;
  int close = 0;  // a gap below the rounding of float: the text is not followed further
};

// Generates and compares tokens, layers and records with the oracle.
void compare(FakeModel& model, const StepOracle& oracle, Counts& counts) {
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
  const GenerationResult result = generate(model, test::numbered(40), oracle.prompt, options, {.on_token = check});
  if (result.reason != FinishReason::length) return;
  std::vector<Index> histogram;
  for (const Index layer : options.candidate_layers)
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
        options.info_layer = static_cast<Index>(seed % 6);
        if (variant % 2 == 1) options.recording = Recording::always;
        if (variant >= 2) {
          options.repetition_penalty = 1.3f;
          options.presence_penalty = 0.4f;
          options.frequency_penalty = 0.7f;
          options.logit_bias = {{7, 1.5f}, {12, -std::numeric_limits<float>::infinity()}, {39, -2}};
        }
        if (seed == 3) options.context = {.begin = 1, .end = 8};
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
        GenerationOptions options{.decoding_mode = DecodingMode::contrastive,
                                  .relative_top = relative_top,
                                  .repetition_penalty = seed % 2 == 0 ? 1.2f : 1.0f,
                                  .max_new_tokens = 12,
                                  .amateur = &amateur,
                                  .contrastive_coefficient = 0.6f,
                                  .student_temperature = temperature};
        compare(model, {.model = model, .options = options, .prompt = kModesPrompt, .amateur = &weaker}, counts);
        CHECK(weaker.position() == model.position());

        ModelAmateur forgetful(weaker, AmateurPrompt::last_token);
        options.amateur = &forgetful;
        compare(model, {.model = model, .options = options, .prompt = kModesPrompt, .amateur = &weaker}, counts);
        CHECK(weaker.position() == model.position() - static_cast<Index>(kModesPrompt.size()) + 1);

        NgramAmateur ngrams(40);
        options.amateur = &ngrams;
        options.recording = Recording::always;
        compare(model, {.model = model, .options = options, .prompt = kModesPrompt}, counts);
      }
  CHECK(counts.steps > 600);
  CHECK(counts.close < 20);
}

TEST_CASE("a growing context is that of the whole text so far, computed anew") {
  for (const NamedMode& mode : modes()) {
    const bool reads = uses_context(mode.options.decoding_mode);
    CAPTURE(mode.name);
    Counts counts;
    int different = 0;
    for (unsigned seed = 1; seed <= 6; ++seed) {
      FakeModel model(seed);
      GenerationOptions options = mode.options;
      options.recording = Recording::always;
      options.alpha = 2;
      options.max_new_tokens = 20;
      const std::vector<TokenId> fixed = generate(model, test::numbered(40), kModesPrompt, options).ids;
      options.context_growth = ContextGrowth::growing;
      options.context.begin = seed % 2;
      compare(model, {.model = model, .options = options, .prompt = kModesPrompt}, counts);
      options.context.begin = 0;
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
      options.info_layer = 2;
      options.recording = Recording::always;
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
    for (const DecodingMode mode : {DecodingMode::activation, DecodingMode::activation_dola}) {
      GenerationOptions options{.decoding_mode = mode, .alpha = 1.5f, .relative_top = 0.01f, .max_new_tokens = 30};
      options.repetition_penalty = 1.1f;
      if (mode == DecodingMode::activation_dola) options.candidate_layers = {1, 3};
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
      options.alpha = 0;
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
      .processors = ProcessorChain().add("mine", Ban{{1}}).add("yours", Ban{{2}}),
      .sampling = SamplingOptions{.temperature = 2, .top_k = 5, .typical_p = 0.9f, .top_p = 0.9f, .min_p = 0.1f}};
  CHECK(make_score_chain(all, 40).order() ==
        "logit_bias > repetition_penalty > occurrence_penalty > mine > yours > temperature > top_k > typical > top_p > "
        "min_p");
  CHECK(make_score_chain({}, 40).empty());

  for (const NamedMode& mode : modes()) {
    FakeModel model(5);
    const std::vector<TokenId> plain = generate(model, test::numbered(40), kModesPrompt, mode.options).ids;
    Ban ban{{plain[0], plain[3]}};
    GenerationOptions options = mode.options;
    options.processors.add("ban", std::ref(ban));
    const std::vector<TokenId> ids = generate(model, test::numbered(40), kModesPrompt, options).ids;
    CHECK(ids[0] != plain[0]);
    for (const TokenId id : ban.ids) CHECK(std::find(ids.begin(), ids.end(), id) == ids.end());
    CHECK(ban.prompt == kModesPrompt);
    CHECK(ban.seen == ids);

    GenerationOptions owned = mode.options;
    owned.processors.add("ban", Ban{ban.ids});
    CHECK(generate(model, test::numbered(40), kModesPrompt, owned).ids == ids);
    CHECK(generate(model, test::numbered(40), kModesPrompt, owned).ids == ids);
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
    options.processors.add("force", Force{});
    options.recording = Recording::always;
    options.max_new_tokens = 3;
    generate(model, test::numbered(40), kModesPrompt, options, {.on_token = [&](const GeneratedToken& token) {
               CHECK(token.id == 33);
               CHECK(std::isfinite(token.record->chosen.log_prob));
               CHECK(token.record->chosen.score == 1e6f);
               return Continue::yes;
             }});
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
  GenerationOptions options{.decoding_mode = DecodingMode::baseline, .max_new_tokens = 20};
  const std::vector<TokenId> ids = generate(model, test::numbered(40), kModesPrompt, options).ids;
  options.stop_sequences = {{39, 39, 39}, {ids[2], ids[3]}};
  const GenerationResult result = generate(model, test::numbered(40), kModesPrompt, options);
  CHECK(result.reason == FinishReason::stop_sequence);
  CHECK(result.ids == std::vector<TokenId>(ids.begin(), ids.begin() + 4));
  CHECK(result.text.ends_with("<" + std::to_string(ids[3]) + ">"));
}
