// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/unicode.hpp"
#include "activation_trace/tokenizer/merge.hpp"
#include "activation_trace/tokenizer/token_matcher.hpp"
#include "activation_trace/tokenizer/vocabulary.hpp"

namespace activation_trace {
inline namespace v0 {

/// Where a space is put before text. Text is what lies between special tokens.
enum class SpacePrefix {
  none,
  every,           ///< before every text: SentencePiece, llama.cpp, the normalizer Prepend
  first_unspaced,  ///< before the first text unless it has one: Metaspace with prepend_scheme "first"
  every_unspaced,  ///< before every text unless it has one: Metaspace with prepend_scheme "always"
};

/// Who finds user-defined tokens.
enum class UserDefinedTokens {
  cut_before,  ///< the Tokenizer cuts them out of the raw text, as llama.cpp and `tokenizers` do
  inside,      ///< they are found in the prefixed text, as SentencePiece does
};

/// In what readers of SentencePiece's vocabularies differ; the defaults are llama.cpp's.
struct SentencePieceOptions {
  SpacePrefix space_prefix = SpacePrefix::every;                   ///< which texts get a space in front
  UserDefinedTokens user_defined = UserDefinedTokens::cut_before;  ///< who finds them
  TokenId unknown = -1;  ///< stands for characters without a token where the vocabulary has no byte tokens
};

/// What comes before a text that is encoded.
enum class TextPlace { at_start, after_token };

/// SentencePiece's byte-pair encoding, as Llama 2 has it (tokenizer/README.md 2): merges characters by score, the
/// highest first, or by a list of merges where the vocabulary has one; what has no token becomes byte tokens
/// `<0xNN>`. It knows text only: special tokens are cut out before (Tokenizer). Immutable; moves, does not copy.
class SentencePieceTokenizer {
 public:
  /// Throws FormatError naming the file and the token or merge that is wrong.
  SentencePieceTokenizer(const Vocabulary& vocabulary, const SentencePieceOptions& options);

  SentencePieceTokenizer(SentencePieceTokenizer&&) noexcept = default;
  SentencePieceTokenizer& operator=(SentencePieceTokenizer&&) noexcept = default;
  SentencePieceTokenizer(const SentencePieceTokenizer&) = delete;
  SentencePieceTokenizer& operator=(const SentencePieceTokenizer&) = delete;
  ~SentencePieceTokenizer() = default;

  /// Appends the ids of `text`, valid UTF-8. O(n log n) in the text.
  void encode(std::string_view text, TextPlace place, std::vector<TokenId>& ids) const;

  /// The bytes that a token stands for; a control token's are its name, the unknown token's " U+2047 " as in
  /// SentencePiece. 0 <= id < size().
  [[nodiscard]] std::string_view piece(TokenId id) const noexcept { return pieces_[id]; }
  /// Tokens of the vocabulary.
  [[nodiscard]] std::size_t size() const noexcept { return pieces_.size(); }
  /// As given to the constructor.
  [[nodiscard]] SpacePrefix space_prefix() const noexcept { return options_.space_prefix; }
  /// As given to the constructor.
  [[nodiscard]] UserDefinedTokens user_defined() const noexcept { return options_.user_defined; }

 private:
  using Splits = std::map<TokenId, std::size_t>;  // the length of the left part, by what it became

  void index_bytes(const Vocabulary& vocabulary);
  void encode_run(std::string_view text, std::vector<TokenId>& ids) const;
  void append_token(std::string_view text, TokenId id, const Splits& splits, std::vector<TokenId>& ids) const;
  [[nodiscard]] TokenId find(std::string_view text) const { return text.size() > longest_ ? -1 : index_.find(text); }

  SentencePieceOptions options_;
  detail::TokenTexts texts_;   // as in the file
  detail::TokenTexts pieces_;  // as in text
  std::vector<float> scores_;
  std::vector<bool> unused_;  // empty if no token is
  detail::PairMerges merges_;
  detail::TokenIndex index_;  // what text can become; views texts_
  std::size_t longest_ = 0;   // of index_
  std::array<TokenId, 256> byte_ids_{};
  bool has_bytes_ = false;
  detail::TokenMatcher inside_;
};

namespace detail {

inline constexpr std::string_view space_mark = "\u2581";

/// The value of a byte token `<0xNN>`: exactly six characters with two hexadecimal digits.
[[nodiscard]] std::optional<std::uint8_t> parse_byte_token(std::string_view text);

[[nodiscard]] std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::optional<std::uint8_t> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  std::uint8_t value = 0;
  // Into an unsigned type from_chars takes no sign, and no prefix either.
  const auto [end, error] = std::from_chars(text.data() + 3, text.data() + 5, value, 16);
  if (error != std::errc{} || end != text.data() + 5) return std::nullopt;
  return value;
}

ACTIVATION_TRACE_COMPILED_INLINE std::string replace_all(std::string_view text, std::string_view from,
                                                         std::string_view to) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t begin = 0;;) {
    const std::size_t at = text.find(from, begin);
    result.append(text.substr(begin, at - begin));
    if (at == std::string_view::npos) return result;
    result.append(to);
    begin = at + from.size();
  }
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE SentencePieceTokenizer::SentencePieceTokenizer(const Vocabulary& vocabulary,
                                                                                const SentencePieceOptions& options)
    : options_(options) {
  merges_ = detail::PairMerges(vocabulary, detail::index_tokens(vocabulary));
  if (merges_.empty() && vocabulary.scores.empty())
    throw FormatError(vocabulary.file, "the vocabulary has neither scores nor merges");
  scores_ = vocabulary.scores;
  for (const std::string_view text : vocabulary.tokens) texts_.push_back(text);
  std::vector<std::pair<std::string, TokenId>> inside;
  std::vector<detail::TokenIndex::Entry> entries;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string_view text = texts_[id];
    switch (vocabulary.types[i]) {
      case TokenType::unknown: pieces_.push_back(" \u2047 "); break;
      case TokenType::control: pieces_.push_back(text); break;
      case TokenType::byte: {
        const auto byte = detail::parse_byte_token(text);
        if (!byte)
          throw FormatError(vocabulary.file, "token " + std::to_string(i) + " has type byte and is " +
                                                 detail::printable(text) + ", expected <0xNN>");
        const char c = static_cast<char>(*byte);
        pieces_.push_back({&c, 1});
        break;
      }
      case TokenType::user_defined:
        // No character begins as the rest of one does.
        if (options.user_defined == UserDefinedTokens::inside && !text.empty() && (text[0] & 0xc0) != 0x80)
          inside.emplace_back(text, id);
        [[fallthrough]];
      case TokenType::unused:
      case TokenType::normal:
        pieces_.push_back(detail::replace_all(text, detail::space_mark, " "));
        if (text.empty()) break;
        entries.push_back({text, id});
        longest_ = std::max(longest_, text.size());
        if (vocabulary.types[i] == TokenType::unused) {
          unused_.resize(vocabulary.tokens.size());
          unused_[i] = true;
        }
    }
  }
  index_ = detail::TokenIndex(std::move(entries));
  inside_ = detail::TokenMatcher(std::move(inside));
  index_bytes(vocabulary);
}

