// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/unicode.hpp"
#include "activation_trace/tokenizer/bpe.hpp"
#include "activation_trace/tokenizer/engine_tokenizer.hpp"
#include "activation_trace/tokenizer/sentencepiece.hpp"
#include "activation_trace/tokenizer/special_tokens.hpp"
#include "activation_trace/tokenizer/vocabulary.hpp"

namespace activation_trace {
inline namespace v0 {

/// Whether decoded text shows the names of control tokens.
enum class ControlTokens { hide, show };

/// What surrounds the text, from the file. -1 is none.
struct TokenizerSettings {
  TokenId bos = -1;                 ///< begins a text
  TokenId eos = -1;                 ///< ends a text
  bool add_bos = false;             ///< encode_prompt() puts BOS in front
  bool add_eos = false;             ///< encode_prompt() puts EOS behind
  std::vector<TokenId> end_tokens;  ///< further tokens that end an answer, such as <|eot_id|>
  std::string chat_template;        ///< the file's Jinja text, or empty: see ChatTemplate
};

/// Text to ids and back, for any kind of tokenizer. A value: cheap to copy, immutable, safe to share
/// between threads. Made by load_tokenizer.
class Tokenizer {
 public:
  /// What texts without special tokens are encoded by.
  using Kind = std::variant<BpeTokenizer, SentencePieceTokenizer, EngineTokenizer>;

  /// `vocabulary` is what `kind` was made from; `special` may be empty. Throws FormatError if an id of the settings or
  /// of a special token is out of range, or if the vocabulary's lists or `kind` have other lengths than its tokens.
  Tokenizer(const Vocabulary& vocabulary, Kind kind, std::vector<SpecialToken> special, TokenizerSettings settings);

  /// The same tokenizer for a model of `model_vocab` tokens, whose settings name `eos` as further ends of a text. If
  /// there are fewer than vocab_size(), encoding throws ArgumentError for a token that the model lacks, and no text
  /// ends with it; if there are more, the model's further tokens are no text anyway.
  [[nodiscard]] Tokenizer for_model(Index model_vocab, std::span<const TokenId> eos = {}) const;

  /// The ids of `text`, nothing before or after. Ill-formed UTF-8 counts as U+FFFD, once per maximal subpart
  /// (Python's errors="replace"). Throws ArgumentError for what for_model says.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text,
                                            SpecialTokens special = SpecialTokens::as_text) const;

  /// As encode, with BOS before and EOS after where the file says so: what a model wants to see first. A text
  /// that begins with a parsed BOS, as some chat templates do, does not get a second one.
  [[nodiscard]] std::vector<TokenId> encode_prompt(std::string_view text,
                                                   SpecialTokens special = SpecialTokens::as_text) const;

  /// The same of a text of which the ranges, in order and apart, are what others have said, such as a chat's messages:
  /// special tokens are parsed outside of them only. `text` is well-formed UTF-8. Throws ArgumentError for ranges that
  /// are not so, and as encode. encode_chat is the way to this.
  [[nodiscard]] std::vector<TokenId> encode_prompt(std::string_view text, std::span<const TextRange> contents) const;

  /// The text of `ids`, always valid UTF-8 (ill-formed bytes become U+FFFD), without the space that encoding
  /// put first. Ids from vocab_size() on are nothing: models pad their vocabularies.
  /// Throws ArgumentError for a negative id.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, ControlTokens control = ControlTokens::hide) const;

  /// The bytes of one token, which may be part of a character; a control token's are its name, a model's padding has
  /// none. They live as long as the tokenizer or a copy of it. Throws ArgumentError as decode.
  [[nodiscard]] std::string_view piece(TokenId id) const;

  /// Whether the token is no text: BOS, EOS and the like, and a model's padding. Throws ArgumentError as decode.
  [[nodiscard]] bool is_control(TokenId id) const;

  /// Whether the token ends an answer: EOS, and what chat models say instead. False for ids out of range.
  [[nodiscard]] bool ends_text(TokenId id) const noexcept;
  /// Those tokens, sorted.
  [[nodiscard]] const std::vector<TokenId>& end_tokens() const noexcept { return ends_; }

  /// Tokens of the file's vocabulary; the model's may have more or fewer.
  [[nodiscard]] Index vocab_size() const noexcept { return static_cast<Index>(content_->control.size()); }
  [[nodiscard]] TokenId bos() const noexcept { return content_->settings.bos; }  ///< -1: none
  [[nodiscard]] TokenId eos() const noexcept { return content_->settings.eos; }  ///< -1: none
  /// What the file says, EOS among its end tokens.
  [[nodiscard]] const TokenizerSettings& settings() const noexcept { return content_->settings; }

  /// Whether encoding puts a space before the first word, which decoding takes away.
  [[nodiscard]] bool adds_space() const noexcept;

 private:
  struct Content {
    Kind kind;
    detail::SpecialTokenCutter cutter;
    TokenizerSettings settings;
    std::vector<bool> control;
  };

  /// Calls `cut` with what takes texts and tokens into ids.
  template <class Cut>
  [[nodiscard]] std::vector<TokenId> encode_cut(Cut&& cut) const;
  /// With BOS and EOS where the file says so.
  [[nodiscard]] std::vector<TokenId> complete(std::vector<TokenId> ids) const;
  /// Whether the tokenizer has the token.
  [[nodiscard]] bool knows(TokenId id) const;
  /// Each once.
  static void sort_ids(std::vector<TokenId>& ids);
  /// That the model has the tokens of a text.
  void check_for_model(std::span<const TokenId> ids) const;

  std::shared_ptr<const Content> content_;
  Index model_vocab_ = std::numeric_limits<Index>::max();
  std::vector<TokenId> ends_;  // sorted
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE Tokenizer::Tokenizer(const Vocabulary& vocabulary, Kind kind,
                                                      std::vector<SpecialToken> special, TokenizerSettings settings) {
  const std::size_t size = vocabulary.tokens.size();
  const auto check_id = [&](TokenId id, const std::string& what) {
    if (id < 0 || detail::slot(id) >= size)
      throw FormatError(vocabulary.file, what + " has id " + std::to_string(id) + ", but the vocabulary has " +
                                             std::to_string(size) + " tokens");
  };
  detail::check_lengths(vocabulary);
  if (const std::size_t made = std::visit([](const auto& k) { return k.size(); }, kind); made != size)
    throw FormatError(vocabulary.file, "the vocabulary has " + std::to_string(size) +
                                           " tokens, but its tokenizer was made from " + std::to_string(made));
  if (settings.bos != -1) check_id(settings.bos, "the BOS token");
  if (settings.eos != -1) check_id(settings.eos, "the EOS token");
  if (settings.add_bos && settings.bos == -1)
    throw FormatError(vocabulary.file, "the file wants a BOS token before the text and names none");
  if (settings.add_eos && settings.eos == -1)
    throw FormatError(vocabulary.file, "the file wants an EOS token after the text and names none");
  for (const TokenId id : settings.end_tokens) check_id(id, "an end token");
  for (const SpecialToken& token : special) check_id(token.id, "the special token " + detail::printable(token.text));

  auto& ends = settings.end_tokens;
  if (settings.eos != -1) ends.push_back(settings.eos);
  sort_ids(ends);
  ends_ = ends;

  std::vector<bool> control(size);
  for (std::size_t i = 0; i < size; ++i)
    control[i] = vocabulary.types[i] == TokenType::control ||
                 (vocabulary.types[i] == TokenType::unknown && !std::holds_alternative<SentencePieceTokenizer>(kind));
  content_ = std::make_shared<const Content>(Content{std::move(kind), detail::SpecialTokenCutter(std::move(special)),
                                                     std::move(settings), std::move(control)});
}

ACTIVATION_TRACE_COMPILED_INLINE Tokenizer Tokenizer::for_model(Index model_vocab, std::span<const TokenId> eos) const {
  Tokenizer result = *this;
  result.model_vocab_ = model_vocab;
  result.ends_.insert(result.ends_.end(), eos.begin(), eos.end());
  std::erase_if(result.ends_, [&](TokenId id) { return id >= model_vocab; });
  sort_ids(result.ends_);
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE void Tokenizer::sort_ids(std::vector<TokenId>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

ACTIVATION_TRACE_COMPILED_INLINE void Tokenizer::check_for_model(std::span<const TokenId> ids) const {
  if (model_vocab_ >= vocab_size()) return;
  const auto lacking = std::find_if(ids.begin(), ids.end(), [&](TokenId id) { return id >= model_vocab_; });
  if (lacking != ids.end())
    throw ArgumentError("text: it has token " + std::to_string(*lacking) + " (" + detail::printable(piece(*lacking)) +
                        "), but the model's vocabulary has " + std::to_string(model_vocab_) +
                        " tokens and the tokenizer's " + std::to_string(vocab_size()) +
                        ": leave that token out, or use the tokenizer that the model was trained with");
}

#endif  // ACTIVATION_TRACE_BODIES

template <class Cut>
std::vector<TokenId> Tokenizer::encode_cut(Cut&& cut) const {
  std::vector<TokenId> ids;
  TextPlace place = TextPlace::at_start;
  cut(
      [&](std::string_view part) {
        if (const auto* bpe = std::get_if<BpeTokenizer>(&content_->kind))
          bpe->encode(part, ids);
        else if (const auto* engine = std::get_if<EngineTokenizer>(&content_->kind))
          engine->encode(part, SpecialTokens::as_text, ids);
        else
          std::get<SentencePieceTokenizer>(content_->kind).encode(part, place, ids);
        place = TextPlace::after_token;
      },
      [&](TokenId id) {
        ids.push_back(id);
        place = TextPlace::after_token;
      });
  check_for_model(ids);
  return ids;
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::vector<TokenId> Tokenizer::encode(std::string_view text,
                                                                        SpecialTokens special) const {
  std::string replaced;
  if (!is_valid_utf8(text)) text = replaced = replace_ill_formed(text);
  if (const auto* engine = std::get_if<EngineTokenizer>(&content_->kind)) {  // it finds them itself
    std::vector<TokenId> ids;
    if (!text.empty()) engine->encode(text, special, ids);
    check_for_model(ids);
    return ids;
  }
  return encode_cut([&](auto&& on_text, auto&& on_token) { content_->cutter.cut(text, special, on_text, on_token); });
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<TokenId> Tokenizer::encode_prompt(std::string_view text,
                                                                               SpecialTokens special) const {
  return complete(encode(text, special));
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<TokenId> Tokenizer::encode_prompt(
    std::string_view text, std::span<const TextRange> contents) const {
  if (!is_valid_utf8(text)) throw ArgumentError("text: it is not well-formed UTF-8");
  std::size_t end = 0;
  for (const TextRange& range : contents) {
    if (range.begin < end || range.end < range.begin || range.end > text.size())
      throw ArgumentError("contents: bytes " + std::to_string(range.begin) + " to " + std::to_string(range.end) +
                          ", expected ranges in order within " + std::to_string(text.size()) + " bytes");
    end = range.end;
  }
  return complete(
      encode_cut([&](auto&& on_text, auto&& on_token) { content_->cutter.cut(text, contents, on_text, on_token); }));
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<TokenId> Tokenizer::complete(std::vector<TokenId> ids) const {
  const TokenizerSettings& with = content_->settings;
  if (with.add_bos && (ids.empty() || ids.front() != with.bos)) ids.insert(ids.begin(), with.bos);
  if (with.add_eos && (ids.empty() || ids.back() != with.eos)) ids.push_back(with.eos);
  check_for_model(ids);
  return ids;
}

ACTIVATION_TRACE_COMPILED_INLINE std::string Tokenizer::decode(std::span<const TokenId> ids,
                                                               ControlTokens control) const {
  std::string bytes;
  bool at_start = adds_space();
  for (const TokenId id : ids) {
    std::string_view text = piece(id);
    if (is_control(id)) {
      if (control == ControlTokens::show) bytes += text;
      continue;
    }
    if (at_start && text.starts_with(' ')) text.remove_prefix(1);
    at_start = false;
    bytes += text;
  }
  return replace_ill_formed(bytes);
}

ACTIVATION_TRACE_COMPILED_INLINE std::string_view Tokenizer::piece(TokenId id) const {
  if (!knows(id)) return {};
  return std::visit([id](const auto& kind) { return kind.piece(id); }, content_->kind);
}

#endif  // ACTIVATION_TRACE_BODIES

inline bool Tokenizer::is_control(TokenId id) const { return !knows(id) || content_->control[detail::slot(id)]; }

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE bool Tokenizer::ends_text(TokenId id) const noexcept {
  return std::binary_search(end_tokens().begin(), end_tokens().end(), id);
}

ACTIVATION_TRACE_COMPILED_INLINE bool Tokenizer::adds_space() const noexcept {
  if (const auto* engine = std::get_if<EngineTokenizer>(&content_->kind)) return engine->adds_space();
  const auto* pieces = std::get_if<SentencePieceTokenizer>(&content_->kind);
  return pieces != nullptr && pieces->space_prefix() != SpacePrefix::none;
}

ACTIVATION_TRACE_COMPILED_INLINE bool Tokenizer::knows(TokenId id) const {
  if (id < 0) throw ArgumentError("token id " + std::to_string(id) + " is negative");
  return static_cast<Index>(id) < vocab_size();
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
