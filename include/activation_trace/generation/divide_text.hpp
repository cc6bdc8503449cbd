// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/unicode.hpp"

namespace activation_trace {
inline namespace v0 {

/// What score_text() asks of a tokenizer: Tokenizer is one.
template <class T>
concept PromptTokenizer = requires(const T& tokenizer, std::string_view text) {
  { tokenizer.encode_prompt(text) } -> std::convertible_to<std::vector<TokenId>>;
};

namespace detail {

/// A prompt with each of its continuations as tokens, and where the continuations begin.
struct DividedText {
  std::vector<std::vector<TokenId>> sequences;
  Index prompt_length = 0;  ///< ids that each sequence begins with and that are the prompt's
  std::string moved_space;  ///< what ends the prompt and counts as the continuations'
};

/// The text without the white space (Unicode's) that ends it.
[[nodiscard]] std::string_view without_trailing_space(std::string_view text);

/// See score_text(). The model has `vocab` tokens: a tokenizer that has more says which of them a text would need.
template <PromptTokenizer Tokens>
[[nodiscard]] DividedText divide_text(const Tokens& tokenizer, Index vocab, std::string_view prompt,
                                      std::span<const std::string> continuations) {
  const auto encode_prompt = [&](std::string_view text) -> std::vector<TokenId> {
    if constexpr (requires { tokenizer.for_model(vocab); }) return tokenizer.for_model(vocab).encode_prompt(text);
    return tokenizer.encode_prompt(text);
  };
  const auto encode = [&](std::string_view text) {
    std::vector<TokenId> ids = encode_prompt(text);
    if constexpr (requires { tokenizer.settings().add_eos; })
      if (tokenizer.settings().add_eos) ids.pop_back();  // a prompt does not end here
    return ids;
  };
  DividedText result;
  for (const std::string& continuation : continuations)
    result.sequences.push_back(encode(std::string(prompt) + continuation));

  // The first continuation that does not go on from what `text` alone is; the number of continuations if all do.
  const auto first_merged = [&](std::string_view text) {
    const std::vector<TokenId> ids = encode(text);
    result.prompt_length = static_cast<Index>(ids.size());
    return std::ranges::find_if_not(result.sequences,
                                    [&](const auto& whole) {
                                      return std::mismatch(ids.begin(), ids.end(), whole.begin(), whole.end()).first ==
                                             ids.end();
                                    }) -
           result.sequences.begin();
  };
  const auto count = std::ssize(continuations);
  if (first_merged(prompt) == count) return result;
  const std::string_view kept = without_trailing_space(prompt);
  result.moved_space = prompt.substr(kept.size());
  if (const auto merged = first_merged(kept); merged != count)
    throw ArgumentError("continuation " + std::to_string(merged) +
                        ": its beginning and the prompt's end become one token, so it has no probability of its own; "
                        "end the prompt, or begin the continuation, between two words");
  if (result.prompt_length == 0)
    throw ArgumentError("prompt: it is nothing but white space, which becomes part of the continuations' first tokens");
  return result;
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::string_view without_trailing_space(std::string_view text) {
  std::size_t end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const DecodedCharacter character = decode_character(text, at);
    at += character.length;
    if (character_class(character.code_point) != CharacterClass::space) end = at;
  }
  return text.substr(0, end);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
