// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// One step of reading UTF-8.
struct DecodedCharacter {
  /// What the bytes are.
  enum class Status : std::uint8_t {
    valid,       ///< a character, in its only allowed form
    truncated,   ///< the text ends inside a character that could still become valid
    ill_formed,  ///< no continuation makes these bytes valid
  };
  char32_t code_point = U'\uFFFD';     ///< U+FFFD unless valid
  std::uint8_t length = 1;             ///< bytes taken, at least 1; what is not valid is a maximal subpart
  Status status = Status::ill_formed;  ///< what the bytes at the position are
};

/// Reads the character at `text[position]`, position < text.size(). Ill-formed bytes are taken as Unicode
/// recommends (chapter 3.9, "substitution of maximal subparts"), as Python's errors="replace" does.
[[nodiscard]] constexpr DecodedCharacter decode_character(std::string_view text, std::size_t position) noexcept;

/// Whether all of it is well-formed UTF-8; so is an empty text.
[[nodiscard]] bool is_valid_utf8(std::string_view text) noexcept;

/// The text with each ill-formed sequence replaced by U+FFFD.
[[nodiscard]] std::string replace_ill_formed(std::string_view text);

/// Appends the character as UTF-8.
void append_utf8(std::string& text, char32_t code_point);

namespace detail {

struct CodePointRange {
  char32_t first;
  char32_t last;
};

template <std::size_t N>
[[nodiscard]] constexpr bool contains(const CodePointRange (&ranges)[N], char32_t c) noexcept {
  const auto* after =
      std::upper_bound(ranges, ranges + N, c, [](char32_t x, const CodePointRange& range) { return x < range.first; });
  return after != ranges && c <= std::prev(after)->last;
}

}  // namespace detail

constexpr DecodedCharacter decode_character(std::string_view text, std::size_t position) noexcept {
  using Status = DecodedCharacter::Status;
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[position + i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, Status::valid};
  if (lead < 0xc2 || lead > 0xf4) return {};
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte's range rules out overlong forms, surrogates and what lies above U+10FFFF.
  const std::uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const std::uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  char32_t code_point = lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size() - position) return {U'\uFFFD', static_cast<std::uint8_t>(i), Status::truncated};
    const std::uint8_t next = byte(i);
    if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xbf))
      return {U'\uFFFD', static_cast<std::uint8_t>(i), Status::ill_formed};
    code_point = code_point << 6 | (next & 0x3fu);
  }
  return {code_point, static_cast<std::uint8_t>(length), Status::valid};
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE bool is_valid_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    if (c.status != DecodedCharacter::Status::valid) return false;
    i += c.length;
  }
  return true;
}

ACTIVATION_TRACE_COMPILED_INLINE std::string replace_ill_formed(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    if (c.status == DecodedCharacter::Status::valid)
      result.append(text, i, c.length);
    else
      result += "\xef\xbf\xbd";
    i += c.length;
  }
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE void append_utf8(std::string& text, char32_t c) {
  const auto byte = [&](char32_t bits) { text += static_cast<char>(static_cast<unsigned char>(bits)); };
  const auto tail = [&](int shift) { byte(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) return byte(0xc0 | c >> 6), tail(0);
  if (c < 0x10000) return byte(0xe0 | c >> 12), tail(6), tail(0);
  return byte(0xf0 | c >> 18), tail(12), tail(6), tail(0);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
