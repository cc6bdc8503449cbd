// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/text/unicode.hpp"
#include "activation_trace/tokenizer/tokenizer.hpp"

namespace activation_trace {
inline namespace v0 {

/// Turns bytes that arrive in pieces into valid UTF-8: holds back the beginning of a character until the rest
/// comes, at most three bytes. What can never become a character is U+FFFD, once per maximal subpart, so the
/// pieces together are replace_ill_formed of all bytes.
class Utf8Stream {
 public:
  /// The text that is complete with these bytes; may be empty.
  [[nodiscard]] std::string push(std::string_view bytes) {
    held_ += bytes;
    std::string text;
    std::size_t i = 0;
    while (i < held_.size()) {
      const DecodedCharacter c = decode_character(held_, i);
      if (c.status == DecodedCharacter::Status::truncated) break;
      if (c.status == DecodedCharacter::Status::valid)
        text.append(held_, i, c.length);
      else
        text += "\xef\xbf\xbd";
      i += c.length;
    }
    held_.erase(0, i);
    return text;
  }

  /// The end: U+FFFD for what was held back, or nothing. The stream begins anew.
  [[nodiscard]] std::string finish() { return replace_ill_formed(std::exchange(held_, {})); }

 private:
  std::string held_;
};

/// What the tokens of a stream come after.
enum class StreamStart {
  after_prompt,  ///< a prompt: the space before the first word belongs to the text
  text,          ///< nothing: the space that encoding put first is taken away, as Tokenizer::decode does
};

/// Decodes tokens one by one, for printing while a model writes. Never emits part of a character; the pieces
/// together are what Tokenizer::decode gives (with StreamStart::text).
class StreamDecoder {
 public:
  /// Keeps a copy of `tokenizer`, which is cheap.
  explicit StreamDecoder(Tokenizer tokenizer, StreamStart start = StreamStart::after_prompt,
                         ControlTokens control = ControlTokens::hide)
      : tokenizer_(std::move(tokenizer)),
        control_(control),
        strips_space_(start == StreamStart::text && tokenizer_.adds_space()) {}

  /// The text that is complete with this token; may be empty. Throws ArgumentError for a negative id.
  [[nodiscard]] std::string push(TokenId id) {
    std::string_view piece = tokenizer_.piece(id);
    if (tokenizer_.is_control(id)) return control_ == ControlTokens::show ? stream_.push(piece) : std::string();
    if (std::exchange(strips_space_, false) && piece.starts_with(' ')) piece.remove_prefix(1);
    return stream_.push(piece);
  }

  /// The end: U+FFFD for an unfinished character, or nothing.
  [[nodiscard]] std::string finish() { return stream_.finish(); }

 private:
  Tokenizer tokenizer_;
  Utf8Stream stream_;
  ControlTokens control_;
  bool strips_space_;
};

}  // namespace v0
}  // namespace activation_trace
