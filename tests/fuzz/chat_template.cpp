// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tokenizer/chat_template.hpp"

#include <cstdint>
#include <cstdlib>

#include "fuzz/inputs.hpp"

using namespace activation_trace;

// A template, and between lines of "----" messages, each with its role as a first line: rendered, every content is in
// the text, in order, but for the white space around it. A system message alone is not written by some.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parts = test::input_parts(test::text_of_input(data, size));
  const ChatTemplate chat = ChatTemplate::recognise(parts.front());
  std::vector<ChatMessage> messages;
  for (const std::string_view part : std::span(parts).subspan(1)) {
    const std::size_t line = std::min(part.find('\n'), part.size());
    messages.push_back({std::string(part.substr(0, line)), std::string(part.substr(std::min(line + 1, part.size())))});
  }
  for (const auto prompt : {GenerationPrompt::add, GenerationPrompt::none}) try {
      const std::string text = chat.render(messages, prompt);
      if (messages.size() == 1 && messages.front().role == "system") continue;
      std::size_t at = 0;
      for (const ChatMessage& message : messages) {
        const std::string_view content = detail::trim(message.content);
        at = text.find(content, at);
        if (at == std::string::npos) std::abort();
        at += content.size();
      }
    } catch (const ArgumentError&) {
    }
  return 0;
}
