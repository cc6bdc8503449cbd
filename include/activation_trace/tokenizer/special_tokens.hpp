// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/text/unicode.hpp"
#include "activation_trace/tokenizer/token_matcher.hpp"

namespace activation_trace {
inline namespace v0 {

/// What the names of control tokens, such as <|im_end|>, are when they occur in text.
enum class SpecialTokens {
  as_text,  ///< text like any other: right for what users and documents say
  parse,    ///< the tokens: right for rendered chat templates
};

/// A part of a text, in bytes.
struct TextRange {
  std::size_t begin = 0;  ///< its first byte
  std::size_t end = 0;    ///< the one after its last
};

/// A token that is found in text before anything else.
struct SpecialToken {
  /// The white space around a token that disappears with it, as `lstrip` and `rstrip` in tokenizer.json.
  enum class Strip { none, left, right, both };
  std::string text;                            ///< as it stands in text, "<|im_end|>"
  TokenId id = -1;                             ///< what it becomes
  SpecialTokens found = SpecialTokens::parse;  ///< as_text: always; parse: only on SpecialTokens::parse
  Strip strip = Strip::none;                   ///< the side on which white space belongs to the token
};

namespace detail {

/// Whether a token is one that steers a model by its name, whatever type its file gives it: in files for Phi-3, some of
/// the marks between turns are user-defined.
[[nodiscard]] constexpr bool looks_like_control(std::string_view text) noexcept {
  constexpr std::string_view wide = "<\uff5c";
  constexpr std::string_view wide_end = "\uff5c>";
  if (text.size() > 4 && text.starts_with("<|") && text.ends_with("|>")) return true;
  if (text.size() > 8 && text.starts_with(wide) && text.ends_with(wide_end)) return true;
  if (text == "<s>" || text == "</s>" || text == "<bos>" || text == "<eos>" || text.starts_with("<start_of_") ||
      text.starts_with("<end_of_"))
    return true;
  return text.size() > 2 && text.front() == '[' && text.back() == ']' &&
         text.substr(1, text.size() - 2).find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_/") == std::string_view::npos;
}

/// Cuts special tokens out of text: from the left, at each place the longest.
class SpecialTokenCutter {
 public:
  SpecialTokenCutter() = default;
  explicit SpecialTokenCutter(std::vector<SpecialToken> tokens) : tokens_(std::move(tokens)) {
    std::vector<std::pair<std::string, TokenId>> all;
    std::vector<std::pair<std::string, TokenId>> always;
    std::vector<std::pair<std::string, TokenId>> harmless;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      // The matchers give places in tokens_.
      all.emplace_back(tokens_[i].text, static_cast<TokenId>(i));
      if (tokens_[i].found != SpecialTokens::as_text) continue;
      always.push_back(all.back());
      if (!looks_like_control(tokens_[i].text)) harmless.push_back(all.back());
    }
    all_ = TokenMatcher(std::move(all));
    always_ = TokenMatcher(std::move(always));
    harmless_ = TokenMatcher(std::move(harmless));
  }

  /// Calls `on_text(std::string_view)` and `on_token(TokenId)` in the order of the text; texts are not empty.
  template <class OnText, class OnToken>
  void cut(std::string_view text, SpecialTokens special, OnText&& on_text, OnToken&& on_token) const {
    const TokenMatcher& matcher = special == SpecialTokens::parse ? all_ : always_;
    std::size_t begin = 0;
    matcher.scan(text,
                 [&](const TokenMatcher::Match& match) { return begin = take(text, begin, match, on_text, on_token); });
    if (begin < text.size()) on_text(text.substr(begin));
  }

  /// The same of a text of which the ranges, in order and apart, are what others have said: no token that steers a
  /// model is found there, nor across the borders; outside all are. O(n log n) in the tokens found.
  template <class OnText, class OnToken>
  void cut(std::string_view text, std::span<const TextRange> contents, OnText&& on_text, OnToken&& on_token) const {
    std::vector<TokenMatcher::Match> matches;
    const auto add = [&](const TokenMatcher& matcher, std::size_t first, std::size_t last) {
      matcher.scan(text.substr(first, last - first), [&](const TokenMatcher::Match& match) {
        matches.push_back({match.begin + first, match.length, match.id});
        return match.begin + 1;  // all places: which are taken is seen below
      });
    };
    std::size_t own = 0;
    for (const TextRange& range : contents) {
      add(all_, own, range.begin);
      own = range.end;
    }
    add(all_, own, text.size());
    add(harmless_, 0, text.size());
    std::stable_sort(matches.begin(), matches.end(), [](const auto& a, const auto& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.length > b.length;
    });
    std::size_t begin = 0;
    for (const TokenMatcher::Match& match : matches)
      if (match.begin >= begin) begin = take(text, begin, match, on_text, on_token);
    if (begin < text.size()) on_text(text.substr(begin));
  }

 private:
  /// The text from `begin` on and the token; returns where to look on.
  template <class OnText, class OnToken>
  std::size_t take(std::string_view text, std::size_t begin, const TokenMatcher::Match& match, OnText& on_text,
                   OnToken& on_token) const {
    using Strip = SpecialToken::Strip;
    const SpecialToken& token = tokens_[static_cast<std::size_t>(match.id)];
    const bool left = token.strip == Strip::left || token.strip == Strip::both;
    const bool right = token.strip == Strip::right || token.strip == Strip::both;
    const std::size_t end_of_text = left ? end_without_spaces(text, begin, match.begin) : match.begin;
    if (end_of_text > begin) on_text(text.substr(begin, end_of_text - begin));
    on_token(token.id);
    begin = match.begin + match.length;
    while (right && begin < text.size() && is_space(text, begin)) begin += decode_character(text, begin).length;
    return begin;
  }

  static bool is_space(std::string_view text, std::size_t position) noexcept {
    return character_class(decode_character(text, position).code_point) == CharacterClass::space;
  }
  static std::size_t end_without_spaces(std::string_view text, std::size_t begin, std::size_t end) noexcept {
    while (end > begin) {
      std::size_t last = end - 1;
      while (last > begin && (static_cast<unsigned char>(text[last]) & 0xc0u) == 0x80) --last;
      if (!is_space(text, last)) break;
      end = last;
    }
    return end;
  }

  std::vector<SpecialToken> tokens_;
  TokenMatcher all_;
  TokenMatcher always_;
  TokenMatcher harmless_;  // of these, those that no model is steered by
};

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
