// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>

#include "activation_trace/tokenizer/unicode.hpp"

namespace activation_trace {
inline namespace v0 {

/// `text` in lower case as Python's str.lower() has it, because the published metrics are defined by it. A capital
/// sigma becomes a final one after a letter and before none (Python also looks through apostrophes and the like).
/// Ill-formed UTF-8 becomes U+FFFD.
[[nodiscard]] std::string lower_case(std::string_view text);

namespace detail {

/// Every step-th code point of [first, last] has its lower case at this distance.
struct LowerCaseRun {
  char32_t first;
  char32_t last;
  int step;
  int distance;
};

#include "activation_trace/evaluation/lower_case_table.inl"

[[nodiscard]] inline char32_t lower_case(char32_t c) noexcept {
  if (c < 128) return c >= U'A' && c <= U'Z' ? c + 32 : c;
  const auto* run = std::upper_bound(std::begin(lower_case_runs), std::end(lower_case_runs), c,
                                     [](char32_t x, const LowerCaseRun& r) { return x < r.first; });
  --run;  // the first run is A to Z
  const bool inside = c <= run->last && (c - run->first) % static_cast<char32_t>(run->step) == 0;
  return inside ? static_cast<char32_t>(static_cast<int>(c) + run->distance) : c;
}

}  // namespace detail

inline std::string lower_case(std::string_view text) {
  const auto letter_at = [&](std::size_t i) {
    return i < text.size() && character_class(decode_character(text, i).code_point) == CharacterClass::letter;
  };
  std::string result;
  result.reserve(text.size());
  bool after_letter = false;
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    i += c.length;
    if (c.code_point == U'\u03A3')
      append_utf8(result, after_letter && !letter_at(i) ? U'\u03C2' : U'\u03C3');
    else if (c.code_point == U'\u0130')
      result += "i\u0307";
    else
      append_utf8(result, detail::lower_case(c.code_point));
    after_letter = character_class(c.code_point) == CharacterClass::letter;
  }
  return result;
}

}  // namespace v0
}  // namespace activation_trace
