// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <ctime>
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

TEST_CASE("a template is rendered to the byte as Jinja2 renders it, or not recognised") {
  const auto golden = nlohmann::json::parse(test::read_golden("chat_shapes.json"));
  CHECK(golden["templates"].size() >= 220);
  int recognised = 0;
  int changed = 0;
  for (const auto& row : golden["templates"]) {
    const std::string name = row["name"];
    const std::string text = row["template"];
    CAPTURE(name);
    CAPTURE(text);
    const auto chat = ChatTemplate::recognise(text, {row["bos"], row["eos"], golden["today"]});
    const bool is_known = chat.format() != ChatFormat::plain;
    if (row["known"].is_boolean()) CHECK(is_known == row["known"].get<bool>());
    if (!is_known) continue;
    ++recognised;
    if (row["known"].is_null()) ++changed;
    for (std::size_t i = 0; i < row["texts"].size(); ++i) {
      // The changed ones are rendered with two of the conversations.
      const auto& conversation = golden["conversations"][row["known"].is_null() ? 1 + 6 * (i / 2) : i / 2];
      CAPTURE(conversation.dump());
      std::vector<ChatMessage> messages;
      for (const auto& message : conversation) messages.push_back({message["role"], message["content"]});
      const auto render = [&] {
        return chat.render(messages, i % 2 == 0 ? GenerationPrompt::add : GenerationPrompt::none);
      };
      if (row["texts"][i].is_null())
        CHECK_THROWS_AS((void)render(), ArgumentError);
      else
        CHECK(render() == row["texts"][i].get<std::string>());
    }
  }
  MESSAGE(recognised << " recognised, " << changed << " of them changed");
  CHECK(recognised - changed == 21);
}

TEST_CASE("the default system message is the template's") {
  const auto with = [](const std::string& text) {
    return ChatTemplate::recognise(
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ " + text +
        " }}{% endif %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}");
  };
  CHECK(with("'<|im_start|>system\nYou are helpful.<|im_end|>\n'").default_system() == "You are helpful.");
  CHECK(with("\"<|im_start|>system\nYou're it.<|im_end|>\n\"").default_system() == "You're it.");
  CHECK(with("'<|im_start|>system\n<|im_end|>\n'").default_system() == "");
  CHECK(with("'<|im_start|>system\n' + x + '<|im_end|>\n'").format() == ChatFormat::plain);
  CHECK(with("'<|im_start|>user\nYou are helpful.<|im_end|>\n'").format() == ChatFormat::plain);
}

TEST_CASE("templates that no Jinja reads are not recognised") {
  for (const char* text : {"{{", "{%", "{#", "{{ 'a", "{{ a ]", "{{ ( }}", "{{}}", "{%%}", "{{ 'a\\q' }}",
                           "{{ a \x01 }}", "{{ '", "{%-", "{{-", "{#-", "-}}", "{{ a -", "{%+ if a %}", "\r\n"}) {
    CAPTURE(text);
    CHECK(ChatTemplate::recognise(text).format() == ChatFormat::plain);
  }
}

TEST_CASE("Llama 3.2's date is that of the rendering unless one is given") {
  // The C library's, in its own locale; once more if midnight was between.
  const auto by_strftime = [] {
    const std::time_t now = std::time(nullptr);
    char text[32];
    return std::string(text, std::strftime(text, sizeof text, "%d %b %Y", std::localtime(&now)));
  };
  const std::string before = by_strftime();
  const std::string today = detail::today();
  CHECK((today == before || today == by_strftime()));
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
  for (const ChatFormat format : {ChatFormat::plain, ChatFormat::chatml, ChatFormat::llama3})
    CHECK_THROWS_AS((void)ChatTemplate(format).render({}), ArgumentError);
}
