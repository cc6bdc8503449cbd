// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "activation_trace/tokenizer/chat_template.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "support/real_model.hpp"
#include "tokenizer/golden.hpp"

using namespace activation_trace;

TEST_CASE("SmolLM2's own tokenizer encodes every golden string as tokenizers does") {
  const Tokenizer tokenizer = load_tokenizer(activation_trace::test::real_model_or_skip());
  CHECK(tokenizer.vocab_size() == 49152);
  CHECK(tokenizer.bos() == 1);
  CHECK(tokenizer.eos() == 2);
  CHECK_FALSE(tokenizer.settings().add_bos);
  const auto strings = test::golden_strings();
  for (const auto special : {SpecialTokens::as_text, SpecialTokens::parse}) {
    const auto expected = test::golden_ids(special == SpecialTokens::parse ? "smollm2.parse.ids" : "smollm2.ids");
    REQUIRE(expected.size() == strings.size());
    for (std::size_t i = 0; i < strings.size(); ++i) {
      CAPTURE(i);
      REQUIRE(tokenizer.encode(strings[i], special) == expected[i]);
    }
  }
  const auto chat = ChatTemplate::recognise(tokenizer.settings().chat_template);
  CHECK(chat.format() == ChatFormat::chatml);
  CHECK(chat.default_system() == "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
}
