// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tokenizer/chat_shapes.hpp"
#include "activation_trace/tokenizer/chat_text.hpp"
#include "activation_trace/tokenizer/tokenizer.hpp"

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
  std::string bos{};  ///< the BOS token's text: `<s>`, or `<|begin_of_text|>` for Llama 3
  std::string eos{};  ///< the EOS token's text: `</s>`
  std::optional<std::chrono::year_month_day>
      today{};                        ///< Jinja's strftime_now: Llama 3.2 and Granite 3.3 write it. None: undefined
  std::optional<std::string> date{};  ///< Jinja's date_string, which Llama 3.1 to 3.3 write as it stands, if any
};

/// Renders conversations. Its text is for reading; the ids of a conversation are encode_chat's, where no message can be
/// taken for the template's marks.
class ChatTemplate {
 public:
  /// `default_system` is the system message of conversations that do not begin with one; empty is none.
  explicit ChatTemplate(ChatFormat format = ChatFormat::plain, const std::string& default_system = {},
                        ChatWords words = {});

  /// The format of `template_text` if that is a template that is known (detail::chat_shapes), which render() then
  /// renders to the byte as Jinja does; every other is plain, however alike it looks.
  [[nodiscard]] static ChatTemplate recognise(std::string_view template_text, ChatWords words = {});

  /// How conversations are written; plain if the file's template was not recognised.
  [[nodiscard]] ChatFormat format() const noexcept { return style_.format; }
  /// The system message of conversations that do not begin with one, if any.
  [[nodiscard]] const std::optional<std::string>& default_system() const noexcept { return default_system_; }

  /// The conversation as one text. Throws ArgumentError for no messages, for a role other than system, user and
  /// assistant, for a system message that is not the first, and where the template raises: if user and assistant are to
  /// alternate and do not, if it takes no system message, and if it needs today's date and there is none.
  [[nodiscard]] std::string render(std::span<const ChatMessage> messages,
                                   GenerationPrompt prompt = GenerationPrompt::add) const {
    return render_parts(messages, prompt).text;
  }

  /// The same, with where the contents are.
  [[nodiscard]] ChatText render_parts(std::span<const ChatMessage> messages,
                                      GenerationPrompt prompt = GenerationPrompt::add) const;

 private:
  using Turns = std::span<const ChatMessage>;  // without the system message
  /// A system message: a message's content, or the template's own.
  struct System {
    std::string_view text;
    bool is_content;
  };

  ChatTemplate(detail::RecognisedChat chat, ChatWords words);

  [[nodiscard]] std::optional<System> system_of(std::span<const ChatMessage> messages) const;
  void check_turns(Turns turns) const;
  [[nodiscard]] static ChatText plain(const std::optional<System>& system, Turns turns, GenerationPrompt prompt);
  [[nodiscard]] std::string_view said(const ChatMessage& turn) const;

  detail::ChatStyle style_;
  std::optional<std::string> default_system_;
  ChatWords words_;
  std::optional<std::string> date_;  // as the style writes it
};

/// The ids of a conversation, with BOS and EOS as Tokenizer::encode_prompt has them. What the template wrote is parsed
/// for special tokens; contents of messages are not, so that no text of a message, such as `<|im_end|>`, becomes a
/// control token, nor a user-defined one that looks like one. Other contents have the ids that the rendered text has
/// with SpecialTokens::parse, merges across the borders included. Marks that are plain text, such as Llama 2's `[INST]`
/// and Vicuna's `USER:`, are text in contents too. Throws as ChatTemplate::render and Tokenizer::encode.
[[nodiscard]] inline std::vector<TokenId> encode_chat(const ChatTemplate& chat, std::span<const ChatMessage> messages,
                                                      const Tokenizer& tokenizer,
                                                      GenerationPrompt prompt = GenerationPrompt::add) {
  // Before, so that the contents' places are those in what is encoded.
  std::vector<ChatMessage> valid(messages.begin(), messages.end());
  for (ChatMessage& message : valid)
    if (!is_valid_utf8(message.content)) message.content = replace_ill_formed(message.content);
  const ChatText text = chat.render_parts(valid, prompt);
  return tokenizer.encode_prompt(text.text, text.contents);
}

inline ChatTemplate::ChatTemplate(ChatFormat format, const std::string& default_system, ChatWords words)
    : ChatTemplate(detail::RecognisedChat{detail::style_of(format),
                                          default_system.empty() ? std::nullopt : std::optional(default_system)},
                   std::move(words)) {}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE ChatTemplate::ChatTemplate(detail::RecognisedChat chat, ChatWords words)
    : style_(chat.style), default_system_(std::move(chat.system)), words_(std::move(words)) {
  if (words_.bos.empty()) words_.bos = style_.format == ChatFormat::llama3 ? "<|begin_of_text|>" : "<s>";
  if (words_.eos.empty()) words_.eos = "</s>";
  date_ = detail::date_text(style_.date, words_.today, words_.date);
  if (default_system_ || !style_.default_system || (style_.date == detail::ChatDate::needed && !date_)) return;
  detail::ChatWriter text(words_.bos, words_.eos, date_);
  text.mark(*style_.default_system);
  default_system_ = std::move(text).take().text;
}

