// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/text/unicode.hpp"
#include "activation_trace/tokenizer/chat_shapes.hpp"

namespace activation_trace {
inline namespace v0 {

/// A turn of a conversation, or its system message.
struct ChatMessage {
  std::string role;     ///< system, user or assistant
  std::string content;  ///< what was said, without any format's marks
};

/// Whether the rendered text ends where the assistant is to begin.
enum class GenerationPrompt { none, add };

/// What templates write that is not in them. Empty is what is usual.
struct ChatWords {
  std::string bos{};    ///< the BOS token's text: `<s>`, or `<|begin_of_text|>` for Llama 3
  std::string eos{};    ///< the EOS token's text: `</s>`
  std::string today{};  ///< the day, such as "26 Jul 2024"; Llama 3.2 writes it. Empty: that of the rendering
};

/// Renders conversations. Encode the result with SpecialTokens::parse; a name of a control token in a
/// message's content becomes that token too, as with Jinja.
class ChatTemplate {
 public:
  /// `default_system` is the system message of conversations that do not begin with one; empty is none.
  explicit ChatTemplate(ChatFormat format = ChatFormat::plain, const std::string& default_system = {},
                        ChatWords words = {})
      : ChatTemplate(detail::RecognisedChat{{.format = format, .trims = format == ChatFormat::llama3},
                                            default_system.empty() ? std::nullopt : std::optional(default_system)},
                     std::move(words)) {}

  /// The format of `template_text` if that is a template that is known (detail::chat_shapes), which render() then
  /// renders to the byte as Jinja does; every other is plain, however alike it looks.
  [[nodiscard]] static ChatTemplate recognise(std::string_view template_text, ChatWords words = {});

  /// How conversations are written; plain if the file's template was not recognised.
  [[nodiscard]] ChatFormat format() const noexcept { return style_.format; }
  /// The system message of conversations that do not begin with one, if any.
  [[nodiscard]] const std::optional<std::string>& default_system() const noexcept { return default_system_; }

  /// The conversation as one text. Throws ArgumentError for no messages, for a role other than system, user and
  /// assistant, for a system message that is not the first, and for Llama 2 if user and assistant do not alternate.
  [[nodiscard]] std::string render(std::span<const ChatMessage> messages,
                                   GenerationPrompt prompt = GenerationPrompt::add) const;

 private:
  using Turns = std::span<const ChatMessage>;      // without the system message
  using System = std::optional<std::string_view>;  // the conversation's or the template's own

  ChatTemplate(detail::RecognisedChat chat, ChatWords words)
      : style_(chat.style), default_system_(std::move(chat.system)), words_(std::move(words)) {
    if (words_.bos.empty()) words_.bos = style_.format == ChatFormat::llama3 ? "<|begin_of_text|>" : "<s>";
    if (words_.eos.empty()) words_.eos = "</s>";
    if (style_.format == ChatFormat::vicuna && !default_system_)
      default_system_ =
          "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
          "detailed, and polite answers to the user's questions.";
  }

  [[nodiscard]] static std::string plain(System system, Turns turns, GenerationPrompt prompt);
  [[nodiscard]] std::string chatml(System system, Turns turns, GenerationPrompt prompt) const;
  [[nodiscard]] std::string llama2(System system, Turns turns) const;
  [[nodiscard]] std::string llama3(System system, Turns turns, GenerationPrompt prompt) const;
  [[nodiscard]] std::string vicuna(System system, Turns turns, GenerationPrompt prompt) const;
  [[nodiscard]] std::string_view content_of(std::string_view content) const noexcept;

  detail::ChatStyle style_;
  std::optional<std::string> default_system_;
  ChatWords words_;
};

/// A name to show, "llama-2".
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

/// Today, here, as in "26 Jul 2024".
[[nodiscard]] inline std::string today() {
  constexpr std::string_view months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm day{};
  (void)localtime_r(&now, &day);
  std::string text = std::to_string(100 + day.tm_mday).substr(1) + ' ';
  return text.append(months[day.tm_mon]).append(" ") + std::to_string(1900 + day.tm_year);
}

}  // namespace detail

inline ChatTemplate ChatTemplate::recognise(std::string_view text, ChatWords words) {
  auto found = detail::recognise_chat(text);
  return found ? ChatTemplate(*std::move(found), std::move(words)) : ChatTemplate();
}

inline std::string ChatTemplate::render(std::span<const ChatMessage> messages, GenerationPrompt prompt) const {
  if (messages.empty()) throw ArgumentError("messages: there are none");
  System system;
  if (messages[0].role == "system") {
    system = content_of(messages[0].content);
    messages = messages.subspan(1);
  } else if (default_system_) {
    system = *default_system_;
  }
  for (const ChatMessage& message : messages)
    if (message.role != "user" && message.role != "assistant")
      throw ArgumentError(message.role == "system"
                              ? "messages: the system message is not the first"
                              : "messages: the role is '" + message.role + "', expected system, user or assistant");
  switch (style_.format) {
    case ChatFormat::plain: return plain(system, messages, prompt);
    case ChatFormat::chatml: return chatml(system, messages, prompt);
    case ChatFormat::llama2: return llama2(system, messages);
    case ChatFormat::llama3: return llama3(system, messages, prompt);
    case ChatFormat::vicuna: return vicuna(system, messages, prompt);
  }
  return {};
}

inline std::string_view ChatTemplate::content_of(std::string_view content) const noexcept {
  return style_.trims ? detail::trim(content) : content;
}

inline std::string ChatTemplate::plain(System system, Turns turns, GenerationPrompt prompt) {
  std::string text;
  if (system) text.append(*system).append("\n");
  for (const ChatMessage& turn : turns) text.append(turn.content).append("\n");
  if (prompt == GenerationPrompt::none) text.pop_back();
  return text;
}

inline std::string ChatTemplate::chatml(System system, Turns turns, GenerationPrompt prompt) const {
  std::string text;
  const auto add = [&](std::string_view role, std::string_view content) {
    text.append("<|im_start|>").append(role).append("\n").append(content).append("<|im_end|>\n");
  };
  if (system && !(style_.system_needs_a_turn && turns.empty())) add("system", *system);
  for (const ChatMessage& turn : turns) add(turn.role, content_of(turn.content));
  if (prompt == GenerationPrompt::add) text += "<|im_start|>assistant\n";
  return text;
}

inline std::string ChatTemplate::llama2(System system, Turns turns) const {
  // The model has learned no mark for the assistant's turn but the end of the user's, so the generation
  // prompt adds nothing.
  std::string text;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].role != (i % 2 == 0 ? "user" : "assistant"))
      throw ArgumentError("messages: Llama 2's format needs user and assistant to alternate, message " +
                          std::to_string(i) + " after the system message is the " + turns[i].role + "'s");
    if (i % 2 != 0) {
      text.append(" ").append(detail::trim(turns[i].content)).append(" ").append(words_.eos);
      continue;
    }
    std::string content;
    if (i == 0 && system) content.append("<<SYS>>\n").append(*system).append("\n<</SYS>>\n\n");
    content += turns[i].content;
    text.append(words_.bos).append("[INST] ").append(detail::trim(content)).append(" [/INST]");
  }
  return text;
}

