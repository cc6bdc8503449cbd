// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// The ways of writing a conversation that are built in. No template is ever executed: a file's template is
/// Jinja, a programming language, and running it has given attackers control (formats/README.md 4).
enum class ChatFormat : std::uint8_t {
  plain,        ///< the contents, one per line
  chatml,       ///< `<|im_start|>`role, content, `<|im_end|>`
  llama2,       ///< `<s>[INST] content [/INST]`
  llama3,       ///< `<|start_header_id|>`role`<|end_header_id|>`, content, `<|eot_id|>`
  vicuna,       ///< USER: content ASSISTANT:
  zephyr,       ///< `<|user|>`, content, `</s>`
  mistral,      ///< `<s>`, then `[INST] content [/INST]`, where the versions have spaces or none
  gemma,        ///< `<start_of_turn>`role, content, `<end_of_turn>`
  phi3,         ///< `<|user|>`, content, `<|end|>`
  granite,      ///< `<|start_of_role|>`role`<|end_of_role|>`, content, `<|end_of_text|>`
  deepseek_r1,  ///< `<｜User｜>`, content, `<｜Assistant｜><think>`
};

/// A name to show, "llama-2".
[[nodiscard]] constexpr std::string_view name(ChatFormat format) noexcept;

namespace detail {

/// What is written around contents, with the words of ChatWriter::mark.
struct ChatMarks {
  struct Turn {
    std::string_view before{};
    std::string_view after{};
  };
  std::string_view begin{};  ///< before everything
  Turn system{};
  Turn user{};
  Turn assistant{};
  std::string_view open{};   ///< where the assistant is to begin
  std::string_view close{};  ///< in its place where it is not
};

/// Where the system message is written.
enum class SystemPlace : std::uint8_t {
  turn,        ///< before the turns
  first_turn,  ///< in the first, which is the user's
  last_turn,   ///< in the last, if that is the user's
  nowhere,     ///< nowhere: it is ignored
  refused,     ///< it is an error
};

/// Around which contents white space is left out.
enum class ChatTrim : std::uint8_t {
  none,
  contents,  ///< all
  turns,     ///< all but the system message
  answers,   ///< the assistant's
  joined,    ///< the assistant's, and around the user's with the system message in it
};

/// How a date is written.
enum class ChatDate : std::uint8_t {
  fixed,   ///< "26 Jul 2024" unless date_string is given, as in Llama 3.1
  today,   ///< the same, but today's if strftime_now is given: "07 Mar 2026", as in Llama 3.2
  needed,  ///< today's: "March 07, 2026", as in Granite 3.3
};

/// How a template of a format writes it.
struct ChatStyle {
  ChatFormat format = ChatFormat::plain;
  std::string_view name = "plain";  ///< of the format
  ChatMarks marks{};
  SystemPlace place = SystemPlace::turn;
  ChatTrim trim = ChatTrim::none;
  ChatDate date = ChatDate::fixed;
  bool alternates = false;           ///< turns that are not the user's and the assistant's by turns are an error
  bool opens_always = false;         ///< the assistant is to begin, asked or not
  bool opens_after_a_turn = false;   ///< only if there is a turn
  bool system_needs_a_turn = false;  ///< a system message alone is not written
  bool skips_empty_system = false;   ///< an empty system message is none
  bool drops_thoughts = false;       ///< the assistant's contents begin after their last `</think>`
  std::optional<std::string_view> default_system{};  ///< as in marks
};

inline constexpr ChatStyle chatml_style{.format = ChatFormat::chatml,
                                        .name = "chatml",
                                        .marks = {.system = {"<|im_start|>system\n", "<|im_end|>\n"},
                                                  .user = {"<|im_start|>user\n", "<|im_end|>\n"},
                                                  .assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"},
                                                  .open = "<|im_start|>assistant\n"}};

inline constexpr ChatStyle llama2_style{.format = ChatFormat::llama2,
                                        .name = "llama-2",
                                        .marks = {.system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
                                                  .user = {"%bos%[INST] ", " [/INST]"},
                                                  .assistant = {" ", " %eos%"}},
                                        .place = SystemPlace::first_turn,
                                        .trim = ChatTrim::joined,
                                        .alternates = true};

inline constexpr ChatStyle llama3_style{
    .format = ChatFormat::llama3,
    .name = "llama-3",
    .marks = {.begin = "%bos%",
              .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
              .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
              .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
              .open = "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    .trim = ChatTrim::contents};

inline constexpr ChatStyle vicuna_style{
    .format = ChatFormat::vicuna,
    .name = "vicuna",
    .marks = {.system = {"", " "},
              .user = {"USER: ", " "},
              .assistant = {"ASSISTANT: ", "%eos%"},
              .open = "ASSISTANT:"},
    .default_system =
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the user's questions."};

inline constexpr ChatStyle zephyr_style{.format = ChatFormat::zephyr,
                                        .name = "zephyr",
                                        .marks = {.system = {"<|system|>\n", "%eos%\n"},
                                                  .user = {"<|user|>\n", "%eos%\n"},
                                                  .assistant = {"<|assistant|>\n", "%eos%\n"},
                                                  .open = "<|assistant|>\n"}};

/// Version 1 with a system message.
inline constexpr ChatStyle mistral_style{
    .format = ChatFormat::mistral,
    .name = "mistral",
    .marks = {.begin = "%bos%", .system = {"", "\n\n"}, .user = {" [INST] ", " [/INST]"}, .assistant = {" ", "%eos%"}},
    .place = SystemPlace::first_turn,
    .alternates = true};

/// Gemma 3's; 1 and 2 refuse a system message.
inline constexpr ChatStyle gemma_style{.format = ChatFormat::gemma,
                                       .name = "gemma",
                                       .marks = {.begin = "%bos%",
                                                 .system = {"", "\n\n"},
                                                 .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
                                                 .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},
                                                 .open = "<start_of_turn>model\n"},
                                       .place = SystemPlace::first_turn,
                                       .trim = ChatTrim::turns,
                                       .alternates = true};

/// Phi-3.5-mini's.
inline constexpr ChatStyle phi3_style{.format = ChatFormat::phi3,
                                      .name = "phi-3",
                                      .marks = {.system = {"<|system|>\n", "<|end|>\n"},
                                                .user = {"<|user|>\n", "<|end|>\n"},
                                                .assistant = {"<|assistant|>\n", "<|end|>\n"},
                                                .open = "<|assistant|>\n",
                                                .close = "%eos%"},
                                      .skips_empty_system = true};

inline constexpr ChatStyle granite_style{
    .format = ChatFormat::granite,
    .name = "granite",
    .marks = {.system = {"<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\n"},
              .user = {"<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n"},
              .assistant = {"<|start_of_role|>assistant<|end_of_role|>", "<|end_of_text|>\n"},
              .open = "<|start_of_role|>assistant<|end_of_role|>"}};

inline constexpr ChatStyle deepseek_r1_style{.format = ChatFormat::deepseek_r1,
                                             .name = "deepseek-r1",
                                             .marks = {.begin = "%bos%",
                                                       .user = {"<｜User｜>", ""},
                                                       .assistant = {"<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
                                                       .open = "<｜Assistant｜><think>\n"},
                                             .drops_thoughts = true};

/// The usual style of a format.
[[nodiscard]] constexpr ChatStyle style_of(ChatFormat format) noexcept {
  for (const ChatStyle& style : {chatml_style, llama2_style, llama3_style, vicuna_style, zephyr_style, mistral_style,
                                 gemma_style, phi3_style, granite_style, deepseek_r1_style})
    if (style.format == format) return style;
  return {};
}

/// A date as a template writes it; nothing if it needs today's and there is none.
[[nodiscard]] std::optional<std::string> date_text(ChatDate form,
                                                   const std::optional<std::chrono::year_month_day>& today,
                                                   const std::optional<std::string>& date_string);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::optional<std::string> date_text(
    ChatDate form, const std::optional<std::chrono::year_month_day>& today,
    const std::optional<std::string>& date_string) {
  constexpr std::array<std::string_view, 12> months{"January",   "February", "March",    "April",
                                                    "May",       "June",     "July",     "August",
                                                    "September", "October",  "November", "December"};
  if (form != ChatDate::needed && date_string) return date_string;
  if (form == ChatDate::fixed || !today || !today->ok())
    return form == ChatDate::needed ? std::nullopt : std::optional<std::string>("26 Jul 2024");
  const std::string_view month = months[static_cast<unsigned>(today->month()) - 1];
  const std::string day = std::to_string(100 + static_cast<unsigned>(today->day())).substr(1);
  const std::string year = std::to_string(static_cast<int>(today->year()));
  if (form == ChatDate::needed) return std::string(month) + ' ' + day + ", " + year;
  return day + ' ' + std::string(month.substr(0, 3)) + ' ' + year;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

constexpr std::string_view name(ChatFormat format) noexcept { return detail::style_of(format).name; }

}  // namespace v0
}  // namespace activation_trace
