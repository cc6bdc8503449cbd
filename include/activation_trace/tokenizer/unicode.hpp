// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

namespace activation_trace {
inline namespace v0 {

/// The classes that pre-tokenizers tell apart: \p{L}, \p{N}, \s (White_Space) and the rest, Unicode 16.0.0.
enum class CharacterClass : std::uint8_t { other, letter, number, space };

/// One step of reading UTF-8.
struct DecodedCharacter {
  enum class Status : std::uint8_t {
    valid,
    truncated,   ///< the text ends inside a character that could still become valid
    ill_formed,  ///< no continuation makes these bytes valid
  };
  char32_t code_point = U'\uFFFD';  ///< U+FFFD unless valid
  std::uint8_t length = 1;          ///< bytes taken, at least 1; what is not valid is a maximal subpart
  Status status = Status::ill_formed;
};

/// Reads the character at `text[position]`, position < text.size(). Ill-formed bytes are taken as Unicode
/// recommends (chapter 3.9, "substitution of maximal subparts"), as Python's errors="replace" does.
[[nodiscard]] constexpr DecodedCharacter decode_character(std::string_view text, std::size_t position) noexcept;

[[nodiscard]] bool is_valid_utf8(std::string_view text) noexcept;

/// The text with each ill-formed sequence replaced by U+FFFD.
[[nodiscard]] std::string replace_ill_formed(std::string_view text);

[[nodiscard]] constexpr CharacterClass character_class(char32_t code_point) noexcept;

namespace detail {

struct CodePointRange {
  char32_t first;
  char32_t last;
};

#include "activation_trace/tokenizer/unicode_tables.inl"

template <std::size_t N>
[[nodiscard]] constexpr bool contains(const CodePointRange (&ranges)[N], char32_t c) noexcept {
  const auto* after =
      std::upper_bound(ranges, ranges + N, c, [](char32_t x, const CodePointRange& range) { return x < range.first; });
  return after != ranges && c <= std::prev(after)->last;
}

[[nodiscard]] constexpr CharacterClass search_class(char32_t c) noexcept {
  if (contains(letter_ranges, c)) return CharacterClass::letter;
  if (contains(number_ranges, c)) return CharacterClass::number;
  if (contains(space_ranges, c)) return CharacterClass::space;
  return CharacterClass::other;
}

inline constexpr auto ascii_classes = [] {
  std::array<CharacterClass, 128> classes{};
  for (char32_t c = 0; c < 128; ++c) classes[c] = search_class(c);
  return classes;
}();

}  // namespace detail

constexpr CharacterClass character_class(char32_t code_point) noexcept {
  return code_point < 128 ? detail::ascii_classes[code_point] : detail::search_class(code_point);
}

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

inline bool is_valid_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    if (c.status != DecodedCharacter::Status::valid) return false;
    i += c.length;
  }
  return true;
}

inline std::string replace_ill_formed(std::string_view text) {
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

}  // namespace v0
}  // namespace activation_trace
