// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/generation/validate.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "generation/fake_model.hpp"

using namespace activation_trace;
using activation_trace::test::FakeModel;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kUnbounded = std::numeric_limits<float>::infinity();

// The complaint about the options, empty if there is none.
std::string complaint(const GenerationOptions& options) {
  try {
    validate(options);
  } catch (const ArgumentError& e) {
    return e.what();
  }
  return "";
}

// The same of options that have been changed.
template <class Change>
requires std::is_invocable_v<Change, GenerationOptions&> std::string complaint(Change change) {
  GenerationOptions options;
  change(options);
  return complaint(options);
}

// The same with sampling on.
template <class Change>
std::string sampling_complaint(Change change) {
  return complaint([&](GenerationOptions& o) { change(o.sampling.emplace()); });
}

std::string beams_complaint(auto change) {
  return complaint([&](GenerationOptions& o) {
    o.beams.count = 4;
    change(o);
  });
}

using Options = GenerationOptions;

}  // namespace

TEST_CASE("every mode is valid with what it needs") {
  CHECK(complaint(Options{}).empty());
  CHECK(complaint({.mode = Baseline{}}).empty());
  CHECK(complaint({.mode = Contrastive{}}).empty());  // an amateur is loaded later
  CHECK(complaint({.mode = DolaStatic{.premature_layer = 3}}).empty());
  CHECK(complaint({.mode = Dola{.candidate_layers = {3}}}).empty());
  CHECK(complaint({.mode = ActivationDola{.candidate_layers = {3}}}).empty());
  CHECK(complaint({.mode = Baseline{}, .record = RecordOptions{}}).empty());
  CHECK(sampling_complaint([](SamplingOptions&) {}).empty());
  CHECK(beams_complaint([](Options&) {}).empty());
}

TEST_CASE("values that cannot be are refused by name") {
  // Those of the modes: processors/mode.cpp.
  CHECK(complaint({.mode = Activation{.alpha = -1}}) == "alpha: expected a number >= 0, got -1.000000");
  CHECK(complaint({.mode = ActivationDola{}}) == "candidate_layers: decoding_mode activation_dola needs at least one");
  CHECK(complaint({.mode = Contrastive{.student_temperature = 0}}).starts_with("student_temperature: "));
  CHECK(complaint({.mode = Baseline{}, .record = RecordOptions{.filter = {.relative_top = 1.5f}}})
            .starts_with("relative_top: "));
  CHECK(complaint({.mode = Baseline{}, .record = RecordOptions{.context = {.span = {3, 2}}}}) ==
        "context span: [3, 2) is not a range of positions");
  CHECK(complaint([](Options& o) { o.repetition_penalty = 0; }).starts_with("repetition_penalty: "));
  CHECK(complaint([](Options& o) { o.presence_penalty = kUnbounded; }).starts_with("presence_penalty: "));
  CHECK(complaint([](Options& o) { o.frequency_penalty = kNan; }).starts_with("frequency_penalty: "));
  CHECK(complaint([](Options& o) { o.max_new_tokens = -1; }) == "max_new_tokens: must not be negative, got -1");
  CHECK(complaint([](Options& o) { o.prefill_piece = 0; }).starts_with("prefill_piece: "));
  CHECK(complaint([](Options& o) { o.alert_entropy = -0.5f; }).starts_with("alert_entropy: "));
  CHECK(complaint([](Options& o) { o.beams.count = 0; }) == "beams: expected at least 1, got 0");
  CHECK(beams_complaint([](Options& o) { o.beams.length_penalty = kNan; }).starts_with("length_penalty: "));
  CHECK(complaint([](Options& o) { o.stop = {"a", ""}; }).starts_with("stop: "));
  CHECK(complaint([](Options& o) { o.stop_sequences = {{1}, {}}; }).starts_with("stop_sequences: "));
  CHECK(complaint([](Options& o) {
          o.logit_bias = {{1, std::numeric_limits<float>::quiet_NaN()}};
        }).starts_with("logit_bias: "));
  CHECK(complaint([](Options& o) { o.logit_bias = {{1, 2.0f}, {1, 3.0f}}; }).starts_with("logit_bias: "));
  CHECK(sampling_complaint([](SamplingOptions& s) { s.temperature = 0; }).starts_with("temperature: "));
  CHECK(sampling_complaint([](SamplingOptions& s) { s.temperature = kUnbounded; }).starts_with("temperature: "));
  CHECK(sampling_complaint([](SamplingOptions& s) { s.top_k = -1; }).starts_with("top_k: "));
  CHECK(sampling_complaint([](SamplingOptions& s) { s.typical_p = 0; }).starts_with("typical_p: "));
  CHECK(sampling_complaint([](SamplingOptions& s) { s.top_p = 1.1f; }).starts_with("top_p: "));
  CHECK(sampling_complaint([](SamplingOptions& s) { s.min_p = -0.1f; }).starts_with("min_p: "));
}

