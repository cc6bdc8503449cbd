// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"
#include "activation_trace/text/utf8.hpp"

namespace activation_trace {
inline namespace v0 {

// Text from files, models and servers may hold anything: what a terminal takes for a command, what turns the reading
// direction, what only looks like the end of a message. These make it fit to be shown.

/// How visible() shows spaces: as they are, or as U+2423, a low bracket.
enum class Spaces { plain, marked };

/// `bytes` as one line of well-formed UTF-8 in which nothing is hidden: `\n`, `\t`, `\r`, other control and format
/// characters as `\x1b` or `\u{202e}`, bytes that are no UTF-8 as `\xff`. What is printable stays as it is, a backslash
/// too.
[[nodiscard]] std::string visible(std::string_view bytes, Spaces spaces = Spaces::plain);

/// The same of a text of several lines: line ends and tabs stay, and so do the joiners within words and emoji.
[[nodiscard]] std::string visible_lines(std::string_view bytes);

namespace detail {

#include "activation_trace/text/invisible_table.inl"

/// The character if it may be printed, else how it is written instead.
void append_visible(std::string& result, std::string_view bytes, const DecodedCharacter& c);

/// Calls `use(character, its bytes)` for each.
template <class Use>
void for_each_character(std::string_view text, const Use& use) {
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    use(c, text.substr(i, c.length));
    i += c.length;
  }
}

/// visible(text), cut behind `longest` bytes of it, which "..." then says.
[[nodiscard]] std::string escaped(std::string_view text, std::size_t longest);

/// Text from a file in a message: visible, in quotes, cut behind 80 bytes.
[[nodiscard]] inline std::string printable(std::string_view text) {
  const std::string shown = escaped(text, 80);
  return text.size() > 80 ? "'" + shown.substr(0, shown.size() - 3) + "'..." : "'" + shown + "'";
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void append_visible(std::string& result, std::string_view bytes,
                                                     const DecodedCharacter& c) {
  char code[16];
  if (c.status != DecodedCharacter::Status::valid) {
    for (const char byte : bytes) {
      std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(byte)));
      result += code;
    }
  } else if (c.code_point == '\n' || c.code_point == '\t' || c.code_point == '\r') {
    result += c.code_point == '\n' ? "\\n" : c.code_point == '\t' ? "\\t" : "\\r";
  } else if (c.code_point < 0x20 || contains(invisible_ranges, c.code_point)) {
    std::snprintf(code, sizeof code, c.code_point < 0x80 ? "\\x%02x" : "\\u{%x}", static_cast<unsigned>(c.code_point));
    result += code;
  } else {
    result += bytes;
  }
}

ACTIVATION_TRACE_COMPILED_INLINE std::string escaped(std::string_view text, std::size_t longest) {
  std::size_t length = std::min(longest, text.size());
  // Not within a character.
  for (int i = 0; i < 3 && length > 0 && length < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[length]) & 0xc0) != 0x80) break;
    --length;
  }
  return visible(text.substr(0, length)) + (text.size() > length ? "..." : "");
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::string visible(std::string_view bytes, Spaces spaces) {
  std::string result;
  detail::for_each_character(bytes, [&](const DecodedCharacter& c, std::string_view character) {
    if (c.code_point == ' ' && spaces == Spaces::marked)
      result += "\u2423";
    else
      detail::append_visible(result, character, c);
  });
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE std::string visible_lines(std::string_view bytes) {
  std::string result;
  detail::for_each_character(bytes, [&](const DecodedCharacter& c, std::string_view character) {
    constexpr std::u32string_view kept = U"\n\t\u200c\u200d";
    if (kept.find(c.code_point) != std::u32string_view::npos)
      result += character;
    else
      detail::append_visible(result, character, c);
  });
  return result;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
