// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "activation_trace/tokenizer/chat_template.hpp"
#include "tokenizer/golden.hpp"

using namespace activation_trace;

TEST_CASE("conversations are rendered as the templates render them") {
  const auto cases = nlohmann::json::parse(test::read_golden("chat.json"));
  CHECK(cases.size() == 40);
  for (const auto& expected : cases) {
    const std::string name = expected["name"];
    CAPTURE(name);
    const auto chat = ChatTemplate::recognise(expected["template"].get<std::string>());
    const ChatFormat format = name == "llama-2"   ? ChatFormat::llama2
                              : name == "llama-3" ? ChatFormat::llama3
                              : name == "vicuna"  ? ChatFormat::vicuna
                                                  : ChatFormat::chatml;
    CHECK(chat.format() == format);
    std::vector<ChatMessage> messages;
    for (const auto& message : expected["messages"]) messages.push_back({message["role"], message["content"]});
    CHECK(chat.render(messages, expected["prompt"].get<bool>() ? GenerationPrompt::add : GenerationPrompt::none) ==
          expected["text"].get<std::string>());
  }
}

TEST_CASE("the default system message is the template's") {
  CHECK(ChatTemplate::recognise("{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}").default_system() ==
        "You are helpful.");
  CHECK(ChatTemplate::recognise("{{ '<|im_start|>system\\n' + x + '<|im_end|>\\n' }}").default_system().empty());
  CHECK(ChatTemplate::recognise("{{ '<|im_start|>' + role }}").format() == ChatFormat::chatml);
}

TEST_CASE("what is not known is plain, and wrong roles are errors") {
  const auto plain = ChatTemplate::recognise("{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}");
  CHECK(plain.format() == ChatFormat::plain);
  const std::vector<ChatMessage> messages{{"system", "Be brief."}, {"user", "Hi"}};
  CHECK(plain.render(messages) == "Be brief.\nHi\n");
  CHECK(plain.render(messages, GenerationPrompt::none) == "Be brief.\nHi");
  CHECK(ChatTemplate::recognise("").format() == ChatFormat::plain);
  const std::vector<ChatMessage> tool{{"tool", "x"}};
  CHECK_THROWS_AS((void)plain.render(tool), ArgumentError);
  const std::vector<ChatMessage> late{{"user", "x"}, {"system", "y"}};
  CHECK_THROWS_AS((void)ChatTemplate(ChatFormat::chatml).render(late), ArgumentError);
  const std::vector<ChatMessage> twice{{"user", "x"}, {"user", "y"}};
  CHECK_THROWS_AS((void)ChatTemplate(ChatFormat::llama2).render(twice), ArgumentError);
}
