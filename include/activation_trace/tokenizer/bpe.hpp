// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/nfc.hpp"
#include "activation_trace/tokenizer/merge.hpp"
#include "activation_trace/tokenizer/pretokenizer.hpp"
#include "activation_trace/tokenizer/vocabulary.hpp"

namespace activation_trace {
inline namespace v0 {

/// Whether a piece of the pre-tokenizer that is a token is taken as it is (`ignore_merges` in the files).
enum class WholePieces { merge, take };

/// What is done to text before it is cut.
enum class Normalization { none, nfc };

/// Byte-level byte-pair encoding, as GPT-2, SmolLM and Llama 3 have it (tokenizer/README.md 1). It knows text only:
/// special tokens are cut out before (Tokenizer). Immutable; moves, does not copy.
class BpeTokenizer {
 public:
  /// Throws FormatError naming the file and the token or merge that is wrong.
  BpeTokenizer(const Vocabulary& vocabulary, PreTokenizer pre_tokenizer, WholePieces whole_pieces,
               Normalization normalization = Normalization::none);

  BpeTokenizer(BpeTokenizer&&) noexcept = default;
  BpeTokenizer& operator=(BpeTokenizer&&) noexcept = default;
  BpeTokenizer(const BpeTokenizer&) = delete;
  BpeTokenizer& operator=(const BpeTokenizer&) = delete;
  ~BpeTokenizer() = default;

  /// Appends the ids of `text`. Bytes for which the vocabulary has no token are left out, as `tokenizers` and
  /// llama.cpp do: SmolLM2 lacks six control characters. O(n log n) in the text.
  void encode(std::string_view text, std::vector<TokenId>& ids) const;

  /// The bytes that a token stands for; a special token's are its name. 0 <= id < size().
  [[nodiscard]] std::string_view piece(TokenId id) const noexcept { return pieces_[id]; }
  /// Tokens of the vocabulary.
  [[nodiscard]] std::size_t size() const noexcept { return pieces_.size(); }

 private:
  void encode_piece(std::string_view piece, detail::MergeMemory& memory, std::vector<TokenId>& ids) const;

  PreTokenizer pre_tokenizer_;
  Normalization normalization_;
  detail::TokenTexts pieces_;
  detail::PairMerges merges_;
  std::array<TokenId, 256> byte_ids_{};
  detail::TokenIndex whole_pieces_;  // views pieces_; empty with WholePieces::merge
};

namespace detail {

/// The bytes that a token stands for in GPT-2's alphabet: printable Latin-1 stands for itself, the other 68
/// bytes, in order, for U+0100 and up. Nothing if it has a character of no byte.
[[nodiscard]] std::optional<std::string> from_byte_alphabet(std::string_view text);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::optional<std::string> from_byte_alphabet(std::string_view text) {
  static constexpr auto bytes = [] {
    std::array<std::int16_t, 256 + 68> table{};
    table.fill(-1);
    std::size_t next = 256;
    for (std::int16_t b = 0; b < 256; ++b) {
      const bool printable_byte = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      table[printable_byte ? static_cast<std::size_t>(b) : next++] = b;
    }
    return table;
  }();
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    if (c.code_point >= bytes.size() || bytes[c.code_point] < 0) return std::nullopt;
    result.push_back(static_cast<char>(bytes[c.code_point]));
    i += c.length;
  }
  return result;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE BpeTokenizer::BpeTokenizer(const Vocabulary& vocabulary, PreTokenizer pre_tokenizer,
                                                            WholePieces whole_pieces, Normalization normalization)
    : pre_tokenizer_(pre_tokenizer), normalization_(normalization) {
  const detail::TokenIndex index = detail::index_tokens(vocabulary);
  merges_ = detail::PairMerges(vocabulary, index);
  byte_ids_.fill(-1);
  std::vector<bool> has_bytes(vocabulary.tokens.size());
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string_view text = vocabulary.tokens[i];
    std::optional<std::string> bytes;
    if (vocabulary.types[i] == TokenType::normal) bytes = detail::from_byte_alphabet(text);
    has_bytes[i] = bytes && !bytes->empty();
    pieces_.push_back(bytes ? *bytes : text);
    if (bytes && bytes->size() == 1) byte_ids_[static_cast<std::uint8_t>((*bytes)[0])] = static_cast<TokenId>(i);
  }
  if (whole_pieces == WholePieces::merge) return;
  // No piece of text is a token with a character of no byte, whatever its own bytes are.
  std::vector<detail::TokenIndex::Entry> wholes;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i)
    if (has_bytes[i]) wholes.push_back({pieces_[static_cast<TokenId>(i)], static_cast<TokenId>(i)});
  whole_pieces_ = detail::TokenIndex(std::move(wholes));
}

ACTIVATION_TRACE_COMPILED_INLINE void BpeTokenizer::encode(std::string_view text, std::vector<TokenId>& ids) const {
  detail::MergeMemory memory;
  std::string normalized;
  if (normalization_ == Normalization::nfc) text = normalized = to_nfc(text);
  pre_tokenize(pre_tokenizer_, text, [&](std::string_view piece) { encode_piece(piece, memory, ids); });
}

ACTIVATION_TRACE_COMPILED_INLINE void BpeTokenizer::encode_piece(std::string_view piece, detail::MergeMemory& memory,
                                                                 std::vector<TokenId>& ids) const {
  if (!whole_pieces_.empty()) {
    if (const TokenId whole = whole_pieces_.find(piece); whole >= 0) {
      ids.push_back(whole);
      return;
    }
  }
  if (piece.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    throw ArgumentError("text: a word of " + std::to_string(piece.size()) + " bytes, expected less than 2^31");
  memory.clear();
  for (const char c : piece) {
    const TokenId id = byte_ids_[static_cast<std::uint8_t>(c)];
    // Not at its place in the text but at its place among the symbols: neighbours of a byte that is left out
    // can still merge, as in `tokenizers`.
    if (id >= 0) memory.push_symbol(memory.symbols.size(), 1, id);
  }
  detail::merge_symbols(
      memory, [this](const detail::MergeSymbol& a, const detail::MergeSymbol& b) -> std::optional<detail::Merge> {
        const auto* merge = merges_.find(a.id, b.id);
        if (merge == nullptr) return std::nullopt;
        return detail::Merge{static_cast<double>(merge->rank), merge->result};
      });
  for (const detail::MergeSymbol& symbol : memory.symbols)
    if (symbol.length != 0) ids.push_back(symbol.id);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