TEST_CASE("what makes no sense together is refused by name") {
  constexpr ContextOptions growing{.growth = ContextGrowth::growing};
  CHECK(complaint({.mode = Activation{.context = growing}}).empty());
  CHECK(complaint({.mode = Baseline{}, .record = RecordOptions{.context = growing}}).empty());
  const ContextOptions cut{.span = {.end = 9}, .growth = ContextGrowth::growing};
  CHECK(complaint({.mode = Activation{.context = cut}}) ==
        "context_growth growing: the context span ends at 9, so nothing would join it");
  CHECK(complaint({.mode = Baseline{}, .record = RecordOptions{.context = cut}}).starts_with("context_growth growing"));

  CHECK(beams_complaint([](Options& o) { o.sampling.emplace(); }).starts_with("sampling: not with beams"));
  CHECK(beams_complaint([](Options& o) { o.stop = {"x"}; }).starts_with("stop: not with beams"));
  CHECK(beams_complaint([](Options& o) { o.alert_entropy = 1.0f; }).starts_with("alert_entropy: not with beams"));
  CHECK(beams_complaint([](Options& o) { o.record.emplace(); }).starts_with("record: not with beams"));
  CHECK(beams_complaint([&](Options& o) {
          o.mode = Activation{.context = growing};
        }).starts_with("context_growth growing: not with beams"));
}

TEST_CASE("what does not fit the model or the prompts is refused before anything is computed") {
  FakeModel model(1, 16, 2);
  const auto refused = [&](auto change, const Companions& with = {}) -> std::string {
    GenerationOptions options{.max_new_tokens = 4};
    change(options);
    try {
      generate(model, test::numbered(40), std::vector<TokenId>{1, 2, 3}, options, {}, with);
    } catch (const ArgumentError& e) {
      CHECK(model.calls.empty());
      return e.what();
    }
    model.calls.clear();
    return "";
  };
  const auto refused_mode = [&](const Mode& mode) { return refused([&](Options& o) { o.mode = mode; }); };
  CHECK(refused([](Options&) {}).empty());
  CHECK(refused_mode(Activation{.alpha = -1}).starts_with("alpha: "));
  CHECK(refused([](Options& o) { o.eos = {40}; }) == "eos: 40 is not in the vocabulary of 40");
  CHECK(refused([](Options& o) { o.logit_bias = {{41, 1.0f}}; }) == "logit_bias: 41 is not in the vocabulary of 40");
  CHECK(refused_mode(Activation{.context = {.info_layer = 6}}).starts_with("layer 6 does not exist"));
  CHECK(refused([](Options& o) {
          o.mode = Baseline{};
          o.record = RecordOptions{.context = {.info_layer = -7}};
        }).starts_with("layer -7 does not exist"));
  CHECK(refused_mode(Baseline{.mature_layer = -7}).starts_with("layer -7 does not exist"));
  const auto dola = [&](std::vector<Index> layers, std::optional<Index> mature = {}) {
    return refused_mode(Dola{.candidate_layers = std::move(layers), .mature_layer = mature});
  };
  CHECK(dola({0, 4}).empty());
  CHECK(dola({0, 6}).starts_with("layer 6 does not exist"));
  CHECK(dola({2, -1}) == "candidate_layers: -1 is the mature layer, 5");
  CHECK(dola({2, 3}, 3) == "candidate_layers: 3 is the mature layer, 3");
  CHECK(dola({2, 3, -4}) == "candidate_layers: layer 2 is there twice");
  CHECK(refused([](Options& o) { o.beams.count = 3; }) == "beams: 3 need as many sequences of the model, which has 2");

  const auto contrastive = [&](Amateur* amateur, Index beams = 1) {
    return refused(
        [&](Options& o) {
          o.mode = Contrastive{};
          o.beams.count = beams;
        },
        {.amateur = amateur});
  };
  NgramAmateur fitting(40);
  NgramAmateur other_vocabulary(41);
  FakeModel short_model(2, 6);
  ModelAmateur short_context(short_model);
  CHECK(refused([](Options&) {}, {.amateur = &fitting}) == "amateur: decoding_mode activation has no use for one");
  CHECK(contrastive(&fitting).empty());
  CHECK(contrastive(nullptr) == "amateur: decoding_mode contrastive needs one");
  CHECK(contrastive(&other_vocabulary) == "amateur: its vocabulary has 41 tokens, the model's 40");
  CHECK(contrastive(&fitting, 2) == "beams: 2 need as many sequences of the amateur, which has 1");
  CHECK(contrastive(&short_context) == "amateur: its context of 6 tokens is too short for the 7 of prompt and answer");

  const auto batch = [&](const std::vector<std::vector<TokenId>>& prompts) {
    generate_batch(model, [] { return test::numbered(40); }, prompts, {});
  };
  CHECK_THROWS_WITH_AS(batch({{1}, {}}), "prompt 1: it is empty", ArgumentError);
  CHECK_THROWS_WITH_AS(batch({std::vector<TokenId>(17), {1}}),
                       "prompt 0: its 17 tokens do not fit into a context of 16", ArgumentError);
  CHECK(model.calls.empty());
}

TEST_CASE("amateurs refuse what they cannot be") {
  CHECK_THROWS_AS(NgramAmateur(0), ArgumentError);
  CHECK_THROWS_AS(NgramAmateur(40, {}, 0), ArgumentError);
}
