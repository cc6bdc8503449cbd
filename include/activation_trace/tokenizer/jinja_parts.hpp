// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// A piece of a Jinja template: text that is written, an expression whose value is, or a statement.
struct JinjaPart {
  enum class Kind : std::uint8_t { text, output, statement } kind;
  /// What it is made of. A string begins with a quotation mark, and nothing else does; a text is one string.
  std::vector<std::string> tokens;

  friend bool operator==(const JinjaPart& a, const JinjaPart& b) { return a.kind == b.kind && a.tokens == b.tokens; }
};

/// Takes a chat template apart, so that two which differ in how they are written only, in quotation marks, in white
/// space that is not output, in `a.b` for `a['b']`, in `{{ a + b }}` for `{{ a }}{{ b }}`, have the same parts. White
/// space is output as transformers has it: trim_blocks and lstrip_blocks. Nothing is executed. O(text).
class JinjaParts {
 public:
  /// The parts; nothing if the template has what is not understood here.
  [[nodiscard]] static std::optional<std::vector<JinjaPart>> read(std::string_view text) {
    JinjaParts reader(text);
    if (!reader.read_all()) return std::nullopt;
    return std::move(reader.parts_);
  }

 private:
  static constexpr std::string_view spaces = " \t\n\v\f";

  explicit JinjaParts(std::string_view text) : text_(text) {
    if (text_.ends_with('\n')) text_.remove_suffix(1);  // one, as Jinja does
  }

  /// Python counts further characters as white space: next to a tag that takes it, they are not understood here.
  [[nodiscard]] static bool may_be_space(char c) noexcept {
    return static_cast<unsigned char>(c) >= 0x80 || (c >= 0x1c && c <= 0x1f);
  }

  bool read_all();
  bool skip_comment();
  bool read_tag(char open);
  bool read_token(std::vector<std::string>& tokens);
  bool read_string(std::vector<std::string>& tokens);
  void end_tag(bool strips, bool ends_line);
  void add_text(std::string_view text);
  void add_output(std::vector<std::string> tokens);

  [[nodiscard]] std::string_view rest() const { return text_.substr(at_); }

  std::string_view text_;
  std::size_t at_ = 0;
  bool line_starts_ = true;  // what comes next is at the beginning of a line
  bool strips_ = false;      // white space before it was left out
  std::vector<JinjaPart> parts_;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE bool JinjaParts::read_all() {
  if (text_.find('\r') != std::string_view::npos) return false;
  while (at_ < text_.size()) {
    std::size_t tag = at_;
    const auto is_tag = [&] {
      return text_[tag] == '{' && tag + 1 < text_.size() &&
             (text_[tag + 1] == '{' || text_[tag + 1] == '%' || text_[tag + 1] == '#');
    };
    while (tag < text_.size() && !is_tag()) ++tag;
    std::string_view before = text_.substr(at_, tag - at_);
    if (strips_ && !before.empty() && may_be_space(before[0])) return false;
    if (tag == text_.size()) {
      add_text(before);
      return true;
    }
    const char open = text_[tag + 1];
    at_ = tag + 2;
    if (rest().starts_with('+')) return false;
    if (rest().starts_with('-')) {
      ++at_;
      before = before.substr(0, before.find_last_not_of(spaces) + 1);
      if (!before.empty() && may_be_space(before.back())) return false;
    } else if (open != '{') {
      const std::size_t line = before.rfind('\n') + 1;  // 0 if there is none
      const std::size_t text = before.find_first_not_of(spaces, line);
      if (line > 0 || line_starts_) {
        if (text == std::string_view::npos)
          before = before.substr(0, line);
        else if (may_be_space(before[text]))
          return false;
      }
    }
    add_text(before);
    if (!(open == '#' ? skip_comment() : read_tag(open))) return false;
  }
  return true;
}

/// `strips` says whether the tag takes the white space after it, `ends_line` whether it takes one line break.
ACTIVATION_TRACE_COMPILED_INLINE void JinjaParts::end_tag(bool strips, bool ends_line) {
  const std::size_t begin = at_;
  if (strips)
    at_ = std::min(text_.size(), text_.find_first_not_of(spaces, at_));
  else if (ends_line && rest().starts_with('\n'))
    ++at_;
  strips_ = strips;
  line_starts_ = at_ > begin && text_[at_ - 1] == '\n';
}

ACTIVATION_TRACE_COMPILED_INLINE bool JinjaParts::skip_comment() {
  const std::size_t end = text_.find("#}", at_);
  if (end == std::string_view::npos) return false;
  const char sign = end > at_ ? text_[end - 1] : ' ';
  at_ = end + 2;
  end_tag(sign == '-', true);
  return sign != '+';
}

ACTIVATION_TRACE_COMPILED_INLINE bool JinjaParts::read_tag(char open) {
  const std::string_view close = open == '{' ? "}}" : "%}";
  std::vector<std::string> tokens;
  std::size_t depth = 0;
  for (;;) {
    at_ = std::min(text_.size(), text_.find_first_not_of(spaces, at_));
    if (at_ == text_.size()) return false;
    const bool strips = rest().starts_with('-') && rest().substr(1).starts_with(close);
    if (depth == 0 && (strips || rest().starts_with(close))) {
      at_ += strips ? 3 : 2;
      end_tag(strips, open == '%');
      break;
    }
    const char c = text_[at_];
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') {
      if (depth == 0) return false;
      --depth;
    }
    if (!read_token(tokens)) return false;
  }
  if (tokens.empty() || tokens[0] == "raw") return false;
  if (open == '{')
    add_output(std::move(tokens));
  else
    parts_.push_back({JinjaPart::Kind::statement, std::move(tokens)});
  return true;
}

