// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/mode_text.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/complaint.hpp"

using namespace activation_trace;
using activation_trace::test::complaint;

namespace {

// Values of every key, none of them a default.
const std::map<std::string, std::vector<std::string>> kValues{
    {"alpha", {"0.25", "0", "1e-05", "12", "3.4028235e+38"}},
    {"relative_top", {"0", "1", "0.001"}},
    {"min_tokens_to_keep", {"2", "1000000"}},
    {"info_layer", {"0", "26", "-1", "-33"}},
    {"context_span", {"1:", "0:9", "3:4"}},
    {"final_norm", {"true"}},
    {"context_growth", {"growing"}},
    {"decoding_strategy", {"single_entropy", "subject", "entropy_inverse", "tendency", "ema", "majority_voting"}},
    {"strategy_base", {"logits"}},
    {"subject_key", {"3"}},
    {"majority_threshold", {"0.5"}},
    {"mature_layer", {"0", "-2", "31"}},
    {"premature_layer", {"0", "-3"}},
    {"candidate_layers", {"4", "0,2,4", "-2,16"}},
    {"divergence", {"jensen_shannon"}},
    {"activation_dola_base", {"logits", "log_probs"}},
    {"contrastive_coefficient", {"0.5"}},
    {"student_temperature", {"0.75", "2"}}};

Mode changed(Mode mode, const std::string& key, const std::string& text) {
  set_option(mode, key, text);
  return mode;
}

std::string refusal(Mode mode, const std::string& key, const std::string& text) {
  const Mode before = mode;
  const std::string said = complaint([&] { set_option(mode, key, text); });
  if (said != "accepted") CHECK(mode == before);
  return said;
}

// What an option of the mode is written as, from to_text(); "" if it has no value.
std::string written(const Mode& mode, const std::string& key) {
  const std::string text = to_text(mode) + ", ";
  std::size_t begin = text.find(": " + key + " ");
  if (begin == std::string::npos) begin = text.find(", " + key + " ");
  if (begin == std::string::npos) return "";
  begin += key.size() + 3;
  return text.substr(begin, text.find(", ", begin) - begin);
}

}  // namespace

TEST_CASE("modes as text") {
  CHECK(to_text(Baseline{}) == "baseline");
  CHECK(to_text(Baseline{.mature_layer = -2}) == "baseline: mature_layer -2");
  CHECK(to_text(Activation{}) ==
        "activation: alpha 0.5, relative_top 0.1, min_tokens_to_keep 1, context_span 0:, final_norm false, "
        "context_growth prompt, decoding_strategy entropy, strategy_base log_probs, subject_key 0, "
        "majority_threshold 0.001");
  CHECK(to_text(Dola{.candidate_layers = {0, 2, -4}, .mature_layer = 30}) ==
        "dola: candidate_layers 0,2,-4, mature_layer 30, divergence reference, relative_top 0.1, "
        "min_tokens_to_keep 1");
  CHECK(to_text(Contrastive{.student_temperature = 0.5f}) ==
        "contrastive: contrastive_coefficient 1, student_temperature 0.5, relative_top 0.1, min_tokens_to_keep 1");
}

TEST_CASE("every option of every mode is written as it is read") {
  std::set<std::string> seen;
  for_each_mode([&](const auto& plain) {
    const Mode mode = plain;
    describe(mode, [&](std::string_view key_text, const auto&, std::string_view) {
      const std::string key(key_text);
      CAPTURE(key);
      seen.insert(key);
      REQUIRE(kValues.contains(key));
      for (const std::string& text : kValues.at(key)) {
        CAPTURE(text);
        const Mode set = changed(mode, key, text);
        CHECK(set != mode);
        CHECK(written(set, key) == text);
        CHECK(changed(mode, key, written(set, key)) == set);
        const std::string before = written(mode, key);
        if (!before.empty()) CHECK(changed(set, key, before) == mode);
      }
    });
  });
  CHECK(seen.size() == kValues.size());
}

