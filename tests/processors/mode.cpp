// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/mode.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include "support/complaint.hpp"

using namespace activation_trace;
using activation_trace::test::complaint;

namespace {

std::vector<std::string> keys_of(const Mode& mode) {
  std::vector<std::string> keys;
  describe(mode, [&](std::string_view key, const auto&, std::string_view help) {
    keys.emplace_back(key);
    CHECK(!help.empty());
  });
  return keys;
}

std::string refusal(const Mode& mode) {
  return complaint([&] { validate(mode); });
}

using Keys = std::vector<std::string>;

constexpr float kModeNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kModeInfinity = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("the default mode is activation decoding as published") {
  CHECK(name(Mode{}) == "activation");
  const Mode plain;
  const auto& mode = std::get<Activation>(plain);
  CHECK(mode.alpha == 0.5f);
  CHECK(mode.filter.relative_top == 0.1f);
  CHECK(mode.filter.min_tokens_to_keep == 1);
  CHECK(!mode.context.info_layer);
  CHECK(mode.context.span == ContextSpan{});
  CHECK(!mode.context.final_norm);
  CHECK(mode.context.growth == ContextGrowth::prompt);
  CHECK(mode.strategy == ContextStrategy::entropy);
}

TEST_CASE("every mode has its name and describes its options") {
  CHECK(name(Baseline{}) == "baseline");
  CHECK(keys_of(Baseline{}) == Keys{"mature_layer"});
  CHECK(name(DolaStatic{}) == "dola_static");
  CHECK(keys_of(DolaStatic{}) == Keys{"premature_layer", "mature_layer", "relative_top", "min_tokens_to_keep"});
  CHECK(name(Dola{}) == "dola");
  CHECK(keys_of(Dola{}) ==
        Keys{"candidate_layers", "mature_layer", "divergence", "relative_top", "min_tokens_to_keep"});
  CHECK(name(Activation{}) == "activation");
  CHECK(keys_of(Activation{}) == Keys{"alpha", "relative_top", "min_tokens_to_keep", "info_layer", "context_span",
                                      "final_norm", "context_growth", "decoding_strategy", "strategy_base",
                                      "subject_key", "majority_threshold", "mature_layer"});
  CHECK(name(ActivationDola{}) == "activation_dola");
  CHECK(keys_of(ActivationDola{}) == Keys{"alpha", "relative_top", "min_tokens_to_keep", "info_layer", "context_span",
                                          "final_norm", "context_growth", "decoding_strategy", "candidate_layers",
                                          "mature_layer", "divergence", "activation_dola_base"});
  CHECK(name(Contrastive{}) == "contrastive");
  CHECK(keys_of(Contrastive{}) ==
        Keys{"contrastive_coefficient", "student_temperature", "mature_layer", "relative_top", "min_tokens_to_keep"});
  std::string names;
  for_each_mode([&](const auto& mode) { names += std::string(mode.name) + " "; });
  CHECK(names == "activation baseline dola_static dola activation_dola contrastive ");
}

TEST_CASE("what is described is what the mode has, to be read and to be changed") {
  Mode mode = Contrastive{.student_temperature = 0.25f, .filter = {.min_tokens_to_keep = 4}};
  float temperature = 0;
  describe(std::as_const(mode), [&](std::string_view key, const auto& value, std::string_view) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, float>)
      if (key == "student_temperature") temperature = value;
  });
  CHECK(temperature == 0.25f);
  describe(mode, [&](std::string_view key, auto& value, std::string_view) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, Index>)
      if (key == "min_tokens_to_keep") value = 9;
  });
  CHECK(std::get<Contrastive>(mode).filter.min_tokens_to_keep == 9);
}

TEST_CASE("modes are values: copies are equal, and any option makes them differ") {
  for_each_mode([](const auto& plain) {
    const Mode mode = plain;
    Mode copy = mode;
    CHECK(copy == mode);
    for (const std::string& changed : keys_of(mode)) {
      CAPTURE(changed);
      describe(copy, [&](std::string_view key, auto& value, std::string_view) {
        using T = std::remove_reference_t<decltype(value)>;
        if (key != changed) return;
        if constexpr (std::is_same_v<T, std::optional<Index>>) value = 1;
        if constexpr (std::is_same_v<T, std::vector<Index>>) value = {1};
        if constexpr (std::is_same_v<T, ContextSpan>) value.begin = 1;
        if constexpr (std::is_same_v<T, std::optional<DolaBase>>) value = DolaBase::logits;
        if constexpr (std::is_same_v<T, bool>) value = !value;
        if constexpr (std::is_same_v<T, Index> || std::is_same_v<T, float>) value += 1;
        if constexpr (NamedEnum<T>) value = EnumNames<T>::all[value == EnumNames<T>::all[0].first].first;
      });
      CHECK(copy != mode);
      copy = mode;
    }
  });
  CHECK(Mode(Baseline{}) != Mode(Activation{}));
  CHECK(Mode(Dola{.candidate_layers = {1}}) != Mode(Dola{.candidate_layers = {2}}));
}

