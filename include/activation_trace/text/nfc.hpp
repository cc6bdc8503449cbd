// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/text/utf8.hpp"

namespace activation_trace {
inline namespace v0 {

/// The text in Unicode's Normalization Form C: what can be one character is one, accents are in their order. Ill-formed
/// UTF-8 becomes U+FFFD. Unicode 16.0.0; O(n log n), since a letter may have any number of accents.
[[nodiscard]] std::string to_nfc(std::string_view text);

namespace detail {

#include "activation_trace/text/nfc_table.inl"

/// A character and its canonical combining class, 0 for those that begin.
struct CombiningCharacter {
  char32_t code_point;
  char32_t combining_class;
};

// Hangul syllables are made by rule: leading consonant, vowel and, or not, a trailing consonant.
inline constexpr char32_t hangul_leading = 0x1100;
inline constexpr char32_t hangul_vowels = 0x1161;
inline constexpr char32_t hangul_trailing = 0x11a7;  ///< one before the first, so that 0 is none
inline constexpr char32_t hangul_syllables = 0xac00;
inline constexpr char32_t hangul_leading_count = 19;
inline constexpr char32_t hangul_vowel_count = 21;
inline constexpr char32_t hangul_trailing_count = 28;

/// The canonical combining class.
[[nodiscard]] char32_t combining_class(char32_t c) noexcept;

#if ACTIVATION_TRACE_BODIES

/// Appends what the character is made of, down to what is made of nothing else.
ACTIVATION_TRACE_COMPILED_INLINE void decompose(char32_t c, std::vector<CombiningCharacter>& out) {
  if (c < 0xc0) return out.push_back({c, 0});
  if (c >= hangul_syllables &&
      c < hangul_syllables + hangul_leading_count * hangul_vowel_count * hangul_trailing_count) {
    const char32_t index = c - hangul_syllables;
    out.push_back({hangul_leading + index / (hangul_vowel_count * hangul_trailing_count), 0});
    out.push_back({hangul_vowels + index / hangul_trailing_count % hangul_vowel_count, 0});
    if (index % hangul_trailing_count != 0) out.push_back({hangul_trailing + index % hangul_trailing_count, 0});
    return;
  }
  std::size_t first = 0;
  std::size_t last = std::size(decomposition_rows) / 3;
  while (first < last) {
    const std::size_t middle = first + (last - first) / 2;
    const char32_t* row = decomposition_rows + 3 * middle;
    if (row[0] == c) {
      decompose(row[1], out);  // a few deep at most
      if (row[2] != 0) decompose(row[2], out);
      return;
    }
    if (row[0] < c)
      first = middle + 1;
    else
      last = middle;
  }
  out.push_back({c, combining_class(c)});
}

#endif  // ACTIVATION_TRACE_BODIES

/// The one character that the two make, or 0.
[[nodiscard]] char32_t compose(char32_t a, char32_t b) noexcept;

#if ACTIVATION_TRACE_BODIES

/// Puts every run of accents into the order of their classes.
ACTIVATION_TRACE_COMPILED_INLINE void sort_accents(std::vector<CombiningCharacter>& text) {
  const auto is_starter = [](const CombiningCharacter& c) { return c.combining_class == 0; };
  for (auto begin = text.begin(); begin != text.end();) {
    const auto end = std::find_if(begin, text.end(), is_starter);
    std::stable_sort(begin, end, [](const CombiningCharacter& a, const CombiningCharacter& b) {
      return a.combining_class < b.combining_class;
    });
    begin = end == text.end() ? end : std::next(end);
  }
}

ACTIVATION_TRACE_COMPILED_INLINE char32_t combining_class(char32_t c) noexcept {
  std::size_t first = 0;
  std::size_t last = std::size(combining_class_rows) / 3;
  while (first < last) {
    const std::size_t middle = first + (last - first) / 2;
    const char32_t* row = combining_class_rows + 3 * middle;
    if (c < row[0])
      last = middle;
    else if (c > row[1])
      first = middle + 1;
    else
      return row[2];
  }
  return 0;
}

ACTIVATION_TRACE_COMPILED_INLINE char32_t compose(char32_t a, char32_t b) noexcept {
  if (a >= hangul_leading && a < hangul_leading + hangul_leading_count && b >= hangul_vowels &&
      b < hangul_vowels + hangul_vowel_count)
    return hangul_syllables + ((a - hangul_leading) * hangul_vowel_count + (b - hangul_vowels)) * hangul_trailing_count;
  if (a >= hangul_syllables &&
      a < hangul_syllables + hangul_leading_count * hangul_vowel_count * hangul_trailing_count &&
      (a - hangul_syllables) % hangul_trailing_count == 0 && b > hangul_trailing &&
      b < hangul_trailing + hangul_trailing_count)
    return a + (b - hangul_trailing);
  const auto* end = std::end(composition_order);
  const auto* found = std::lower_bound(std::begin(composition_order), end, 0, [&](std::uint16_t i, int) {
    const char32_t* row = decomposition_rows + 3 * std::size_t{i};
    return row[1] != a ? row[1] < a : row[2] < b;
  });
  if (found == end) return 0;
  const char32_t* row = decomposition_rows + 3 * std::size_t{*found};
  return row[1] == a && row[2] == b ? row[0] : 0;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::string to_nfc(std::string_view text) {
  // Below U+0300 nothing changes, and no lead byte of what is below is as large.
  const auto may_change = [](char c) { return static_cast<unsigned char>(c) >= 0xcc; };
  if (std::none_of(text.begin(), text.end(), may_change)) return replace_ill_formed(text);

  std::vector<detail::CombiningCharacter> characters;
  characters.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    detail::decompose(c.code_point, characters);
    i += c.length;
  }
  detail::sort_accents(characters);

  // A character joins the last one that begins, unless something of its class or above stands between.
  std::size_t size = 0;
  std::size_t starter = 0;
  bool has_starter = false;
  for (const detail::CombiningCharacter c : characters) {
    const bool adjacent = has_starter && starter + 1 == size;
    const bool blocked = !has_starter || (!adjacent && characters[size - 1].combining_class >= c.combining_class);
    const char32_t composed = blocked ? 0 : detail::compose(characters[starter].code_point, c.code_point);
    if (composed != 0) {
      characters[starter].code_point = composed;
      continue;
    }
    if (c.combining_class == 0) {
      starter = size;
      has_starter = true;
    }
    characters[size++] = c;
  }
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < size; ++i) append_utf8(result, characters[i].code_point);
  return result;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
