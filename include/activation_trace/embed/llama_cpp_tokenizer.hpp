// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#if !__has_include(<llama.h>)
#error "activation_trace/embed/llama_cpp*.hpp need llama.cpp's headers: find_package(llama), and link its target llama"
#endif

#include <llama.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/tokenizer/tokenizer.hpp"

namespace activation_trace {
inline namespace v0 {
namespace llama_cpp {

/// llama_tokenize() of a model, which must outlive the function. It throws ArgumentError for a text that is too long.
[[nodiscard]] EngineTokenizer::Encode encoder_of(const llama_model* model);

/// llama.cpp's tokenizer of a model: its ids of a text and its pieces, with BOS, EOS, the ends of a text and the chat
/// template as it has them. `model` must outlive the tokenizer and its copies. `encode` is called for encoder_of(),
/// such as a function that looks at what that gives. Throws ArgumentError for a model without a vocabulary.
[[nodiscard]] Tokenizer tokenizer_of(const llama_model* model, EngineTokenizer::Encode encode = {});

namespace detail {

/// What `write(buffer, size)` writes, which answers as llama.cpp's functions do: the size, or minus that where it does
/// not fit.
template <class T>
[[nodiscard]] std::vector<T> all_of(std::size_t likely, auto&& write) {
  std::vector<T> result(likely);
  std::int32_t size = write(result.data(), static_cast<std::int32_t>(result.size()));
  if (size == INT32_MIN) throw ArgumentError("text: it is too long for llama.cpp's tokenizer");
  if (size < 0) {
    result.resize(static_cast<std::size_t>(-size));
    size = write(result.data(), -size);
  }
  if (size < 0) throw Error("llama.cpp: its tokenizer fails with " + std::to_string(size));
  result.resize(static_cast<std::size_t>(size));
  return result;
}

[[nodiscard]] inline std::vector<TokenId> tokens_of(const llama_vocab* vocab, std::string_view text,
                                                    SpecialTokens special) {
  if (!std::in_range<std::int32_t>(text.size())) throw ArgumentError("text: it is too long for llama.cpp's tokenizer");
  return all_of<llama_token>(text.size() + 2, [&](llama_token* ids, std::int32_t size) {
    return llama_tokenize(vocab, text.data(), static_cast<std::int32_t>(text.size()), ids, size, false,
                          special == SpecialTokens::parse);
  });
}

[[nodiscard]] inline std::string piece_of(const llama_vocab* vocab, TokenId id) {
  const std::vector<char> piece = all_of<char>(
      32, [&](char* bytes, std::int32_t size) { return llama_token_to_piece(vocab, id, bytes, size, 0, true); });
  return {piece.begin(), piece.end()};
}

/// One of the types that there are in files.
[[nodiscard]] inline TokenType type_of(llama_token_attr attributes) {
  const auto is = [&](llama_token_attr wanted) { return (attributes & wanted) != 0; };
  if (is(LLAMA_TOKEN_ATTR_CONTROL)) return TokenType::control;
  if (is(LLAMA_TOKEN_ATTR_UNKNOWN)) return TokenType::unknown;
  if (is(LLAMA_TOKEN_ATTR_USER_DEFINED)) return TokenType::user_defined;
  if (is(LLAMA_TOKEN_ATTR_UNUSED)) return TokenType::unused;
  return is(LLAMA_TOKEN_ATTR_BYTE) ? TokenType::byte : TokenType::normal;
}

/// What is to be found in a chat's marks, and not in what is said: elsewhere llama.cpp finds it itself.
[[nodiscard]] inline std::vector<SpecialToken> special_tokens_of(const llama_vocab* vocab,
                                                                 const std::vector<TokenType>& types) {
  using Strip = SpecialToken::Strip;
  std::vector<SpecialToken> special;
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (types[i] != TokenType::control && types[i] != TokenType::unknown && types[i] != TokenType::user_defined)
      continue;
    const auto id = static_cast<TokenId>(i);
    const llama_token_attr attributes = llama_vocab_get_attr(vocab, id);
    const bool left = (attributes & LLAMA_TOKEN_ATTR_LSTRIP) != 0;
    const bool right = (attributes & LLAMA_TOKEN_ATTR_RSTRIP) != 0;
    special.push_back({llama_vocab_get_text(vocab, id), id,
                       types[i] == TokenType::user_defined ? SpecialTokens::as_text : SpecialTokens::parse,
                       left && right ? Strip::both
                       : left        ? Strip::left
                       : right       ? Strip::right
                                     : Strip::none});
    if (special.back().text.empty()) special.pop_back();
  }
  return special;
}

}  // namespace detail

inline EngineTokenizer::Encode encoder_of(const llama_model* model) {
  return [vocab = llama_model_get_vocab(model)](std::string_view text, SpecialTokens special) {
    return detail::tokens_of(vocab, text, special);
  };
}

inline Tokenizer tokenizer_of(const llama_model* model, EngineTokenizer::Encode encode) {
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const std::int32_t size = llama_vocab_n_tokens(vocab);
  if (size < 1 || llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE)
    throw ArgumentError("llama.cpp: the model has no vocabulary");
  Vocabulary vocabulary;
  vocabulary.file = "llama.cpp's vocabulary";
  std::vector<std::string> pieces;
  TokenizerSettings settings;
  settings.bos = llama_vocab_bos(vocab);
  settings.eos = llama_vocab_eos(vocab);
  settings.add_bos = llama_vocab_get_add_bos(vocab);
  settings.add_eos = llama_vocab_get_add_eos(vocab);
  for (TokenId id = 0; id < size; ++id) {
    vocabulary.tokens.emplace_back(llama_vocab_get_text(vocab, id));
    vocabulary.types.push_back(detail::type_of(llama_vocab_get_attr(vocab, id)));
    pieces.push_back(detail::piece_of(vocab, id));
    if (llama_vocab_is_eog(vocab, id)) settings.end_tokens.push_back(id);
  }
  if (const char* chat = llama_model_chat_template(model, nullptr)) settings.chat_template = chat;
  std::vector<SpecialToken> special = detail::special_tokens_of(vocab, vocabulary.types);
  const std::vector<TokenId> word = detail::tokens_of(vocab, "a", SpecialTokens::as_text);
  const bool adds_space = !word.empty() && pieces[static_cast<std::size_t>(word.front())].starts_with(' ');
  EngineTokenizer engine(encode ? std::move(encode) : encoder_of(model), pieces, adds_space);
  return {vocabulary, std::move(engine), std::move(special), std::move(settings)};
}

}  // namespace llama_cpp
}  // namespace v0
}  // namespace activation_trace
