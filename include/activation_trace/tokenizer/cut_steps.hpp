// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>

#include "activation_trace/text/unicode.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// What stands between the brackets of a regular expression with one class, such as `\s?[A-Za-z_]+`: characters and
/// ranges of them.
class WrittenClass {
 public:
  constexpr explicit WrittenClass(std::string_view regex) {
    const std::string_view text = regex.substr(0, regex.rfind(']')).substr(regex.find('[') + 1);
    for (std::size_t i = 0; i < text.size();) {
      const bool is_range = text[i] == '-' && size_ != 0;
      if (is_range) ++i;
      const DecodedCharacter c = decode_character(text, i);
      i += c.length;
      if (!is_range) ranges_[size_++].first = c.code_point;
      ranges_[size_ - 1].last = c.code_point;
    }
    std::sort(ranges_.begin(), ranges_.begin() + size_, is_before);
  }

  [[nodiscard]] constexpr bool contains(char32_t c) const noexcept {
    const auto* after = std::upper_bound(ranges_.begin(), ranges_.begin() + size_, CodePointRange{c, c}, is_before);
    return after != ranges_.begin() && c <= std::prev(after)->last;
  }

 private:
  static constexpr bool is_before(const CodePointRange& a, const CodePointRange& b) noexcept {
    return a.first < b.first;
  }

  std::array<CodePointRange, 128> ranges_{};  // ascending
  std::size_t size_ = 0;
};

template <const std::string_view& regex>
inline constexpr WrittenClass written_class{regex};

/// Whether a character is in the class of `regex`.
template <const std::string_view& regex>
[[nodiscard]] constexpr bool in_written_class(char32_t c) noexcept {
  return written_class<regex>.contains(c);
}

template <CharacterClass wanted>
[[nodiscard]] constexpr bool in_class(char32_t c) noexcept {
  return character_class(c) == wanted;
}

/// One of several regular expressions that are applied in turn, each to every piece that those before it have left,
/// matches and what lies between them alike: what matches is a piece. All look for runs of one class of characters.
struct CutStep {
  /// What of a run matches.
  enum class Match : std::uint8_t {
    each,              ///< `C`: its characters, each on its own
    run,               ///< `C+`
    run_behind_space,  ///< `\s?C+`: with a white space before it
    run_at_end,        ///< `C+$`: if the piece ends with it
  };

  std::string_view regex;  ///< of tokenizer.json's Split; none is its Digits, one by one
  Match match;
  bool (*contains)(char32_t) noexcept;
};

inline constexpr std::string_view line_break = "[\r\n]";
/// Letters that have two cases, nearly all of them.
inline constexpr std::string_view cased_word =
    "\\s?[A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370-\u0373\u0376"
    "\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F"
    "\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77"
    "\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D"
    "\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4"
    "\u1FF6-\u1FFC\u2102\u2107\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139"
    "\u213C-\u213F\u2145-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D"
    "\uA680-\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A"
    "\uFF41-\uFF5A\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2"
    "\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943]+";
inline constexpr std::string_view ascii_or_wide_symbols =
    "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+";
inline constexpr std::string_view east_asian_word = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";

inline constexpr CutStep deepseek_llm_steps[] = {
    {line_break, CutStep::Match::each, in_written_class<line_break>},
    {cased_word, CutStep::Match::run_behind_space, in_written_class<cased_word>},
    {ascii_or_wide_symbols, CutStep::Match::run_behind_space, in_written_class<ascii_or_wide_symbols>},
    {R"(\s+$)", CutStep::Match::run_at_end, in_class<CharacterClass::space>},
    {east_asian_word, CutStep::Match::run, in_written_class<east_asian_word>},
    {"", CutStep::Match::each, in_class<CharacterClass::number>},
};

inline constexpr CutStep deepseek_coder_steps[] = {
    {line_break, CutStep::Match::each, in_written_class<line_break>},
    {R"(\s?\p{L}+)", CutStep::Match::run_behind_space, in_class<CharacterClass::letter>},
    {R"(\s?\p{P}+)", CutStep::Match::run_behind_space, activation_trace::is_punctuation},
    {east_asian_word, CutStep::Match::run, in_written_class<east_asian_word>},
    {"", CutStep::Match::each, in_class<CharacterClass::number>},
};

/// The first match in `text` that begins at `from` or later, as its begin and end; at the text's end if there is none.
[[nodiscard]] constexpr std::pair<std::size_t, std::size_t> find_match(const CutStep& step, std::string_view text,
                                                                       std::size_t from) noexcept {
  std::size_t begin = from;  // of a match whose run begins at i
  for (std::size_t i = from; i < text.size();) {
    DecodedCharacter c = decode_character(text, i);
    if (!step.contains(c.code_point)) {
      const bool is_before =
          step.match == CutStep::Match::run_behind_space && in_class<CharacterClass::space>(c.code_point);
      begin = is_before ? i : i + c.length;
      i += c.length;
      continue;
    }
    std::size_t end = i;
    do {
      end += c.length;
      if (end != text.size()) c = decode_character(text, end);
    } while (end != text.size() && step.match != CutStep::Match::each && step.contains(c.code_point));
    if (step.match != CutStep::Match::run_at_end || end == text.size()) return {begin, end};
    begin = i = end;
  }
  return {text.size(), text.size()};
}

/// Calls `take(std::string_view piece)` for what all the steps leave of `text`. One pass for each step.
template <class Take>
constexpr void cut_by_steps(std::span<const CutStep> steps, std::string_view text, Take& take) {
  if (steps.empty()) {
    take(text);
    return;
  }
  for (std::size_t at = 0; at < text.size();) {
    const auto [begin, end] = find_match(steps.front(), text, at);
    if (begin != at) cut_by_steps(steps.subspan(1), text.substr(at, begin - at), take);
    if (begin != end) cut_by_steps(steps.subspan(1), text.substr(begin, end - begin), take);
    at = end;
  }
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
