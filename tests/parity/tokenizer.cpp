// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "parity/golden.hpp"
#include "support/real_model.hpp"

namespace activation_trace::test {

TEST_CASE("The prompts become the ids that PyPI's tokenizers gives, and come back as text") {
  const Tokenizer tokenizer = load_tokenizer(real_model_or_skip());
  const GoldenFile golden("smollm2_states.safetensors");
  for (const GoldenPrompt& prompt : golden_prompts()) {
    CAPTURE(prompt.name);
    const auto expected = golden.get<std::int32_t>(prompt.name + ".ids");
    CHECK(tokenizer.encode_prompt(prompt.text, SpecialTokens::parse) == expected);
    CHECK(tokenizer.decode(expected, ControlTokens::show) == prompt.text);
  }
}

TEST_CASE("Greedy continuations come back as the text that PyPI's tokenizers gives") {
  const Tokenizer tokenizer = load_tokenizer(real_model_or_skip());
  const GoldenFile golden("smollm2_decoding.safetensors");
  const auto facts = nlohmann::json::parse(read_golden("smollm2.json"));
  for (const GoldenPrompt& prompt : golden_prompts()) {
    CAPTURE(prompt.name);
    const auto tokens = golden.get<std::int32_t>(prompt.name + ".greedy.tokens");
    CHECK(tokenizer.decode(tokens, ControlTokens::show) ==
          facts.at("prompts").at(prompt.name).at("greedy").get<std::string>());
  }
}

}  // namespace activation_trace::test
