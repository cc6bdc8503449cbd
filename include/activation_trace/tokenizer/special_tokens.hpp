// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
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

/// Cuts special tokens out of text: from the left, at each place the longest.
class SpecialTokenCutter {
 public:
  SpecialTokenCutter() = default;
  explicit SpecialTokenCutter(std::vector<SpecialToken> tokens) : tokens_(std::move(tokens)) {
    std::vector<std::pair<std::string, TokenId>> all;
    std::vector<std::pair<std::string, TokenId>> always;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      // The matchers give places in tokens_.
      all.emplace_back(tokens_[i].text, static_cast<TokenId>(i));
      if (tokens_[i].found == SpecialTokens::as_text) always.push_back(all.back());
    }
    all_ = TokenMatcher(std::move(all));
    always_ = TokenMatcher(std::move(always));
  }

  /// Calls `on_text(std::string_view)` and `on_token(TokenId)` in the order of the text; texts are not empty.
  template <class OnText, class OnToken>
  void cut(std::string_view text, SpecialTokens special, OnText&& on_text, OnToken&& on_token) const {
    using Strip = SpecialToken::Strip;
    const TokenMatcher& matcher = special == SpecialTokens::parse ? all_ : always_;
    std::size_t begin = 0;
    matcher.scan(text, [&](const TokenMatcher::Match& match) {
      const SpecialToken& token = tokens_[static_cast<std::size_t>(match.id)];
      const bool left = token.strip == Strip::left || token.strip == Strip::both;
      const bool right = token.strip == Strip::right || token.strip == Strip::both;
      const std::size_t end_of_text = left ? end_without_spaces(text, begin, match.begin) : match.begin;
      if (end_of_text > begin) on_text(text.substr(begin, end_of_text - begin));
      on_token(token.id);
      begin = match.begin + match.length;
      while (right && begin < text.size() && is_space(text, begin)) begin += decode_character(text, begin).length;
      return begin;
    });
    if (begin < text.size()) on_text(text.substr(begin));
  }

 private:
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
};

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
