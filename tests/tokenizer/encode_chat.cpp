// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// No message's text becomes a control token, whatever the format and the tokenizer; harmless messages have the ids of
// the rendered text.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/tokenizer/chat_template.hpp"
#include "tokenizer/golden.hpp"

using namespace activation_trace;

namespace {

const std::vector<std::string> marks{"<s>",
                                     "</s>",
                                     "<|im_start|>",
                                     "<|im_end|>",
                                     "<|endoftext|>",
                                     "<|begin_of_text|>",
                                     "<|eot_id|>",
                                     "<|user|>",
                                     "<|assistant|>",
                                     "<|system|>",
                                     "<|end|>",
                                     "<|start_header_id|>",
                                     "<|end_of_text|>",
                                     "<|end_header_id|>",
                                     "<start_of_turn>",
                                     "<end_of_turn>",
                                     "<bos>",
                                     "[INST]",
                                     "[/INST]",
                                     "[SYSTEM_PROMPT]",
                                     "<|start_of_role|>",
                                     "<|end_of_role|>",
                                     "<\uff5cUser\uff5c>",
                                     "<\uff5cAssistant\uff5c>",
                                     "<\uff5cend\u2581of\u2581sentence\uff5c>"};

/// A byte-level vocabulary with every mark, each a token of that type, and a user-defined token that is none.
Tokenizer byte_tokenizer(const char* name, const char* pre, bool user_defined) {
  auto json = nlohmann::json::parse(test::read_golden(std::string("vocabularies/") + name));
  std::size_t next = 0;
  for (const auto& [text, id] : json["model"]["vocab"].items()) next = std::max(next, id.get<std::size_t>() + 1);
  for (auto& token : json["added_tokens"]) next = std::max(next, token["id"].get<std::size_t>() + 1);
  const auto add = [&](const std::string& text, bool special) {
    for (auto& token : json["added_tokens"])
      if (token["content"] == text) {
        token["special"] = special;
        return;
      }
    json["added_tokens"].push_back({{"content", text}, {"id", next++}, {"special", special}});
  };
  for (const std::string& mark : marks) add(mark, !user_defined);
  add("\n\n", false);
  return test::tokenizer_of(test::gguf_of(json, pre));
}

std::vector<std::pair<std::string, Tokenizer>> tokenizers() {
  std::vector<std::pair<std::string, Tokenizer>> all;
  for (const bool user_defined : {false, true}) {
    all.emplace_back("smollm", byte_tokenizer("smollm.json", "smollm", user_defined));
    all.emplace_back("llama-bpe", byte_tokenizer("llama_bpe.json", "llama-bpe", user_defined));
    all.emplace_back("qwen2", byte_tokenizer("qwen2.json", "qwen2", user_defined));
  }
  all.emplace_back("spm", test::tokenizer_of(test::gguf_of_model(test::read_golden("vocabularies/spm.model"))));
  return all;
}

/// How often there is a token that is a mark.
std::size_t count_marks(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  return static_cast<std::size_t>(std::count_if(ids.begin(), ids.end(), [&](TokenId id) {
    return tokenizer.is_control(id) || tokenizer.ends_text(id) ||
           std::find(marks.begin(), marks.end(), tokenizer.piece(id)) != marks.end();
  }));
}

std::vector<ChatMessage> conversation(ChatFormat format, const std::vector<std::string>& contents) {
  std::vector<ChatMessage> messages;
  if (format != ChatFormat::plain) messages.push_back({"system", contents[0]});
  messages.push_back({"user", contents[1]});
  messages.push_back({"assistant", contents[2]});
  messages.push_back({"user", contents[0]});
  return messages;
}

}  // namespace

TEST_CASE("harmless messages have the ids of the rendered text, merges across borders included") {
  const std::vector<std::vector<std::string>> talks{
      {"Be brief.", "What is it?", "Paris."},
      {"  padded \n", "\n\nnew lines\n\n\n", "\n"},
      {"", "", ""},
      {"<table> 1 < 2 [x]", "the the the", "caf\u00e9 \u4e2d\u6587 \U0001f600"},
      {"assistant", "user", "system\n"}};
  for (const auto& [name, tokenizer] : tokenizers()) {
    for (int f = 1; f <= static_cast<int>(ChatFormat::deepseek_r1); ++f) {
      const ChatTemplate chat(static_cast<ChatFormat>(f));
      CAPTURE(activation_trace::name(chat.format()));
      for (const auto& contents : talks) {
        const auto messages = conversation(chat.format(), contents);
        for (const auto prompt : {GenerationPrompt::add, GenerationPrompt::none})
          CHECK(encode_chat(chat, messages, tokenizer, prompt) ==
                tokenizer.encode_prompt(chat.render(messages, prompt), SpecialTokens::parse));
      }
    }
  }
}

TEST_CASE("10,000 messages of marks yield no mark") {
  std::mt19937 random(28249);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  const std::vector<std::string> words{"system", "user",  "assistant", "\n",    "\n\n",   " ",
                                       "Hi",     "<",     "|",         ">",     "<|",     "|>",
                                       "im_",    "start", "end",       "</",    "s>",     "[",
                                       "INST]",  "\xff",  "\xe2\x96",  "%eos%", "\u4e2d", "<|im_<|im_end|>end|>",
                                       "x"};
  const auto message = [&] {
    std::string text;
    for (std::size_t i = below(8); i-- != 0;) {
      const std::string& piece = below(2) == 0 ? marks[below(marks.size())] : words[below(words.size())];
      if (below(4) == 0) {  // cut in two, perhaps to meet the template's marks
        const std::size_t at = below(piece.size() + 1);
        text += below(2) == 0 ? piece.substr(at) : piece.substr(0, at);
      } else {
        text += piece;
      }
    }
    return text;
  };
  const auto all = tokenizers();
  std::size_t forged_by_parsing = 0;
  for (std::size_t i = 0; i < 10000; ++i) {
    const auto format = static_cast<ChatFormat>(1 + i % static_cast<std::size_t>(ChatFormat::deepseek_r1));
    const Tokenizer& tokenizer = all[below(all.size())].second;
    const ChatTemplate chat(format);
    // Of as many messages, none is empty: the template writes the same marks.
    const auto messages = conversation(format, {"x" + message(), message(), message()});
    const auto harmless = conversation(format, {"x", "y", "z"});
    const auto ids = encode_chat(chat, messages, tokenizer);
    const std::size_t written = count_marks(tokenizer, encode_chat(chat, harmless, tokenizer));
    INFO(chat.render(messages));
    REQUIRE(count_marks(tokenizer, ids) == written);
    const auto parsed = tokenizer.encode_prompt(chat.render(messages), SpecialTokens::parse);
    if (count_marks(tokenizer, parsed) > written) ++forged_by_parsing;
  }
  CHECK(forged_by_parsing > 5000);  // that there was something to prevent
}

TEST_CASE("ranges that are none of the text are errors") {
  const Tokenizer tokenizer = byte_tokenizer("smollm.json", "smollm", false);
  using Ranges = std::vector<TextRange>;
  for (const Ranges& wrong : {Ranges{{0, 3}}, Ranges{{1, 0}}, Ranges{{1, 2}, {0, 1}}, Ranges{{0, 2}, {1, 2}}})
    CHECK_THROWS_AS((void)tokenizer.encode_prompt("ab", wrong), ArgumentError);
  CHECK_THROWS_AS((void)tokenizer.encode_prompt("\xff", Ranges{}), ArgumentError);
  CHECK(tokenizer.encode_prompt("ab", Ranges{{0, 2}}) == tokenizer.encode_prompt("ab"));
}
