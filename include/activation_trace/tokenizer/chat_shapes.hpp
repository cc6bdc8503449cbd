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

#include "activation_trace/config.hpp"
#include "activation_trace/tokenizer/chat_formats.hpp"
#include "activation_trace/tokenizer/jinja_parts.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

/// A template that is known. Every other is not, however alike it looks.
struct ChatShape {
  ChatStyle style;
  std::string_view text;  ///< %system% stands for any text, %content% for the content with or without `| trim`
};

/// A style with something changed.
template <class Change>
[[nodiscard]] constexpr ChatStyle with(ChatStyle style, Change change) {
  change(style);
  return style;
}

// clang-format off
inline constexpr ChatShape chat_shapes[] = {
    {chatml_style,
     "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + %content% + '<|im_end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {chatml_style,
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
     "{{ '<|im_start|>system\\n%system%<|im_end|>\\n' }}{% endif %}"
     "{{ '<|im_start|>' + message['role'] + '\\n' + %content% + '<|im_end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {with(chatml_style, [](ChatStyle& s) { s.system_needs_a_turn = true; }),
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
     "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
     "{% set system_message = '%system%' %}{% endif %}"
     "{% for message in loop_messages %}{% if loop.index0 == 0 %}"
     "{{ '<|im_start|>system\\n' + system_message + '<|im_end|>\\n' }}{% endif %}"
     "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {llama3_style,
     "{% set loop_messages = messages %}{% for message in loop_messages %}"
     "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + %content% + '<|eot_id|>' %}"
     "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"},
    {with(llama3_style, [](ChatStyle& s) { s.opens_always = true; }),
     "{% set loop_messages = messages %}{% for message in loop_messages %}"
     "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + %content% + '<|eot_id|>' %}"
     "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
     "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"},
    {llama2_style,
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
    {vicuna_style,
     "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% set rest = messages[1:] %}{% else %}"
     "{{ '%system%' }}{% set rest = messages %}{% endif %}{{ ' ' }}{% for m in rest %}{% if m['role'] == 'user' %}"
     "{{ 'USER: ' + m['content'] + ' ' }}{% else %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"},
};

/// What some templates have and what changes nothing.
inline constexpr std::string_view idle_in_chats[] = {
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}",
};

// clang-format on

/// Templates too long to be written down here, by the fingerprint of their parts.
struct ChatFingerprint {
  ChatStyle style;
  std::uint64_t fingerprint;
};

/// Llama 3.1's; the system message is always written, if only with the dates.
inline constexpr ChatStyle llama31_style = with(llama3_style, [](ChatStyle& s) {
  s.marks.system.before =
      "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
      "Today Date: %date%\n\n";
  s.default_system = "";
});

/// Mistral 7B Instruct 0.1's and 0.2's.
inline constexpr ChatStyle mistral_first_style = with(mistral_style, [](ChatStyle& s) {
  s.marks.user = {"[INST] ", " [/INST]"};
  s.marks.assistant.before = "";
  s.place = SystemPlace::refused;
});

/// Gemma 1's and 2's.
inline constexpr ChatStyle gemma_first_style = with(gemma_style, [](ChatStyle& s) { s.place = SystemPlace::refused; });

/// Mistral's from version 3 on. None of these templates has anything to open where the assistant is to begin.
inline constexpr ChatStyle mistral3_style = with(mistral_style, [](ChatStyle& s) {
  s.marks.user = {"[INST] ", "[/INST]"};
  s.place = SystemPlace::last_turn;
  s.trim = ChatTrim::answers;
});

/// Phi-3-mini's and -medium's as they were published first.
inline constexpr ChatStyle phi3_first_style = with(phi3_style, [](ChatStyle& s) {
  s.marks = {.user = {"<|user|>\n", "<|end|>\n<|assistant|>\n"}, .assistant = {"", "<|end|>\n"}};
  s.place = SystemPlace::nowhere;
});

/// Phi-4-mini's.
inline constexpr ChatStyle phi4_mini_style = with(phi3_style, [](ChatStyle& s) {
  s.marks = {.system = {"<|system|>", "<|end|>"},
             .user = {"<|user|>", "<|end|>"},
             .assistant = {"<|assistant|>", "<|end|>"},
             .open = "<|assistant|>",
             .close = "%eos%"};
  s.skips_empty_system = false;
});

inline constexpr ChatStyle qwen25_style = with(chatml_style, [](ChatStyle& s) {
  s.default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
});