TEST_CASE("an option that cannot be, or makes no sense with another, is refused by name") {
  CHECK(refusal(Baseline{}) == "accepted");
  CHECK(refusal(Activation{}) == "accepted");
  CHECK(refusal(Contrastive{}) == "accepted");
  CHECK(refusal(DolaStatic{.premature_layer = 0}) == "accepted");
  CHECK(refusal(Dola{.candidate_layers = {-2}}) == "accepted");
  CHECK(refusal(ActivationDola{.candidate_layers = {0, 1}}) == "accepted");

  CHECK(refusal(Activation{.alpha = -1}) == "alpha: expected a number >= 0, got -1.000000");
  CHECK(refusal(Activation{.alpha = kModeNan}) == "alpha: expected a number >= 0, got nan");
  CHECK(refusal(ActivationDola{.alpha = kModeInfinity, .candidate_layers = {1}}) ==
        "alpha: expected a number >= 0, got inf");
  CHECK(refusal(Activation{.alpha = 1e30f}) == "accepted");
  CHECK(refusal(Activation{.alpha = 2e30f}).starts_with("alpha: expected a number of at most 1e30, got 2"));
  CHECK(refusal(DolaStatic{}) == "premature_layer: decoding_mode dola_static needs one");
  CHECK(refusal(Dola{}) == "candidate_layers: decoding_mode dola needs at least one");
  CHECK(refusal(ActivationDola{}) == "candidate_layers: decoding_mode activation_dola needs at least one");
  CHECK(refusal(Contrastive{.coefficient = -0.5f}) == "contrastive_coefficient: expected a number >= 0, got -0.500000");
  CHECK(refusal(Contrastive{.coefficient = kModeInfinity}).starts_with("contrastive_coefficient: "));
  CHECK(refusal(Contrastive{.student_temperature = 0}) ==
        "student_temperature: expected a positive number, got 0.000000");
  CHECK(refusal(Contrastive{.student_temperature = kModeNan}).starts_with("student_temperature: "));

  CHECK(refusal(Contrastive{.coefficient = 1e30f}) == "accepted");
  CHECK(refusal(Contrastive{.coefficient = 1e20f, .student_temperature = 1e-20f})
            .starts_with("contrastive_coefficient / student_temperature: expected a number of at most 1e30, got "));

  for (const RelativeTopOptions& filter :
       {RelativeTopOptions{.relative_top = 1.5f}, RelativeTopOptions{.relative_top = -0.1f},
        RelativeTopOptions{.relative_top = kModeNan}})
    for (const Mode& mode :
         {Mode(DolaStatic{.premature_layer = 1, .filter = filter}),
          Mode(Dola{.candidate_layers = {1}, .filter = filter}), Mode(Activation{.filter = filter}),
          Mode(ActivationDola{.filter = filter, .candidate_layers = {1}}), Mode(Contrastive{.filter = filter})})
      CHECK(refusal(mode).starts_with("relative_top: expected a number in [0, 1], got "));
  CHECK(refusal(Activation{.filter = {.min_tokens_to_keep = 0}}).starts_with("min_tokens_to_keep: "));

  CHECK(refusal(Activation{.context = {.span = {-1, 2}}}) == "context span: [-1, 2) is not a range of positions");
  CHECK(refusal(ActivationDola{.context = {.span = {3, 2}}, .candidate_layers = {1}}) ==
        "context span: [3, 2) is not a range of positions");
  CHECK(refusal(Activation{.context = {.growth = ContextGrowth::growing}}) == "accepted");
  CHECK(refusal(Activation{.context = {.span = {.end = 9}, .growth = ContextGrowth::growing}}) ==
        "context_growth growing: the context span ends at 9, so nothing would join it");
}