ACTIVATION_TRACE_COMPILED_INLINE ChatTemplate ChatTemplate::recognise(std::string_view text, ChatWords words) {
  auto found = detail::recognise_chat(text);
  return found ? ChatTemplate(*std::move(found), std::move(words)) : ChatTemplate();
}

ACTIVATION_TRACE_COMPILED_INLINE std::optional<ChatTemplate::System> ChatTemplate::system_of(
    std::span<const ChatMessage> messages) const {
  if (messages[0].role != "system") {
    if (default_system_) return System{*default_system_, false};
    if (!style_.default_system) return std::nullopt;
    throw ArgumentError("messages: " + std::string(name(format())) +
                        "'s template writes today's date where there is no system message; give ChatWords::today");
  }
  if (style_.place == detail::SystemPlace::refused)
    throw ArgumentError("messages: " + std::string(name(format())) +
                        "'s format takes no system message; say it in the first user message");
  const std::string_view content = messages[0].content;
  if (style_.skips_empty_system && content.empty()) return std::nullopt;
  return System{style_.trim == detail::ChatTrim::contents ? detail::trim(content) : content, true};
}

ACTIVATION_TRACE_COMPILED_INLINE void ChatTemplate::check_turns(Turns turns) const {
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const std::string& role = turns[i].role;
    if (role != "user" && role != "assistant")
      throw ArgumentError(role == "system"
                              ? "messages: the system message is not the first"
                              : "messages: the role is '" + role + "', expected system, user or assistant");
    if (style_.alternates && role != (i % 2 == 0 ? "user" : "assistant"))
      throw ArgumentError("messages: " + std::string(name(format())) +
                          "'s format needs user and assistant to alternate, message " + std::to_string(i) +
                          " after the system message is the " + role + "'s");
  }
}

/// What is written of a turn's content.
ACTIVATION_TRACE_COMPILED_INLINE std::string_view ChatTemplate::said(const ChatMessage& turn) const {
  using detail::ChatTrim;
  std::string_view content = turn.content;
  const bool is_answer = turn.role == "assistant";
  if (is_answer && style_.drops_thoughts) {
    constexpr std::string_view end = "</think>";
    if (const std::size_t at = content.rfind(end); at != std::string_view::npos) content.remove_prefix(at + end.size());
  }
  const bool trims = style_.trim == ChatTrim::contents || style_.trim == ChatTrim::turns ||
                     (is_answer && (style_.trim == ChatTrim::answers || style_.trim == ChatTrim::joined));
  return trims ? detail::trim(content) : content;
}

ACTIVATION_TRACE_COMPILED_INLINE ChatText ChatTemplate::render_parts(std::span<const ChatMessage> messages,
                                                                     GenerationPrompt prompt) const {
  using detail::SystemPlace;
  if (messages.empty()) throw ArgumentError("messages: there are none");
  const std::optional<System> system = system_of(messages);
  const Turns turns = messages.subspan(messages[0].role == "system" ? 1 : 0);
  check_turns(turns);
  if (format() == ChatFormat::plain) return plain(system, turns, prompt);

  detail::ChatWriter out(words_.bos, words_.eos, date_);
  const detail::ChatMarks& marks = style_.marks;
  const auto write_system = [&] {
    out.mark(marks.system.before);
    system->is_content ? out.content(system->text) : out.literal(system->text);
    out.mark(marks.system.after);
  };
  out.mark(marks.begin);
  if (system && style_.place == SystemPlace::turn && !(style_.system_needs_a_turn && turns.empty())) write_system();
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const bool is_user = turns[i].role == "user";
    const detail::ChatMarks::Turn& turn = is_user ? marks.user : marks.assistant;
    out.mark(turn.before);
    const std::size_t begin = out.size();
    if (system && is_user &&
        ((style_.place == SystemPlace::first_turn && i == 0) ||
         (style_.place == SystemPlace::last_turn && i + 1 == turns.size())))
      write_system();
    out.content(said(turns[i]));
    if (is_user && style_.trim == detail::ChatTrim::joined) out.trim_from(begin);
    out.mark(turn.after);
  }
  const bool opens = prompt == GenerationPrompt::add || style_.opens_always;
  if (opens && !(style_.opens_after_a_turn && turns.empty())) out.mark(marks.open);
  if (!opens) out.mark(marks.close);
  return std::move(out).take();
}

ACTIVATION_TRACE_COMPILED_INLINE ChatText ChatTemplate::plain(const std::optional<System>& system, Turns turns,
                                                              GenerationPrompt prompt) {
  detail::ChatWriter out;
  bool first = true;
  const auto line = [&](std::string_view text) {
    if (!first) out.literal("\n");
    first = false;
    out.content(text);
  };
  if (system) line(system->text);
  for (const ChatMessage& turn : turns) line(turn.content);
  if (prompt == GenerationPrompt::add) out.literal("\n");
  return std::move(out).take();
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