ACTIVATION_TRACE_COMPILED_INLINE bool JinjaParts::read_token(std::vector<std::string>& tokens) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const char c = text_[at_];
  if (c == '\'' || c == '"') return read_string(tokens);
  if (is_letter(c) || is_digit(c)) {
    std::size_t end = at_;
    while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
    std::string word(text_.substr(at_, end - at_));
    at_ = end;
    if (is_letter(c) && !tokens.empty() && tokens.back() == ".") {
      tokens.back() = "[";
      tokens.push_back('"' + word);
      word = "]";
    }
    tokens.push_back(std::move(word));
    return true;
  }
  if (std::string_view("()[]{}.,:|+-*/%~<>=!").find(c) == std::string_view::npos) return false;
  std::size_t length = 1;
  for (const std::string_view two : {"==", "!=", "<=", ">=", "//", "**"})
    if (rest().starts_with(two)) length = 2;
  tokens.emplace_back(rest().substr(0, length));
  at_ += length;
  return true;
}

ACTIVATION_TRACE_COMPILED_INLINE bool JinjaParts::read_string(std::vector<std::string>& tokens) {
  const char quote = text_[at_++];
  std::string token(1, '"');
  for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
    char c = text_[at_];
    if (c == '\\') {
      constexpr std::string_view names = "nt\\'\"";
      constexpr std::string_view meant = "\n\t\\'\"";
      const std::size_t which = ++at_ < text_.size() ? names.find(text_[at_]) : std::string_view::npos;
      if (which == std::string_view::npos) return false;
      c = meant[which];
    }
    token.push_back(c);
  }
  if (at_ == text_.size()) return false;
  ++at_;
  tokens.push_back(std::move(token));
  return true;
}

ACTIVATION_TRACE_COMPILED_INLINE void JinjaParts::add_text(std::string_view text) {
  if (text.empty()) return;
  if (parts_.empty() || parts_.back().kind != JinjaPart::Kind::text) parts_.push_back({JinjaPart::Kind::text, {"\""}});
  parts_.back().tokens[0] += text;
}

ACTIVATION_TRACE_COMPILED_INLINE void JinjaParts::add_output(std::vector<std::string> tokens) {
  // A sum of names, strings and their filters writes one summand after the other.
  std::vector<std::vector<std::string>> summands(1);
  std::size_t depth = 0;
  bool is_sum = true;
  for (const std::string& token : tokens) {
    const bool opens = token == "(" || token == "[" || token == "{";
    const bool closes = token == ")" || token == "]" || token == "}";
    if (closes) --depth;
    if (depth == 0 && token == "+") {
      summands.emplace_back();
      continue;
    }
    constexpr std::string_view operators[] = {"if", "else", "and", "or", "not", "in", "is"};
    const bool is_operator = std::find(std::begin(operators), std::end(operators), token) != std::end(operators) ||
                             std::string_view(",:-*/%~<>=!").find(token[0]) != std::string_view::npos;
    if (depth == 0 && is_operator) is_sum = false;
    if (opens) ++depth;
    summands.back().push_back(token);
  }
  if (!is_sum) {
    parts_.push_back({JinjaPart::Kind::output, std::move(tokens)});
    return;
  }
  for (std::vector<std::string>& summand : summands)
    if (summand.size() == 1 && summand[0][0] == '"')
      add_text(std::string_view(summand[0]).substr(1));
    else
      parts_.push_back({JinjaPart::Kind::output, std::move(summand)});
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
