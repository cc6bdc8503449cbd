// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "activation_trace/text/unicode.hpp"
#include "activation_trace/tokenizer/cut_steps.hpp"

namespace activation_trace {
inline namespace v0 {

/// The ways a byte-level BPE tokenizer cuts text into pieces before it merges (tokenizer/README.md 1):
enum class PreTokenizer : std::uint8_t {
  gpt2,       ///< ``'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+``
  smollm,     ///< each `\p{N}` on its own, then gpt2 on what lies between
  llama_bpe,  ///< ``(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|``
              ///< ``\s*[\r\n]+|\s+(?!\S)|\s+``
  qwen2,      ///< llama_bpe with `\p{N}` alone
  tekken,     ///< ``[^\r\n\p{L}\p{N}]?U*W+|[^\r\n\p{L}\p{N}]?U+W*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|``
           ///< ``\s*[\r\n]+|\s+(?!\S)|\s+``, U = ``[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]``, W = ``[\p{Ll}\p{Lm}\p{Lo}\p{M}]``
  gpt4o,           ///< tekken with ``(?i:'s|'t|'re|'ve|'m|'ll|'d)?`` behind either kind of word, and `\p{N}{1,3}`
  deepseek_llm,    ///< six expressions in turn: `detail::deepseek_llm_steps`
  deepseek_coder,  ///< five: `detail::deepseek_coder_steps`
};

/// A pre-tokenizer by its name in GGUF's `tokenizer.ggml.pre`.
struct NamedPreTokenizer {
  std::string_view name;     ///< as llama.cpp has it
  PreTokenizer kind;         ///< how it cuts
  bool like_llama3 = false;  ///< pieces that are tokens are taken whole, and BOS is put first unless the file says not
};

/// The names that are known; the first of each kind is the one that messages and the README have.
inline constexpr NamedPreTokenizer pre_tokenizers[] = {
    {"gpt-2", PreTokenizer::gpt2},
    {"gpt2", PreTokenizer::gpt2},
    {"phi-2", PreTokenizer::gpt2},
    {"olmo", PreTokenizer::gpt2},
    {"smollm", PreTokenizer::smollm},
    {"refact", PreTokenizer::smollm},
    {"starcoder", PreTokenizer::smollm},
    {"command-r", PreTokenizer::smollm},
    {"exaone", PreTokenizer::smollm},
    {"llama-bpe", PreTokenizer::llama_bpe, true},
    {"llama3", PreTokenizer::llama_bpe, true},
    {"llama-v3", PreTokenizer::llama_bpe, true},
    {"falcon3", PreTokenizer::llama_bpe, true},
    {"falcon-h1", PreTokenizer::llama_bpe, true},
    {"pixtral", PreTokenizer::llama_bpe, true},
    {"midm-2.0", PreTokenizer::llama_bpe, true},
    {"lfm2", PreTokenizer::llama_bpe, true},
    {"smaug-bpe", PreTokenizer::llama_bpe},
    {"dbrx", PreTokenizer::llama_bpe},
    {"qwen2", PreTokenizer::qwen2},
    {"deepseek-r1-qwen", PreTokenizer::qwen2},
    {"stablelm2", PreTokenizer::qwen2},
    {"tekken", PreTokenizer::tekken, true},
    {"gpt-4o", PreTokenizer::gpt4o},
    {"deepseek-llm", PreTokenizer::deepseek_llm},
    {"deepseek-coder", PreTokenizer::deepseek_coder},
};

/// The pre-tokenizer of that name, or nothing if it is none of these, whatever llama.cpp calls them.
[[nodiscard]] constexpr std::optional<NamedPreTokenizer> find_pre_tokenizer(std::string_view name) noexcept;

/// Calls `take(std::string_view piece)` for the pieces of `text` in order. Together they are the text, none
/// is empty. What is not valid UTF-8 counts as U+FFFD. Linear in the text whatever it holds.
template <class Take>
constexpr void pre_tokenize(PreTokenizer kind, std::string_view text, Take&& take);

namespace detail {

/// A cursor that classifies the next character.
struct CharacterCursor {
  std::string_view text;
  std::size_t position = 0;
  DecodedCharacter character{};
  CharacterClass kind = CharacterClass::other;

  constexpr CharacterCursor(std::string_view t, std::size_t at) noexcept : text(t), position(at) { look(); }

  [[nodiscard]] constexpr bool at_end() const noexcept { return position == text.size(); }
  [[nodiscard]] constexpr bool is(CharacterClass wanted) const noexcept { return !at_end() && kind == wanted; }
  [[nodiscard]] constexpr bool is_newline() const noexcept {
    return !at_end() && (character.code_point == U'\r' || character.code_point == U'\n');
  }
  [[nodiscard]] constexpr bool is_slash() const noexcept { return !at_end() && character.code_point == U'/'; }
  /// Whether it is of a word, of that case or of none.
  [[nodiscard]] constexpr bool is_word(WordCharacter wanted) const noexcept {
    if (at_end()) return false;
    const WordCharacter found = word_character(character.code_point);
    return found == wanted || found == WordCharacter::caseless;
  }
  constexpr void advance() noexcept {
    position += character.length;
    look();
  }
  constexpr void skip(CharacterClass wanted) noexcept {
    while (is(wanted)) advance();
  }

 private:
  constexpr void look() noexcept {
    if (at_end()) return;
    character = decode_character(text, position);
    kind = character_class(character.code_point);
  }
};

/// Length of the contraction ('s 't 'm 'd 're 've 'll) that `text` begins with, 0 if none.
[[nodiscard]] constexpr std::size_t contraction_length(std::string_view text) noexcept {
  if (text.size() < 2 || text[0] != '\'') return 0;
  switch (text[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd': return 2;
    case 'r':
    case 'v': return text.size() > 2 && text[2] == 'e' ? 3 : 0;
    case 'l': return text.size() > 2 && text[2] == 'l' ? 3 : 0;
    default: return 0;
  }
}

/// The same in both cases. The long s, U+017F, folds to s as well, as it does in the regular expressions.
[[nodiscard]] constexpr std::size_t folded_contraction_length(std::string_view text) noexcept {
  if (text.substr(0, 3) == "'\u017F") return 3;
  char folded[3]{};
  const std::size_t size = std::min<std::size_t>(text.size(), 3);
  for (std::size_t i = 0; i < size; ++i)
    folded[i] = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] - 'A' + 'a') : text[i];
  return contraction_length({folded, size});
}

/// The end of the piece for `\s+(?!\S)|\s+` at a space: the whole run at the text's end, else all but its last
/// character, which goes with the word; a run of one is a piece.
[[nodiscard]] constexpr std::size_t end_of_spaces(CharacterCursor cursor) noexcept {
  const std::size_t begin = cursor.position;
  std::size_t last = begin;
  while (cursor.is(CharacterClass::space)) {
    last = cursor.position;
    cursor.advance();
  }
  return cursor.at_end() || last == begin ? cursor.position : last;
}

[[nodiscard]] constexpr std::size_t end_of_gpt2_piece(std::string_view text, std::size_t begin) noexcept {
  if (const std::size_t length = contraction_length(text.substr(begin))) return begin + length;
  CharacterCursor cursor(text, begin);
  if (text[begin] == ' ') {
    CharacterCursor word(text, begin + 1);
    if (!word.at_end() && word.kind != CharacterClass::space) cursor = word;
  }
  if (cursor.kind == CharacterClass::space) return end_of_spaces(cursor);
  cursor.skip(cursor.kind);
  return cursor.position;
}

/// The end of `` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+``, the line breaks with slashes or not.
[[nodiscard]] constexpr std::size_t end_of_symbols_or_spaces(std::string_view text, std::size_t begin,
                                                             bool slashes) noexcept {
  CharacterCursor symbols(text, text[begin] == ' ' ? begin + 1 : begin);
  if (symbols.is(CharacterClass::other)) {
    symbols.skip(CharacterClass::other);
    while (symbols.is_newline() || (slashes && symbols.is_slash())) symbols.advance();
    return symbols.position;
  }
  // \s*[\r\n]+ reaches to the last line break of the run of spaces.
  std::size_t end_of_breaks = begin;
  for (CharacterCursor spaces(text, begin); spaces.is(CharacterClass::space);) {
    const bool newline = spaces.is_newline();
    spaces.advance();
    if (newline) end_of_breaks = spaces.position;
  }
  return end_of_breaks != begin ? end_of_breaks : end_of_spaces(CharacterCursor(text, begin));
}

/// `digits` is how many of them make a piece at most.
[[nodiscard]] constexpr std::size_t end_of_llama_piece(std::string_view text, std::size_t begin, int digits) noexcept {
  if (const std::size_t length = folded_contraction_length(text.substr(begin))) return begin + length;
  CharacterCursor cursor(text, begin);
  const CharacterClass first = cursor.kind;

  // [^\r\n\p{L}\p{N}]?\p{L}+
  CharacterCursor word = cursor;
  if (first != CharacterClass::letter && first != CharacterClass::number && !word.is_newline()) word.advance();
  if (word.is(CharacterClass::letter)) {
    word.skip(CharacterClass::letter);
    return word.position;
  }
  if (first == CharacterClass::number) {
    for (int i = 0; i < digits && cursor.is(CharacterClass::number); ++i) cursor.advance();
    return cursor.position;
  }
  return end_of_symbols_or_spaces(text, begin, false);
}

/// The end of U*W+ of tekken at the cursor, 0 if there is none. Where no small letter follows, U* gives back what it
/// took up to the last character that is in W too.
[[nodiscard]] constexpr std::size_t end_of_small_word(CharacterCursor cursor) noexcept {
  std::size_t last_caseless = 0;
  while (cursor.is_word(WordCharacter::upper)) {
    const bool caseless = word_character(cursor.character.code_point) == WordCharacter::caseless;
    cursor.advance();
    if (caseless) last_caseless = cursor.position;
  }
  const std::size_t before = cursor.position;
  while (cursor.is_word(WordCharacter::lower)) cursor.advance();
  return cursor.position != before ? cursor.position : last_caseless;
}

/// The end of U+W* of tekken at the cursor, 0 if there is none.
[[nodiscard]] constexpr std::size_t end_of_large_word(CharacterCursor cursor) noexcept {
  const std::size_t begin = cursor.position;
  while (cursor.is_word(WordCharacter::upper)) cursor.advance();
  if (cursor.position == begin) return 0;
  while (cursor.is_word(WordCharacter::lower)) cursor.advance();
  return cursor.position;
}

/// Of tekken, or of gpt4o: its words take a contraction along, and up to three digits are a piece.
[[nodiscard]] constexpr std::size_t end_of_cased_piece(std::string_view text, std::size_t begin, bool gpt4o) noexcept {
  CharacterCursor cursor(text, begin);
  CharacterCursor word = cursor;
  if (cursor.kind != CharacterClass::letter && cursor.kind != CharacterClass::number && !cursor.is_newline())
    word.advance();
  // In the order of the alternatives, each with the character before the word and then without, if it is a mark.
  for (const auto end_of_word : {end_of_small_word, end_of_large_word})
    for (const CharacterCursor& at : {word, cursor})
      if (const std::size_t end = end_of_word(at); end != 0)
        return gpt4o ? end + folded_contraction_length(text.substr(end)) : end;
  if (cursor.kind != CharacterClass::number) return end_of_symbols_or_spaces(text, begin, true);
  for (int i = 0; i < (gpt4o ? 3 : 1) && cursor.is(CharacterClass::number); ++i) cursor.advance();
  return cursor.position;
}

/// The steps of a kind that cuts in several, otherwise none.
[[nodiscard]] constexpr std::span<const CutStep> cut_steps(PreTokenizer kind) noexcept {
  switch (kind) {
    case PreTokenizer::deepseek_llm: return deepseek_llm_steps;
    case PreTokenizer::deepseek_coder: return deepseek_coder_steps;
    default: return {};
  }
}

/// Of the pieces of any kind but smollm and those of several steps.
[[nodiscard]] constexpr std::size_t end_of_piece(PreTokenizer kind, std::string_view text, std::size_t begin) noexcept {
  switch (kind) {
    case PreTokenizer::llama_bpe: return end_of_llama_piece(text, begin, 3);
    case PreTokenizer::qwen2: return end_of_llama_piece(text, begin, 1);
    case PreTokenizer::tekken: return end_of_cased_piece(text, begin, false);
    case PreTokenizer::gpt4o: return end_of_cased_piece(text, begin, true);
    default: return end_of_gpt2_piece(text, begin);
  }
}

}  // namespace detail

constexpr std::optional<NamedPreTokenizer> find_pre_tokenizer(std::string_view name) noexcept {
  for (const NamedPreTokenizer& named : pre_tokenizers)
    if (name == named.name) return named;
  return std::nullopt;
}

template <class Take>
constexpr void pre_tokenize(PreTokenizer kind, std::string_view text, Take&& take) {
  if (const auto steps = detail::cut_steps(kind); !steps.empty()) return detail::cut_by_steps(steps, text, take);
  if (kind == PreTokenizer::smollm) {
    std::size_t begin = 0;
    for (detail::CharacterCursor cursor(text, 0); !cursor.at_end();) {
      const std::size_t at = cursor.position;
      const bool number = cursor.kind == CharacterClass::number;
      cursor.advance();
      if (!number) continue;
      pre_tokenize(PreTokenizer::gpt2, text.substr(begin, at - begin), take);
      take(text.substr(at, cursor.position - at));
      begin = cursor.position;
    }
    pre_tokenize(PreTokenizer::gpt2, text.substr(begin), take);
    return;
  }
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = detail::end_of_piece(kind, text, begin);
    take(text.substr(begin, end - begin));
    begin = end;
  }
}

}  // namespace v0
}  // namespace activation_trace
