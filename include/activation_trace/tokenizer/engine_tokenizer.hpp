// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tokenizer/special_tokens.hpp"
#include "activation_trace/tokenizer/vocabulary.hpp"

namespace activation_trace {
inline namespace v0 {

/// The tokenizer of another engine, by its function and the bytes of its tokens: llama_cpp::tokenizer_of() makes one.
/// What is around a text, such as BOS, is Tokenizer's.
class EngineTokenizer {
 public:
  /// The ids of `text`, valid UTF-8, nothing before or after; names of control tokens in it are as `special` says.
  /// Called by whatever thread encodes.
  using Encode = std::function<std::vector<TokenId>(std::string_view text, SpecialTokens special)>;

  /// `pieces` by id, as Tokenizer::piece has them; `adds_space`: whether encoding puts a space before the first word.
  /// Throws ArgumentError for an empty function.
  EngineTokenizer(Encode encode, std::span<const std::string> pieces, bool adds_space)
      : encode_(std::move(encode)), adds_space_(adds_space) {
    if (!encode_) throw ArgumentError("EngineTokenizer: encode is an empty function");
    for (const std::string& piece : pieces) pieces_.push_back(piece);
  }

  /// Appends the ids of `text`.
  void encode(std::string_view text, SpecialTokens special, std::vector<TokenId>& ids) const {
    const std::vector<TokenId> added = encode_(text, special);
    ids.insert(ids.end(), added.begin(), added.end());
  }

  /// As given to the constructor. 0 <= id < size().
  [[nodiscard]] std::string_view piece(TokenId id) const noexcept { return pieces_[id]; }
  /// Tokens of the vocabulary.
  [[nodiscard]] std::size_t size() const noexcept { return pieces_.size(); }
  /// As given to the constructor.
  [[nodiscard]] bool adds_space() const noexcept { return adds_space_; }

 private:
  Encode encode_;
  detail::TokenTexts pieces_;
  bool adds_space_;
};

}  // namespace v0
}  // namespace activation_trace
