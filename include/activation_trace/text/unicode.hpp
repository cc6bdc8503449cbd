// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "activation_trace/text/utf8.hpp"

namespace activation_trace {
inline namespace v0 {

/// The classes that pre-tokenizers tell apart: `\p{L}`, `\p{N}`, `\s` (White_Space) and the rest, Unicode 16.0.0.
enum class CharacterClass : std::uint8_t { other, letter, number, space };

/// The class of a code point; `other` for what is not assigned or none at all.
[[nodiscard]] constexpr CharacterClass character_class(char32_t code_point) noexcept;

/// The classes that a pre-tokenizer which looks at case tells apart in words: `[\p{Lu}\p{Lt}]`, `\p{Ll}`,
/// `[\p{Lm}\p{Lo}\p{M}]`, and the rest.
enum class WordCharacter : std::uint8_t { none, upper, lower, caseless };

/// Which of these a code point is.
[[nodiscard]] constexpr WordCharacter word_character(char32_t code_point) noexcept;

/// Whether a code point is in `\p{P}`.
[[nodiscard]] constexpr bool is_punctuation(char32_t code_point) noexcept;

namespace detail {

/// Every step-th code point of [first, last].
struct SteppedRange {
  char32_t first;
  char32_t last;
  char32_t step;
};

#include "activation_trace/text/unicode_tables.inl"

template <std::size_t N>
[[nodiscard]] constexpr bool contains(const SteppedRange (&ranges)[N], char32_t c) noexcept {
  const auto* after =
      std::upper_bound(ranges, ranges + N, c, [](char32_t x, const SteppedRange& range) { return x < range.first; });
  if (after == ranges) return false;
  const SteppedRange& range = *std::prev(after);
  return c <= range.last && (c - range.first) % range.step == 0;
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

constexpr WordCharacter word_character(char32_t c) noexcept {
  if (detail::contains(detail::lower_runs, c)) return WordCharacter::lower;
  if (detail::contains(detail::upper_runs, c)) return WordCharacter::upper;
  const bool in_word = character_class(c) == CharacterClass::letter || detail::contains(detail::mark_ranges, c);
  return in_word ? WordCharacter::caseless : WordCharacter::none;
}

constexpr bool is_punctuation(char32_t c) noexcept { return detail::contains(detail::punctuation_ranges, c); }

}  // namespace v0
}  // namespace activation_trace
