// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

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
#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/tokenizer/find_special_tokens.hpp"
#include "activation_trace/tokenizer/tokenizer.hpp"

namespace activation_trace {
inline namespace v0 {

/// The tokenizer in a GGUF file's metadata (tokenizer/README.md 1 and 2): `tokenizer.ggml.model` "gpt2" with the
/// pre-tokenizers that find_pre_tokenizer knows, or "llama". Throws FormatError naming the key that is missing,
/// wrong or of a kind that is not supported. Nothing of the file is needed afterwards.
[[nodiscard]] Tokenizer read_tokenizer(const GgufFile& gguf);

namespace detail {

/// An id in the metadata; -1 if it is missing or the "none" that some writers store.
[[nodiscard]] inline TokenId find_token_id(const GgufFile& gguf, const std::string& name, TokenId otherwise = -1) {
  const std::string key = "tokenizer.ggml." + name + "_token_id";
  const auto id = gguf.find<std::int64_t>(key);
  if (!id) return otherwise;
  if (*id == -1 || *id == std::numeric_limits<std::uint32_t>::max()) return -1;
  if (!std::in_range<TokenId>(*id) || *id < 0)
    throw FormatError(gguf.name(), "metadata " + key + " is not a token id: " + std::to_string(*id));
  return static_cast<TokenId>(*id);
}

[[nodiscard]] Vocabulary read_vocabulary(const GgufFile& gguf);

/// Gives the white space behind Phi-3's special tokens to them, as its tokenizer.json does and no GGUF can say:
/// llama.cpp knows its files by their name.
void strip_behind_special_tokens(const GgufFile& gguf, std::vector<SpecialToken>& special);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void read_merges(const GgufFile& gguf, Vocabulary& vocabulary) {
  const auto merges = gguf.get<std::vector<std::string_view>>("tokenizer.ggml.merges");
  vocabulary.merges.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    // The first token may begin with a space itself.
    const std::size_t space = merges[i].empty() ? std::string_view::npos : merges[i].find(' ', 1);
    if (space == std::string_view::npos)
      throw FormatError(gguf.name(), "metadata tokenizer.ggml.merges: merge " + std::to_string(i) + " is " +
                                         printable(merges[i]) + ", expected two tokens with a space between");
    vocabulary.merges.emplace_back(merges[i].substr(0, space), merges[i].substr(space + 1));
  }
}

ACTIVATION_TRACE_COMPILED_INLINE Vocabulary read_vocabulary(const GgufFile& gguf) {
  Vocabulary vocabulary;
  vocabulary.file = gguf.name();
  vocabulary.tokens = gguf.get<std::vector<std::string_view>>("tokenizer.ggml.tokens");
  if (const auto types = gguf.find<std::vector<std::int32_t>>("tokenizer.ggml.token_type")) {
    for (std::size_t i = 0; i < types->size(); ++i) {
      const std::int32_t type = (*types)[i];
      if (type < 1 || type > 6)
        throw FormatError(gguf.name(), "metadata tokenizer.ggml.token_type has " + std::to_string(type) +
                                           " for token " + std::to_string(i) + ", expected 1 to 6");
      vocabulary.types.push_back(static_cast<TokenType>(type));
    }
  } else {
    vocabulary.types.assign(vocabulary.tokens.size(), TokenType::normal);
  }
  return vocabulary;
}

ACTIVATION_TRACE_COMPILED_INLINE void strip_behind_special_tokens(const GgufFile& gguf,
                                                                  std::vector<SpecialToken>& special) {
  std::string name(gguf.find<std::string_view>("general.name").value_or(""));
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (name.find("phi-3") == std::string::npos && name.find("phi3") == std::string::npos) return;
  for (SpecialToken& token : special)
    if (token.text != "<unk>" && token.text != "<s>" && token.text != "<|endoftext|>")
      token.strip = SpecialToken::Strip::right;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE Tokenizer read_tokenizer(const GgufFile& gguf) {
  const auto model = gguf.get<std::string_view>("tokenizer.ggml.model");
  if (model != "gpt2" && model != "llama")
    throw FormatError(gguf.name(), "tokenizer model " + detail::printable(model) +
                                       " is not supported, expected gpt2 (byte-level BPE) or llama (SentencePiece)");
  const bool is_bpe = model == "gpt2";
  NamedPreTokenizer pre_tokenizer{};
  if (is_bpe) {
    const auto name = gguf.get<std::string_view>("tokenizer.ggml.pre");
    const auto found = find_pre_tokenizer(name);
    if (!found)
      throw FormatError(gguf.name(),
                        "pre-tokenizer " + detail::printable(name) +
                            " (tokenizer.ggml.pre) is not supported, expected gpt-2, smollm, llama-bpe, qwen2, " +
                            "tekken, gpt-4o, deepseek-llm, deepseek-coder or another name of these");
    pre_tokenizer = *found;
  }

  Vocabulary vocabulary = detail::read_vocabulary(gguf);
  // SentencePiece's own ids where a file names none, as llama.cpp has them.
  TokenizerSettings settings;
  settings.bos = detail::find_token_id(gguf, "bos", is_bpe ? -1 : 1);
  settings.eos = detail::find_token_id(gguf, "eos", is_bpe ? -1 : 2);
  settings.add_bos = gguf.find<bool>("tokenizer.ggml.add_bos_token")
                         .value_or((!is_bpe || pre_tokenizer.like_llama3) && settings.bos != -1);
  settings.add_eos = gguf.find<bool>("tokenizer.ggml.add_eos_token").value_or(false);
  settings.chat_template = gguf.find<std::string_view>("tokenizer.chat_template").value_or("");
  for (const char* name : {"eot", "eom"})
    if (const TokenId id = detail::find_token_id(gguf, name); id != -1) settings.end_tokens.push_back(id);
  auto special = detail::find_special_tokens(vocabulary, UserDefinedTokens::cut_before, settings);
  detail::strip_behind_special_tokens(gguf, special);

  if (is_bpe) {
    detail::read_merges(gguf, vocabulary);
    const auto whole_pieces = pre_tokenizer.like_llama3 ? WholePieces::take : WholePieces::merge;
    BpeTokenizer bpe(vocabulary, pre_tokenizer.kind, whole_pieces);
    return Tokenizer(vocabulary, std::move(bpe), std::move(special), std::move(settings));
  }
  vocabulary.scores = gguf.get<std::vector<float>>("tokenizer.ggml.scores");
  if (gguf.find<bool>("tokenizer.ggml.remove_extra_whitespaces").value_or(false))
    throw FormatError(gguf.name(), "metadata tokenizer.ggml.remove_extra_whitespaces is true, which is not supported");
  SentencePieceOptions options;
  options.space_prefix =
      gguf.find<bool>("tokenizer.ggml.add_space_prefix").value_or(true) ? SpacePrefix::every : SpacePrefix::none;
  options.unknown = detail::find_token_id(gguf, "unknown", 0);
  SentencePieceTokenizer pieces(vocabulary, options);
  return Tokenizer(vocabulary, std::move(pieces), std::move(special), std::move(settings));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
