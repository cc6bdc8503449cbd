// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tokenizer/tokenizer.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Whether a token of that name and type ends an answer; no ordinary one does. Files name one EOS, but chat models stop
/// with others as well: Llama 3 Instruct has <|end_of_text|> in the file and says <|eot_id|>.
[[nodiscard]] constexpr bool is_end_of_text(std::string_view text, TokenType type) noexcept {
  constexpr std::string_view names[]{
      "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>",         "<|im_end|>",         "<|end|>",
      "<EOT>",      "_<EOT>",     "<end_of_turn>",   "<｜end▁of▁sentence｜>", "<end_of_utterance>", "[EOT]"};
  if (type != TokenType::control && type != TokenType::user_defined) return false;
  if (text == "</s>") return type == TokenType::control;  // user-defined it is HTML's, as Gemma's is
  return std::ranges::find(names, text) != std::end(names);
}

/// What a vocabulary's types say about special tokens; adds the end tokens to the settings. A user-defined token that
/// ends a text becomes a control token where they are cut out before, as in llama.cpp: no user's text is to end a turn.
/// Throws FormatError if there are not as many types as tokens.
[[nodiscard]] std::vector<SpecialToken> find_special_tokens(Vocabulary& vocabulary, UserDefinedTokens user_defined,
                                                            TokenizerSettings& settings);

/// The id of the token with that text, -1 if there is none.
[[nodiscard]] inline TokenId find_token(const Vocabulary& vocabulary, std::string_view text) {
  const auto found = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), text);
  return found == vocabulary.tokens.end() ? -1 : static_cast<TokenId>(found - vocabulary.tokens.begin());
}

/// The same for a token that the folder's settings name as their `what`. Throws FormatError if there is none: without
/// its end a text would go on for ever.
[[nodiscard]] TokenId find_named_token(const Vocabulary& vocabulary, std::string_view text, const char* what);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::vector<SpecialToken> find_special_tokens(Vocabulary& vocabulary,
                                                                               UserDefinedTokens user_defined,
                                                                               TokenizerSettings& settings) {
  check_lengths(vocabulary);
  std::vector<SpecialToken> special;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    TokenType& type = vocabulary.types[i];
    const auto id = static_cast<TokenId>(i);
    const std::string text(vocabulary.tokens[i]);
    const bool ends = is_end_of_text(text, type);
    if (ends) settings.end_tokens.push_back(id);
    if (ends && user_defined == UserDefinedTokens::cut_before) type = TokenType::control;
    if (type == TokenType::control || type == TokenType::unknown)
      special.push_back({text, id, SpecialTokens::parse});
    else if (type == TokenType::user_defined && user_defined == UserDefinedTokens::cut_before)
      special.push_back({text, id, SpecialTokens::as_text});
  }
  return special;
}

ACTIVATION_TRACE_COMPILED_INLINE TokenId find_named_token(const Vocabulary& vocabulary, std::string_view text,
                                                          const char* what) {
  const TokenId id = find_token(vocabulary, text);
  if (id == -1)
    throw FormatError(vocabulary.file, std::string(what) + ' ' + printable(text) +
                                           " is not a token: tokenizer_config.json or special_tokens_map.json names "
                                           "it, but neither this file nor added_tokens.json has it");
  return id;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
