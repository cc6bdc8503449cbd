// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/text/lower_case.hpp"
#include "activation_trace/text/unicode.hpp"

namespace activation_trace {
inline namespace v0 {

/// How well an answer agrees with the best of its gold answers, each measure by itself (evaluation/README.md 2.1).
struct AnswerMetrics {
  bool exact_match = false;         ///< the published measure: equal, or either contains the other, normalised
  bool strict_exact_match = false;  ///< equal when normalised, as the literature has it
  double f1 = 0;                    ///< of the normalised words, as multisets
};

/// Throws nothing; without gold answers nothing is right.
[[nodiscard]] AnswerMetrics compare_answer(std::string_view answer, std::span<const std::string> gold);

/// The text in lower case with '_', ASCII punctuation, the quotes U+2018, U+2019, U+00B4 and the words a, an, the as
/// spaces; words separated by one space. As the published Python does it, Unicode included.
[[nodiscard]] std::string normalize_answer(std::string_view text);

/// Whether the normalised texts are equal or one is a substring of the other; false for an empty answer. An answer
/// that normalises to nothing ("The.") is a substring of everything and so is right: that is the published measure.
[[nodiscard]] bool exact_match(std::string_view answer, std::string_view gold);

/// 2 P R / (P + R) over the words of the normalised texts as multisets; 0 without a common word.
[[nodiscard]] double f1_score(std::string_view answer, std::string_view gold);

namespace detail {

// Python's idea of white space has four more separators than Unicode's.
[[nodiscard]] inline bool is_python_space(char32_t c) {
  return (c >= 0x1c && c <= 0x1f) || character_class(c) == CharacterClass::space;
}

/// What the normalisation of answers takes out: ASCII punctuation and three quotes, not Unicode's `\p{P}`.
[[nodiscard]] inline bool is_struck_from_answers(char32_t c) {
  constexpr std::u32string_view quotes = U"\u2018\u2019\u00B4";
  return (c >= U'!' && c <= U'/') || (c >= U':' && c <= U'@') || (c >= U'[' && c <= U'`') || (c >= U'{' && c <= U'~') ||
         quotes.find(c) != std::u32string_view::npos;
}

[[nodiscard]] inline std::vector<std::string> words(std::string_view normalized) {
  std::vector<std::string> result;
  for (std::size_t begin = 0; begin < normalized.size();) {
    const std::size_t end = std::min(normalized.find(' ', begin), normalized.size());
    result.emplace_back(normalized.substr(begin, end - begin));
    begin = end + 1;
  }
  return result;
}

[[nodiscard]] inline bool exact_match_normalized(const std::string& answer, const std::string& gold) {
  return answer.find(gold) != std::string::npos || gold.find(answer) != std::string::npos;
}

[[nodiscard]] inline double f1_normalized(const std::string& answer, const std::string& gold) {
  const std::vector<std::string> predicted = words(answer);
  const std::vector<std::string> expected = words(gold);
  std::map<std::string, std::size_t> left;
  for (const std::string& word : expected) ++left[word];
  std::size_t common = 0;
  for (const std::string& word : predicted) {
    const auto found = left.find(word);
    if (found == left.end() || found->second == 0) continue;
    --found->second;
    ++common;
  }
  if (common == 0) return 0;
  const double precision = static_cast<double>(common) / static_cast<double>(predicted.size());
  const double recall = static_cast<double>(common) / static_cast<double>(expected.size());
  return 2 * precision * recall / (precision + recall);
}

}  // namespace detail

inline std::string normalize_answer(std::string_view text) {
  // Articles are whole words in the sense of regular expressions: runs of letters, digits and '_', which is gone.
  const std::string lower = lower_case(text);
  std::string result;
  std::string word;  // the current run of letters and digits
  bool space = false;
  const auto finish_word = [&] {
    if (word == "a" || word == "an" || word == "the") {
      space = true;
    } else if (!word.empty()) {
      if (space && !result.empty()) result += ' ';
      space = false;
      result += word;
    }
    word.clear();
  };
  for (std::size_t i = 0; i < lower.size();) {
    const DecodedCharacter c = decode_character(lower, i);
    const std::string_view bytes = std::string_view(lower).substr(i, c.length);
    i += c.length;
    const CharacterClass type = character_class(c.code_point);
    if (type == CharacterClass::letter || type == CharacterClass::number) {
      word += bytes;
      continue;
    }
    finish_word();
    if (detail::is_struck_from_answers(c.code_point) || detail::is_python_space(c.code_point)) {
      space = true;
    } else {  // neither a word character nor white space: stays, as an accent or a currency sign does
      if (space && !result.empty()) result += ' ';
      space = false;
      result += bytes;
    }
  }
  finish_word();
  return result;
}

inline bool exact_match(std::string_view answer, std::string_view gold) {
  return !answer.empty() && detail::exact_match_normalized(normalize_answer(answer), normalize_answer(gold));
}

inline double f1_score(std::string_view answer, std::string_view gold) {
  return detail::f1_normalized(normalize_answer(answer), normalize_answer(gold));
}

inline AnswerMetrics compare_answer(std::string_view answer, std::span<const std::string> gold) {
  AnswerMetrics best;
  const std::string normalized = normalize_answer(answer);
  for (const std::string& candidate : gold) {
    const std::string expected = normalize_answer(candidate);
    best.exact_match |= !answer.empty() && detail::exact_match_normalized(normalized, expected);
    best.strict_exact_match |= !answer.empty() && normalized == expected;
    best.f1 = std::max(best.f1, detail::f1_normalized(normalized, expected));
  }
  return best;
}

}  // namespace v0
}  // namespace activation_trace