inline std::string ChatTemplate::llama3(System system, Turns turns, GenerationPrompt prompt) const {
  std::string text = words_.bos;
  const auto begin = [&](std::string_view role) {
    text.append("<|start_header_id|>").append(role).append("<|end_header_id|>\n\n");
  };
  if (style_.has_dates) {
    const std::string today = !style_.date_is_today  ? "26 Jul 2024"
                              : words_.today.empty() ? detail::today()
                                                     : words_.today;
    begin("system");
    text.append("Cutting Knowledge Date: December 2023\nToday Date: ").append(today).append("\n\n");
    text.append(system.value_or("")).append("<|eot_id|>");
  } else if (system) {
    begin("system");
    text.append(*system).append("<|eot_id|>");
  }
  for (const ChatMessage& turn : turns) {
    begin(turn.role);
    text.append(content_of(turn.content)).append("<|eot_id|>");
  }
  if (prompt == GenerationPrompt::add || style_.opens_always) begin("assistant");
  return text;
}

inline std::string ChatTemplate::vicuna(System system, Turns turns, GenerationPrompt prompt) const {
  std::string text(system.value_or(""));
  text += ' ';
  for (const ChatMessage& turn : turns)
    if (turn.role == "user")
      text.append("USER: ").append(turn.content).append(" ");
    else
      text.append("ASSISTANT: ").append(turn.content).append(words_.eos);
  if (prompt == GenerationPrompt::add) text += "ASSISTANT:";
  return text;
}

}  // namespace v0
}  // namespace activation_trace