TEST_CASE("strategies go with the modes that know them, and with what they are added to") {
  for (const auto& entry : EnumNames<ContextStrategy>::all) {
    const std::string strategy(entry.second);
    CAPTURE(strategy);
    const bool plain = strategy == "entropy" || strategy == "single_entropy";
    CHECK(refusal(Activation{.strategy = entry.first}) == "accepted");
    CHECK(refusal(Activation{.strategy = entry.first, .base = StrategyBase::logits}) ==
          (plain ? "strategy_base logits: decoding_strategy " + strategy + " is added to log-probabilities"
                 : "accepted"));
    CHECK(refusal(ActivationDola{.strategy = entry.first, .candidate_layers = {1}}) ==
          (plain ? "accepted"
                 : "decoding_strategy " + strategy +
                       ": decoding_mode activation_dola knows entropy and single_entropy only"));
  }
  CHECK(refusal(Activation{.subject_key = -1}) == "subject_key: expected a position >= 0, got -1");
  CHECK(refusal(Activation{.majority_threshold = 2}) ==
        "majority_threshold: expected a number in [0, 1], got 2.000000");
}

TEST_CASE("of the options of a mode some mean nothing to a strategy") {
  CHECK(has_use(Dola{}, "divergence"));
  CHECK(!has_use(Dola{}, "alpha"));
  CHECK(!has_use(Baseline{}, "no such option"));
  for (const ContextStrategy strategy : {ContextStrategy::entropy, ContextStrategy::subject}) {
    const Mode mode = Activation{.strategy = strategy};
    CAPTURE(name(strategy));
    CHECK(has_use(mode, "alpha"));
    CHECK(has_use(mode, "relative_top"));
    CHECK(has_use(mode, "info_layer"));
    CHECK(has_use(mode, "subject_key") == (strategy == ContextStrategy::subject));
    CHECK(has_use(mode, "strategy_base") == (strategy == ContextStrategy::subject));
    CHECK(!has_use(mode, "majority_threshold"));
  }
  CHECK(has_use(Activation{.strategy = ContextStrategy::majority_voting}, "majority_threshold"));
  // The raw logits pass no filter.
  CHECK(!has_use(Activation{.strategy = ContextStrategy::ema, .base = StrategyBase::logits}, "relative_top"));
  CHECK(!has_use(Activation{.strategy = ContextStrategy::single_entropy}, "alpha"));
  CHECK(!has_use(ActivationDola{.strategy = ContextStrategy::single_entropy}, "alpha"));
  CHECK(has_use(ActivationDola{.strategy = ContextStrategy::single_entropy}, "relative_top"));
}

TEST_CASE("what modes have in common can be asked without naming them") {
  CHECK(entropy_weight(Activation{.alpha = 0.7f}) == 0.7f);
  CHECK(entropy_weight(Activation{.alpha = 0.7f, .strategy = ContextStrategy::single_entropy}) == 0.0f);
  CHECK(entropy_weight(Activation{.alpha = 0.7f, .strategy = ContextStrategy::ema}) == 0.0f);
  CHECK(entropy_weight(ActivationDola{.alpha = 2}) == 2.0f);
  CHECK(entropy_weight(ActivationDola{.alpha = 2, .strategy = ContextStrategy::single_entropy}) == 0.0f);
  for (const Mode& mode : {Mode(Baseline{}), Mode(DolaStatic{}), Mode(Dola{}), Mode(Contrastive{})}) {
    CHECK(!entropy_weight(mode).has_value());
    CHECK(context_of(mode) == nullptr);
  }
  using Layers = std::vector<Index>;
  CHECK(premature_layers(DolaStatic{.premature_layer = -3}) == Layers{-3});
  CHECK(premature_layers(DolaStatic{}).empty());
  CHECK(premature_layers(Dola{.candidate_layers = {4, 0}}) == Layers{4, 0});
  CHECK(premature_layers(ActivationDola{.candidate_layers = {2}}) == Layers{2});
  for (const Mode& mode : {Mode(Baseline{}), Mode(Activation{}), Mode(Contrastive{})})
    CHECK(premature_layers(mode).empty());
  for (const Mode& mode : {Mode(Baseline{.mature_layer = 7}), Mode(DolaStatic{.mature_layer = 7}),
                           Mode(Dola{.mature_layer = 7}), Mode(Activation{.mature_layer = 7}),
                           Mode(ActivationDola{.mature_layer = 7}), Mode(Contrastive{.mature_layer = 7})}) {
    CHECK(mature_layer(mode) == 7);
    CHECK((filter_of(mode) == nullptr) == std::holds_alternative<Baseline>(mode));
  }
  CHECK(!mature_layer(Activation{}).has_value());
  const Mode read = ActivationDola{.filter = {.relative_top = 0.3f}, .context = {.info_layer = -2}};
  CHECK(context_of(read)->info_layer == -2);
  CHECK(filter_of(read)->relative_top == 0.3f);
}