inline constexpr ChatFingerprint chat_fingerprints[] = {
    // Llama 3.1 and 3.3; 3.2. Both write functions to be called, of which there are none.
    {llama31_style, 0xfbfa5fece23b2d40u},
    {with(llama31_style, [](ChatStyle& s) { s.date = ChatDate::today; }), 0x9613af7d5ebf2c3bu},
    // zephyr-7b
    {zephyr_style, 0xd90e4458642d6eb3u},
    // Mistral 7B Instruct 0.1 and 0.2, Mixtral
    {mistral_first_style, 0x83f9452d6a305ef8u},
    // the same with a space more
    {with(mistral_first_style, [](ChatStyle& s) { s.marks.assistant.after = "%eos% "; }), 0xb7263910c95e392fu},
    // version 1 with a system message
    {mistral_style, 0x64b457220baad778u},
    // version 3: Mistral Large 2407
    {mistral3_style, 0xd869d10f46cb3542u},
    // version 3 by tekken: Nemo
    {with(mistral3_style,
          [](ChatStyle& s) {
            s.marks.user = {"[INST]", "[/INST]"};
            s.marks.assistant.before = "";
            s.trim = ChatTrim::none;
          }),
     0x2c52c60ce3aabbc8u},
    // version 7: Mistral Large 2411
    {with(mistral3_style,
          [](ChatStyle& s) {
            s.marks.system = {"[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"};
            s.place = SystemPlace::turn;
            s.trim = ChatTrim::none;
            s.alternates = false;
          }),
     0xd322e9cf7457afffu},
    // Gemma 1 and 2
    {gemma_first_style, 0x64f84f648ae8f4ccu},
    // Gemma 1 without BOS
    {with(gemma_first_style, [](ChatStyle& s) { s.marks.begin = ""; }), 0xbe377c2b3c22b9feu},
    // Gemma 3
    {gemma_style, 0x9d44c44d3f47f836u},
    // Phi-3.5-mini
    {phi3_style, 0x0fdce5e2a4270d06u},
    // Phi-3-mini
    {with(phi3_first_style, [](ChatStyle& s) { s.marks.begin = "%bos%"; }), 0xebc07465849726b4u},
    // Phi-3-medium
    {phi3_first_style, 0x679c58b66ac9b982u},
    // Phi-3-small
    {with(phi3_style,
          [](ChatStyle& s) {
            s.marks.begin = "%bos%";
            s.skips_empty_system = false;
          }),
     0xc401bcb705b9a191u},
    // Phi-4-mini
    {phi4_mini_style, 0xae20bb8efb0da000u},
    // Granite 3.0
    {granite_style, 0x9bdaccf978028e8cu},
    // Granite 3.3
    {with(granite_style,
          [](ChatStyle& s) {
            s.opens_after_a_turn = true;
            s.date = ChatDate::needed;
            s.default_system =
                "Knowledge Cutoff Date: April 2024. Today's Date: %date%. You are Granite, developed by IBM. You are a "
                "helpful AI assistant.";
          }),
     0x08130b445b345e4au},
    // the distilled models
    {deepseek_r1_style, 0xac6135f651c77a09u},
    // Qwen2.5; Qwen2.5-Coder's first files, whose example of a function has its braces twice
    {qwen25_style, 0x8a7b438a6d4f559fu},
    {qwen25_style, 0x132dae27cf16cebdu},
};

/// FNV-1a of the parts.
[[nodiscard]] std::uint64_t fingerprint(std::span<const JinjaPart> parts) noexcept;

/// Whether `text` is the pattern with some text in place of %system%, which is then put into `system`.
[[nodiscard]] bool matches(std::string_view pattern, std::string_view text, std::optional<std::string>& system);

[[nodiscard]] bool matches(std::span<const JinjaPart> pattern, std::span<const JinjaPart> parts,
                           std::optional<std::string>& system);

/// A template that is known: how it writes, and the system message that it has for conversations without one.
struct RecognisedChat {
  ChatStyle style;
  std::optional<std::string> system{};
};

[[nodiscard]] std::optional<RecognisedChat> recognise_chat(std::string_view text);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::uint64_t fingerprint(std::span<const JinjaPart> parts) noexcept {
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

ACTIVATION_TRACE_COMPILED_INLINE bool matches(std::string_view pattern, std::string_view text,
                                              std::optional<std::string>& system) {
  constexpr std::string_view mark = "%system%";
  const std::size_t at = pattern.find(mark);
  if (at == std::string_view::npos) return pattern == text;
  const std::string_view tail = pattern.substr(at + mark.size());
  if (text.size() < at + tail.size() || !text.starts_with(pattern.substr(0, at)) || !text.ends_with(tail)) return false;
  system.emplace(text.substr(at, text.size() - at - tail.size()));
  return true;
}

ACTIVATION_TRACE_COMPILED_INLINE bool matches(std::span<const JinjaPart> pattern, std::span<const JinjaPart> parts,
                                              std::optional<std::string>& system) {
  if (pattern.size() != parts.size()) return false;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    if (pattern[p].kind != parts[p].kind || pattern[p].tokens.size() != parts[p].tokens.size()) return false;
    for (std::size_t t = 0; t < parts[p].tokens.size(); ++t)
      if (!matches(pattern[p].tokens[t], parts[p].tokens[t], system)) return false;
  }
  return true;
}

ACTIVATION_TRACE_COMPILED_INLINE std::optional<RecognisedChat> recognise_chat(std::string_view text) {
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
      if (content != std::string_view::npos) found.style.trim = trims ? ChatTrim::contents : ChatTrim::none;
      if (matches(*JinjaParts::read(pattern), parts, found.system)) return found;
    }
  return std::nullopt;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
