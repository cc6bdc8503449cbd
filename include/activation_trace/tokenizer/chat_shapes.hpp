// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/tokenizer/jinja_parts.hpp"

namespace activation_trace {
inline namespace v0 {

/// The ways of writing a conversation that are built in. No template is ever executed: a file's template is
/// Jinja, a programming language, and running it has given attackers control (formats/README.md 4).
enum class ChatFormat : std::uint8_t {
  plain,   ///< the contents, one per line
  chatml,  ///< `<|im_start|>`role, content, `<|im_end|>`
  llama2,  ///< `<s>[INST] content [/INST]`
  llama3,  ///< `<|start_header_id|>`role`<|end_header_id|>`, content, `<|eot_id|>`
  vicuna,  ///< USER: content ASSISTANT:
};

namespace detail {

/// How a template of a format writes it.
struct ChatStyle {
  ChatFormat format = ChatFormat::plain;
  bool trims = false;                ///< white space around contents is left out
  bool opens_always = false;         ///< the assistant is to begin, asked or not
  bool system_needs_a_turn = false;  ///< a system message alone is not written
  bool has_dates = false;            ///< a system message is always written, with Llama 3.1's two lines of dates first
  bool date_is_today = false;        ///< the second is today's, as in Llama 3.2
};

/// A template that is known. Every other is not, however alike it looks.
struct ChatShape {
  ChatStyle style;
  std::string_view text;  ///< %system% stands for any text, %content% for the content with or without `| trim`
};

// clang-format off
inline constexpr ChatShape chat_shapes[] = {
    {{.format = ChatFormat::chatml},
     "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + %content% + '<|im_end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {{.format = ChatFormat::chatml},
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
     "{{ '<|im_start|>system\\n%system%<|im_end|>\\n' }}{% endif %}"
     "{{ '<|im_start|>' + message['role'] + '\\n' + %content% + '<|im_end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {{.format = ChatFormat::chatml, .system_needs_a_turn = true},
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
     "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
     "{% set system_message = '%system%' %}{% endif %}"
     "{% for message in loop_messages %}{% if loop.index0 == 0 %}"
     "{{ '<|im_start|>system\\n' + system_message + '<|im_end|>\\n' }}{% endif %}"
     "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {{.format = ChatFormat::llama3},
     "{% set loop_messages = messages %}{% for message in loop_messages %}"
     "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + %content% + '<|eot_id|>' %}"
     "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"},
    {{.format = ChatFormat::llama3, .opens_always = true},
     "{% set loop_messages = messages %}{% for message in loop_messages %}"
     "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + %content% + '<|eot_id|>' %}"
     "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
     "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"},
    {{.format = ChatFormat::llama2},
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
     "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
     "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
     "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
     "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
     "{% if loop.index0 == 0 and system_message != false %}"
     "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
     "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
     "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
     "{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"},
    {{.format = ChatFormat::vicuna},
     "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% set rest = messages[1:] %}{% else %}"
     "{{ '%system%' }}{% set rest = messages %}{% endif %}{{ ' ' }}{% for m in rest %}{% if m['role'] == 'user' %}"
     "{{ 'USER: ' + m['content'] + ' ' }}{% else %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"},
};

/// What some templates have and what changes nothing.
inline constexpr std::string_view idle_in_chats[] = {
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}",
};

/// Templates too long to be written down here, by the fingerprint of their parts.
struct ChatFingerprint {
  ChatStyle style;
  std::uint64_t fingerprint;
};
inline constexpr ChatFingerprint chat_fingerprints[] = {
    // Llama 3.1 and 3.3, whose date is 26 Jul 2024; Llama 3.2. Both write functions to be called, of which there are none.
    {{.format = ChatFormat::llama3, .trims = true, .has_dates = true}, 0xfbfa5fece23b2d40u},
    {{.format = ChatFormat::llama3, .trims = true, .has_dates = true, .date_is_today = true}, 0x9613af7d5ebf2c3bu},
};
// clang-format on

/// FNV-1a of the parts.
[[nodiscard]] inline std::uint64_t fingerprint(std::span<const JinjaPart> parts) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&hash](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3u; };
  for (const JinjaPart& part : parts) {
    add(static_cast<unsigned char>(part.kind));
    for (const std::string& token : part.tokens) {
      for (const char c : token) add(static_cast<unsigned char>(c));
      add(0xff);  // no byte of UTF-8
    }
  }
  return hash;
}

/// Whether `text` is the pattern with some text in place of %system%, which is then put into `system`.
[[nodiscard]] inline bool matches(std::string_view pattern, std::string_view text, std::optional<std::string>& system) {
  constexpr std::string_view mark = "%system%";
  const std::size_t at = pattern.find(mark);
  if (at == std::string_view::npos) return pattern == text;
  const std::string_view tail = pattern.substr(at + mark.size());
  if (text.size() < at + tail.size() || !text.starts_with(pattern.substr(0, at)) || !text.ends_with(tail)) return false;
  system.emplace(text.substr(at, text.size() - at - tail.size()));
  return true;
}

[[nodiscard]] inline bool matches(std::span<const JinjaPart> pattern, std::span<const JinjaPart> parts,
                                  std::optional<std::string>& system) {
  if (pattern.size() != parts.size()) return false;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    if (pattern[p].kind != parts[p].kind || pattern[p].tokens.size() != parts[p].tokens.size()) return false;
    for (std::size_t t = 0; t < parts[p].tokens.size(); ++t)
      if (!matches(pattern[p].tokens[t], parts[p].tokens[t], system)) return false;
  }
  return true;
}

/// A template that is known: how it writes, and the system message that it has for conversations without one.
struct RecognisedChat {
  ChatStyle style;
  std::optional<std::string> system{};
};

[[nodiscard]] inline std::optional<RecognisedChat> recognise_chat(std::string_view text) {
  auto read = JinjaParts::read(text);
  if (!read) return std::nullopt;
  std::vector<JinjaPart>& parts = *read;
  for (const std::string_view idle : idle_in_chats) {
    const auto of_it = JinjaParts::read(idle);
    const auto found = std::search(parts.begin(), parts.end(), of_it->begin(), of_it->end());
    if (found != parts.end()) parts.erase(found, found + std::ssize(*of_it));
  }
  for (const ChatFingerprint& known : chat_fingerprints)
    if (fingerprint(parts) == known.fingerprint) return RecognisedChat{known.style};
  for (const ChatShape& shape : chat_shapes)
    for (const bool trims : {false, true}) {
      constexpr std::string_view mark = "%content%";
      const std::size_t content = shape.text.find(mark);
      if (trims && content == std::string_view::npos) continue;
      std::string pattern(shape.text);
      if (content != std::string_view::npos)
        pattern.replace(content, mark.size(), trims ? "message['content'] | trim" : "message['content']");
      RecognisedChat found{shape.style};
      found.style.trims = trims;
      if (matches(*JinjaParts::read(pattern), parts, found.system)) return found;
    }
  return std::nullopt;
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
