// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"
#include "activation_trace/text/utf8.hpp"

namespace activation_trace {
inline namespace v0 {

/// `text` in lower case as Python's str.lower() has it, because the published metrics are defined by it. A capital
/// sigma becomes a final one after a letter that has case and before none, apostrophes, accents and the like looked
/// through (Unicode's Final_Sigma). Ill-formed UTF-8 becomes U+FFFD.
[[nodiscard]] std::string lower_case(std::string_view text);

namespace detail {

/// Every step-th code point of [first, last] has its lower case at this distance.
struct LowerCaseRun {
  char32_t first;
  char32_t last;
  int step;
  int distance;
};

#include "activation_trace/text/lower_case_table.inl"

[[nodiscard]] char32_t lower_case(char32_t c) noexcept;

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE char32_t lower_case(char32_t c) noexcept {
  if (c < 128) return c >= U'A' && c <= U'Z' ? c + 32 : c;
  const auto* run = std::upper_bound(std::begin(lower_case_runs), std::end(lower_case_runs), c,
                                     [](char32_t x, const LowerCaseRun& r) { return x < r.first; });
  --run;  // the first run is A to Z
  const bool inside = c <= run->last && (c - run->first) % static_cast<char32_t>(run->step) == 0;
  return inside ? static_cast<char32_t>(static_cast<int>(c) + run->distance) : c;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::string lower_case(std::string_view text) {
  const auto before_cased = [&](std::size_t i) {
    for (; i < text.size(); i += decode_character(text, i).length)
      if (const char32_t c = decode_character(text, i).code_point; !detail::contains(detail::ignored_by_case_ranges, c))
        return detail::contains(detail::cased_ranges, c);
    return false;
  };
  std::string result;
  result.reserve(text.size());
  bool after_cased = false;
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    i += c.length;
    if (c.code_point == U'\u03A3')
      append_utf8(result, after_cased && !before_cased(i) ? U'\u03C2' : U'\u03C3');
    else if (c.code_point == U'\u0130')
      result += "i\u0307";
    else
      append_utf8(result, detail::lower_case(c.code_point));
    if (!detail::contains(detail::ignored_by_case_ranges, c.code_point))
      after_cased = detail::contains(detail::cased_ranges, c.code_point);
  }
  return result;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