TEST_CASE("options land where their names say") {
  CHECK(changed(Activation{}, "alpha", "0.25") == Mode(Activation{.alpha = 0.25f}));
  CHECK(changed(Activation{}, "alpha", "+1e1") == Mode(Activation{.alpha = 10}));
  CHECK(changed(Activation{}, "info_layer", "-1") == Mode(Activation{.context = {.info_layer = -1}}));
  CHECK(changed(Activation{}, "context_growth", "growing") ==
        Mode(Activation{.context = {.growth = ContextGrowth::growing}}));
  CHECK(changed(Activation{}, "decoding_strategy", "ema") == Mode(Activation{.strategy = ContextStrategy::ema}));
  CHECK(changed(Activation{}, "strategy_base", "logits") == Mode(Activation{.base = StrategyBase::logits}));
  CHECK(changed(ActivationDola{}, "activation_dola_base", "log_probs") ==
        Mode(ActivationDola{.base = DolaBase::log_probs}));
  CHECK(changed(Dola{}, "divergence", "jensen_shannon") == Mode(Dola{.divergence = LayerDivergence::jensen_shannon}));
  CHECK(changed(Dola{}, "candidate_layers", "0,-2,+4") == Mode(Dola{.candidate_layers = {0, -2, 4}}));
  CHECK(changed(DolaStatic{}, "premature_layer", "8") == Mode(DolaStatic{.premature_layer = 8}));
  CHECK(changed(Contrastive{}, "contrastive_coefficient", "0.5") == Mode(Contrastive{.coefficient = 0.5f}));
  for (const std::string yes : {"true", "1", "on"})
    CHECK(changed(Activation{}, "final_norm", yes) == Mode(Activation{.context = {.final_norm = true}}));
  for (const std::string no : {"false", "0", "off"})
    CHECK(changed(Activation{.context = {.final_norm = true}}, "final_norm", no) == Mode(Activation{}));
  const auto span = [](const std::string& text) {
    return std::get<Activation>(changed(Activation{}, "context_span", text)).context.span;
  };
  CHECK(span("1:") == ContextSpan::without_bos());
  CHECK(span(":") == ContextSpan{});
  CHECK(span(":7") == ContextSpan{0, 7});
  CHECK(span("2:7") == ContextSpan{2, 7});
}

TEST_CASE("a text that is no value of the option is refused, with what was expected") {
  CHECK(refusal(Activation{}, "alpha", "x") == "alpha: expected a number, got x");
  for (const std::string text : {"", "nan", "-nan", "0.5x", "0.5 ", " 0.5", "1e99", "++1", "+-1", "0,5", "0x10", "."})
    CHECK(refusal(Activation{}, "alpha", text) == "alpha: expected a number, got " + text);
  for (const std::string text : {"", "1.0", "1e3", "two", "9223372036854775808", "3-", "--3", "1,2", "+-2"})
    CHECK(refusal(Activation{}, "subject_key", text) == "subject_key: expected a whole number, got " + text);
  CHECK(refusal(Activation{}, "info_layer", "last") == "info_layer: expected a whole number, got last");
  CHECK(refusal(Activation{}, "info_layer", "") == "info_layer: expected a whole number, got ");
  for (const std::string text : {"", "yes", "True", "2"})
    CHECK(refusal(Activation{}, "final_norm", text) == "final_norm: expected true or false, got " + text);
  CHECK(refusal(Activation{}, "context_growth", "grow") == "context_growth: expected prompt|growing, got grow");
  CHECK(refusal(Activation{}, "decoding_strategy", "Entropy") ==
        "decoding_strategy: expected "
        "entropy|single_entropy|subject|entropy_inverse|tendency|ema|majority_voting, got Entropy");
  CHECK(refusal(ActivationDola{}, "activation_dola_base", "") ==
        "activation_dola_base: expected logits|log_probs, got ");
  for (const std::string text : {"", "1,", ",1", "1,,2", "1;2", "1, 2", "all", "1.5"})
    CHECK(refusal(Dola{}, "candidate_layers", text) ==
          "candidate_layers: expected a whole number or several, separated by commas, got " + text);
  for (const std::string text : {"", "5", "4:4", "5:4", "-1:4", "1:-1", "a:b", "1:2:3", "1 :2"})
    CHECK(refusal(Activation{}, "context_span", text) ==
          "context_span: expected BEGIN:END with 0 <= BEGIN < END, either may be left out, got " + text);
}

TEST_CASE("a key that the mode has no use for, and a name that no mode has, are refused") {
  CHECK(refusal(Baseline{}, "alpha", "1") == "alpha: decoding_mode baseline has no use for it");
  CHECK(refusal(Activation{}, "candidate_layers", "1") ==
        "candidate_layers: decoding_mode activation has no use for it");
  CHECK(refusal(Contrastive{}, "", "1") == ": decoding_mode contrastive has no use for it");
  for_each_mode([](const auto& mode) { CHECK(mode_named(mode.name) == Mode(mode)); });
  CHECK(complaint([] { static_cast<void>(mode_named("greedy")); }) ==
        "decoding_mode: expected activation|baseline|dola_static|dola|activation_dola|contrastive, got greedy");
  CHECK(complaint([] { static_cast<void>(mode_named("")); }).ends_with(", got "));
}

TEST_CASE("impossible values are for validate(), not for the reader") {
  const Mode mode = changed(Activation{}, "alpha", "-1");
  CHECK(std::get<Activation>(mode).alpha == -1);
  CHECK(complaint([&] { validate(mode); }) == "alpha: expected a number >= 0, got -1.000000");
  CHECK(complaint([] { validate(changed(Activation{}, "alpha", "inf")); }) == "alpha: expected a number >= 0, got inf");
}
