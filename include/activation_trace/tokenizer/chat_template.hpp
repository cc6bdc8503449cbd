// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/tokenizer/unicode.hpp"

namespace activation_trace {
inline namespace v0 {

struct ChatMessage {
  std::string role;  ///< system, user or assistant
  std::string content;
};

/// The ways of writing a conversation that are built in. No template is ever executed: a file's template is
/// Jinja, a programming language, and running it has given attackers control (FORMATS.md 3.5).
enum class ChatFormat : std::uint8_t {
  plain,   ///< the contents, one per line
  chatml,  ///< <|im_start|>role, content, <|im_end|>
  llama2,  ///< <s>[INST] content [/INST]
  llama3,  ///< <|start_header_id|>role<|end_header_id|>, content, <|eot_id|>
  vicuna,  ///< USER: content ASSISTANT:
};

/// Whether the rendered text ends where the assistant is to begin.
enum class GenerationPrompt { none, add };

/// Renders conversations. Encode the result with SpecialTokens::parse; a name of a control token in a
/// message's content becomes that token too, as with Jinja.
class ChatTemplate {
 public:
  /// `default_system` is the system message of conversations that do not begin with one; empty is none.
  explicit ChatTemplate(ChatFormat format = ChatFormat::plain, std::string default_system = {})
      : format_(format), default_system_(std::move(default_system)) {}

  /// The format whose marks `template_text` has, plain if it has none that is known, with the default system
  /// message that a ChatML template spells out (SmolLM2 has one). Llama 3.1's date line is left out.
  [[nodiscard]] static ChatTemplate recognise(std::string_view template_text);

  [[nodiscard]] ChatFormat format() const noexcept { return format_; }
  [[nodiscard]] const std::string& default_system() const noexcept { return default_system_; }

  /// The conversation as one text. Throws ArgumentError for a role other than system, user and assistant, for
  /// a system message that is not the first, and for Llama 2 if user and assistant do not alternate.
  [[nodiscard]] std::string render(std::span<const ChatMessage> messages,
                                   GenerationPrompt prompt = GenerationPrompt::add) const;

 private:
  void render_llama2(std::span<const ChatMessage> messages, std::string_view system, std::string& text) const;

  ChatFormat format_;
  std::string default_system_;
};

[[nodiscard]] constexpr std::string_view name(ChatFormat format) noexcept {
  switch (format) {
    case ChatFormat::plain: return "plain";
    case ChatFormat::chatml: return "chatml";
    case ChatFormat::llama2: return "llama-2";
    case ChatFormat::llama3: return "llama-3";
    case ChatFormat::vicuna: return "vicuna";
  }
  return "unknown";
}

namespace detail {

/// Without the white space at both ends, as Jinja's trim and Python's strip leave it.
[[nodiscard]] inline std::string_view trim(std::string_view text) noexcept {
  std::size_t begin = text.size();
  std::size_t end = 0;
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    // Python counts four separators among the controls, which are not White_Space.
    const bool separator = c.code_point >= 0x1c && c.code_point <= 0x1f;
    if (!separator && character_class(c.code_point) != CharacterClass::space) {
      begin = std::min(begin, i);
      end = i + c.length;
    }
    i += c.length;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view{};
}

/// What a ChatML template writes between the system mark and the end mark, if that is plain text.
[[nodiscard]] inline std::string find_default_system(std::string_view text) {
  constexpr std::string_view mark = "<|im_start|>system";
  constexpr std::string_view end_mark = "<|im_end|>";
  for (std::size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, at + 1)) {
    std::string_view rest = text.substr(at + mark.size());
    // A line break, as it is or as Jinja writes it in a string.
    if (rest.starts_with('\n'))
      rest.remove_prefix(1);
    else if (rest.starts_with("\\n"))
      rest.remove_prefix(2);
    else
      continue;
    const std::string_view content = rest.substr(0, rest.find(end_mark));
    if (content.size() == rest.size() || content.empty()) continue;
    if (content.find_first_of("'\"{}\\") == std::string_view::npos) return std::string(content);
  }
  return {};
}

}  // namespace detail

inline ChatTemplate ChatTemplate::recognise(std::string_view text) {
  const auto has = [text](std::string_view mark) { return text.find(mark) != std::string_view::npos; };
  if (has("<|im_start|>")) return ChatTemplate(ChatFormat::chatml, detail::find_default_system(text));
  if (has("<|start_header_id|>") && has("<|eot_id|>")) return ChatTemplate(ChatFormat::llama3);
  if (has("[INST]") && has("<<SYS>>")) return ChatTemplate(ChatFormat::llama2);
  if (has("USER:") && has("ASSISTANT:")) return ChatTemplate(ChatFormat::vicuna);
  return ChatTemplate(ChatFormat::plain);
}

inline std::string ChatTemplate::render(std::span<const ChatMessage> messages, GenerationPrompt prompt) const {
  const bool has_system = !messages.empty() && messages[0].role == "system";
  const std::string_view system = has_system ? std::string_view(messages[0].content) : default_system_;
  if (has_system) messages = messages.subspan(1);
  for (const ChatMessage& message : messages)
    if (message.role != "user" && message.role != "assistant")
      throw ArgumentError(message.role == "system"
                              ? "messages: the system message is not the first"
                              : "messages: the role is '" + message.role + "', expected system, user or assistant");
  const bool open = prompt == GenerationPrompt::add;
  std::string text;
  switch (format_) {
    case ChatFormat::plain:
      if (has_system || !system.empty()) text.append(system).append("\n");
      for (const ChatMessage& message : messages) text.append(message.content).append("\n");
      if (!open && !text.empty()) text.pop_back();
      break;
    case ChatFormat::chatml: {
      const auto add = [&](std::string_view role, std::string_view content) {
        text.append("<|im_start|>").append(role).append("\n").append(content).append("<|im_end|>\n");
      };
      if (has_system || !system.empty()) add("system", system);
      for (const ChatMessage& message : messages) add(message.role, message.content);
      if (open) text += "<|im_start|>assistant\n";
      break;
    }
    case ChatFormat::llama2: render_llama2(messages, has_system ? system : default_system_, text); break;
    case ChatFormat::llama3: {
      const auto add = [&](std::string_view role, std::string_view content) {
        text.append("<|start_header_id|>").append(role).append("<|end_header_id|>\n\n");
        text.append(detail::trim(content)).append("<|eot_id|>");
      };
      text = "<|begin_of_text|>";
      if (has_system || !system.empty()) add("system", system);
      for (const ChatMessage& message : messages) add(message.role, message.content);
      if (open) text += "<|start_header_id|>assistant<|end_header_id|>\n\n";
      break;
    }
    case ChatFormat::vicuna:
      text = has_system || !system.empty()
                 ? std::string(system)
                 : "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
                   "helpful, detailed, and polite answers to the user's questions.";
      text += ' ';
      for (const ChatMessage& message : messages)
        if (message.role == "user")
          text.append("USER: ").append(message.content).append(" ");
        else
          text.append("ASSISTANT: ").append(message.content).append("</s>");
      if (open) text += "ASSISTANT:";
      break;
  }
  return text;
}

inline void ChatTemplate::render_llama2(std::span<const ChatMessage> messages, std::string_view system,
                                        std::string& text) const {
  // The model has learned no mark for the assistant's turn but the end of the user's, so the generation
  // prompt adds nothing.
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role != (i % 2 == 0 ? "user" : "assistant"))
      throw ArgumentError("messages: Llama 2's format needs user and assistant to alternate, message " +
                          std::to_string(i) + " after the system message is the " + messages[i].role + "'s");
    if (i % 2 != 0) {
      text.append(" ").append(detail::trim(messages[i].content)).append(" </s>");
      continue;
    }
    std::string content;
    if (i == 0 && !system.empty()) content.append("<<SYS>>\n").append(system).append("\n<</SYS>>\n\n");
    content += messages[i].content;
    text.append("<s>[INST] ").append(detail::trim(content)).append(" [/INST]");
  }
}

}  // namespace v0
}  // namespace activation_trace
