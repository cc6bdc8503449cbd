// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "activation_trace/text/utf8.hpp"

namespace activation_trace {
inline namespace v0 {

/// The classes that pre-tokenizers tell apart: `\p{L}`, `\p{N}`, `\s` (White_Space) and the rest, Unicode 16.0.0.
enum class CharacterClass : std::uint8_t { other, letter, number, space };

/// The class of a code point; `other` for what is not assigned or none at all.
[[nodiscard]] constexpr CharacterClass character_class(char32_t code_point) noexcept;

namespace detail {

#include "activation_trace/text/unicode_tables.inl"

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

}  // namespace v0
}  // namespace activation_trace
