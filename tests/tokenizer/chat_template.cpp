// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/tokenizer/chat_template.hpp"
#include "tokenizer/golden.hpp"

using namespace activation_trace;

namespace {
constexpr std::chrono::year_month_day march_7{std::chrono::year{2026}, std::chrono::month{3}, std::chrono::day{7}};
}  // namespace

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
    const auto chat = ChatTemplate::recognise(text, {row["bos"], row["eos"], march_7});
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

TEST_CASE("every format is rendered to the byte as Jinja2 renders its models' templates, errors included") {
  const auto golden = nlohmann::json::parse(test::read_golden("chat_formats.json"));
  CHECK(golden["templates"].size() == 28);
  std::size_t errors = 0;
  for (const auto& row : golden["templates"]) {
    const std::string name = row["name"];
    CAPTURE(name);
    ChatWords words{row["bos"], row["eos"], march_7};
    if (row["known"] == "date_string") words.date = "1 April";
    if (row["known"] == "no date") words.today.reset();
    const auto chat = ChatTemplate::recognise(row["template"].get<std::string>(), words);
    REQUIRE(chat.format() != ChatFormat::plain);
    CHECK(name.substr(0, 3) == (name.starts_with("qwen") ? "qwe" : activation_trace::name(chat.format()).substr(0, 3)));
    REQUIRE(row["texts"].size() % 2 == 0);
    for (std::size_t i = 0; i < row["texts"].size(); ++i) {
      const auto& conversation = golden["conversations"][i / 2];
      CAPTURE(conversation.dump());
      std::vector<ChatMessage> messages;
      bool is_ours = true;  // what some templates take and this is strict about: a tool's turn, a second system message
      for (const auto& message : conversation) {
        messages.push_back({message["role"], message["content"]});
        const std::string& role = messages.back().role;
        is_ours = is_ours && role != "tool" && (role != "system" || messages.size() == 1);
      }
      const auto prompt = i % 2 == 0 ? GenerationPrompt::add : GenerationPrompt::none;
      if (row["texts"][i].is_null() || !is_ours) {
        CHECK_THROWS_AS((void)chat.render(messages, prompt), ArgumentError);
        ++errors;
        continue;
      }
      const ChatText text = chat.render_parts(messages, prompt);
      CHECK(text.text == row["texts"][i].get<std::string>());
      std::size_t end = 0;
      for (const TextRange& range : text.contents) {
        CHECK(range.begin >= end);
        CHECK(range.end > range.begin);
        end = range.end;
      }
      CHECK(end <= text.text.size());
    }
  }
  CHECK(errors > 100);
}

TEST_CASE("a given format is rendered as its usual template, and marks in contents are contents") {
  const std::vector<ChatMessage> hello{{"system", "%bos%"}, {"user", "100 % %eos%"}};
  CHECK(ChatTemplate(ChatFormat::zephyr).render(hello) ==
        "<|system|>\n%bos%</s>\n<|user|>\n100 % %eos%</s>\n<|assistant|>\n");
  CHECK(ChatTemplate(ChatFormat::mistral).render(hello) == "<s> [INST] %bos%\n\n100 % %eos% [/INST]");
  CHECK(ChatTemplate(ChatFormat::gemma, {}, {.bos = "<bos>"}).render(hello) ==
        "<bos><start_of_turn>user\n%bos%\n\n100 % %eos%<end_of_turn>\n<start_of_turn>model\n");
  CHECK(ChatTemplate(ChatFormat::chatml, "%date%").render(std::span(hello).subspan(1)) ==
        "<|im_start|>system\n%date%<|im_end|>\n<|im_start|>user\n100 % %eos%<|im_end|>\n<|im_start|>assistant\n");
  for (int i = 0; i <= static_cast<int>(ChatFormat::deepseek_r1); ++i) {
    const ChatTemplate chat(static_cast<ChatFormat>(i));
    CHECK(chat.format() == static_cast<ChatFormat>(i));
    CHECK((name(chat.format()) == "plain") == (chat.format() == ChatFormat::plain));
  }
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