ACTIVATION_TRACE_COMPILED_INLINE void SentencePieceTokenizer::index_bytes(const Vocabulary& vocabulary) {
  byte_ids_.fill(-1);
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    if (vocabulary.types[i] != TokenType::byte) continue;
    TokenId& id = byte_ids_[*detail::parse_byte_token(vocabulary.tokens[i])];
    if (id >= 0)
      throw FormatError(vocabulary.file,
                        "tokens " + std::to_string(id) + " and " + std::to_string(i) + " are the same byte");
    id = static_cast<TokenId>(i);
    has_bytes_ = true;
  }
  for (std::size_t b = 0; has_bytes_ && b < byte_ids_.size(); ++b)
    if (byte_ids_[b] < 0)
      throw FormatError(vocabulary.file, "the vocabulary has byte tokens, but none for byte " + std::to_string(b));
  if (!has_bytes_ && (options_.unknown < 0 || detail::slot(options_.unknown) >= size()))
    throw FormatError(vocabulary.file, "the vocabulary has neither byte tokens nor an unknown token");
}

ACTIVATION_TRACE_COMPILED_INLINE void SentencePieceTokenizer::encode(std::string_view text, TextPlace place,
                                                                     std::vector<TokenId>& ids) const {
  if (text.empty()) return;
  const bool spaced = text[0] == ' ' || text.starts_with(detail::space_mark);
  const SpacePrefix prefix = options_.space_prefix;
  const bool add = prefix == SpacePrefix::every || (prefix == SpacePrefix::every_unspaced && !spaced) ||
                   (prefix == SpacePrefix::first_unspaced && !spaced && place == TextPlace::at_start);
  std::string marked(add ? detail::space_mark : std::string_view{});
  marked += detail::replace_all(text, " ", detail::space_mark);
  if (marked.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    throw ArgumentError("text: " + std::to_string(text.size()) + " bytes without a special token, expected < 2^31");

  const std::string_view whole = marked;
  std::size_t begin = 0;
  inside_.scan(whole, [&](const detail::TokenMatcher::Match& match) {
    encode_run(whole.substr(begin, match.begin - begin), ids);
    ids.push_back(match.id);
    return begin = match.begin + match.length;
  });
  encode_run(whole.substr(begin), ids);
}

ACTIVATION_TRACE_COMPILED_INLINE void SentencePieceTokenizer::encode_run(std::string_view text,
                                                                         std::vector<TokenId>& ids) const {
  detail::MergeMemory memory;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = decode_character(text, i).length;
    memory.push_symbol(i, length, find(text.substr(i, length)));
    i += length;
  }
  // How a merge to an unused token came about: such a token is taken apart again.
  Splits splits;
  const auto by_score = [&](const detail::MergeSymbol& a,
                            const detail::MergeSymbol& b) -> std::optional<detail::Merge> {
    const std::string_view joined = text.substr(a.begin, a.length + b.length);
    const TokenId id = find(joined);
    if (id < 0) return std::nullopt;
    if (!unused_.empty() && unused_[detail::slot(id)]) splits[id] = a.length;
    return detail::Merge{-static_cast<double>(scores_[detail::slot(id)]), id};
  };
  const auto by_rank = [&](const detail::MergeSymbol& a, const detail::MergeSymbol& b) -> std::optional<detail::Merge> {
    if (a.id < 0 || b.id < 0) return std::nullopt;
    const auto* merge = merges_.find(a.id, b.id);
    if (merge == nullptr) return std::nullopt;
    return detail::Merge{static_cast<double>(merge->rank), merge->result};
  };
  if (merges_.empty())
    detail::merge_symbols(memory, by_score);
  else
    detail::merge_symbols(memory, by_rank);

  bool after_unknown = false;
  for (const detail::MergeSymbol& symbol : memory.symbols) {
    if (symbol.length == 0) continue;
    const std::string_view piece = text.substr(symbol.begin, symbol.length);
    if (symbol.id >= 0) {
      append_token(piece, symbol.id, splits, ids);
    } else if (has_bytes_) {
      for (const char c : piece) ids.push_back(byte_ids_[static_cast<std::uint8_t>(c)]);
    } else if (!after_unknown) {
      ids.push_back(options_.unknown);
    }
    after_unknown = symbol.id < 0;
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void SentencePieceTokenizer::append_token(std::string_view text, TokenId id,
                                                                           const Splits& splits,
                                                                           std::vector<TokenId>& ids) const {
  if (unused_.empty() || !unused_[detail::slot(id)]) {
    ids.push_back(id);
    return;
  }
  std::vector<std::string_view> stack{text};
  while (!stack.empty()) {
    const std::string_view top = stack.back();
    stack.pop_back();
    const TokenId part = find(top);
    const auto split = splits.find(part);
    if (part >= 0 && unused_[detail::slot(part)] && split != splits.end()) {
      stack.push_back(top.substr(split->second));
      stack.push_back(top.substr(0, split->second));
    } else if (part >= 0) {
      ids.push_back(part);
    } else if (has_bytes_) {
      for (const char c : top) ids.push_back(byte_ids_[static_cast<std::uint8_t>(c)]);
    } else {
      ids.push_back(options_.unknown);
    }
  }
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
