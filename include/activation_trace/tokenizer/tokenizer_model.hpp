// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tokenizer/find_special_tokens.hpp"
#include "activation_trace/tokenizer/folder_settings.hpp"
#include "activation_trace/tokenizer/protobuf_reader.hpp"
#include "activation_trace/tokenizer/tokenizer.hpp"

namespace activation_trace {
inline namespace v0 {

/// The tokenizer in a SentencePiece model file, `tokenizer.model`: BPE without text normalisation, as LLaMA's
/// (tokenizer/README.md 2). `file` is the name for messages. Throws FormatError naming what is wrong or not supported.
[[nodiscard]] Tokenizer read_tokenizer_model(std::string_view bytes, const std::string& file,
                                             const TokenizerFolderSettings& folder = {});

namespace detail {

/// The parts of SentencePiece's ModelProto that encoding depends on, with its defaults.
struct SentencePieceModel {
  Vocabulary vocabulary;
  std::uint64_t model_type = 1;
  bool suffixes_space = false;
  std::string_view bos = "<s>";
  std::string_view eos = "</s>";
  bool has_character_map = false;
  bool adds_dummy_prefix = true;
  bool removes_extra_spaces = true;
  bool escapes_spaces = true;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void read_piece(ProtobufReader piece, Vocabulary& vocabulary) {
  std::string_view text;
  float score = 0;
  std::uint64_t type = 1;
  while (piece.next()) {
    switch (piece.field()) {
      case 1: text = piece.bytes(); break;
      case 2: score = piece.float32(); break;
      case 3:
        type = piece.varint();
        if (type < 1 || type > 6)
          piece.fail("piece " + std::to_string(vocabulary.tokens.size()) + " has type " + std::to_string(type) +
                     ", expected 1 to 6");
        break;
      default: piece.skip();
    }
  }
  vocabulary.tokens.push_back(text);
  vocabulary.scores.push_back(score);
  vocabulary.types.push_back(static_cast<TokenType>(type));
}

#endif  // ACTIVATION_TRACE_BODIES

[[nodiscard]] SentencePieceModel read_sentencepiece_model(std::string_view bytes, const std::string& file);

/// Puts the tokens that other files add behind those of the model, and gives what is to be cut out of text. One that
/// the model has itself is cut out as well, as transformers does. Throws FormatError for an id that is not the next.
[[nodiscard]] std::vector<SpecialToken> add_tokens(const TokenizerFolderSettings& folder, Vocabulary& vocabulary);

/// The token that the folder names as its `what`, which makes it a control token, else the model's own if it is one.
[[nodiscard]] TokenId find_named_control(std::string_view named, std::string_view own, const char* what,
                                         Vocabulary& vocabulary);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE SentencePieceModel read_sentencepiece_model(std::string_view bytes,
                                                                             const std::string& file) {
  SentencePieceModel model;
  model.vocabulary.file = file;
  ProtobufReader reader(bytes, file);
  while (reader.next()) {
    if (reader.field() == 1) {
      read_piece(reader.message(), model.vocabulary);
    } else if (reader.field() == 2) {
      ProtobufReader trainer = reader.message();
      while (trainer.next()) switch (trainer.field()) {
          case 3: model.model_type = trainer.varint(); break;
          case 24: model.suffixes_space = trainer.varint() != 0; break;
          case 46: model.bos = trainer.bytes(); break;
          case 47: model.eos = trainer.bytes(); break;
          default: trainer.skip();
        }
    } else if (reader.field() == 3) {
      ProtobufReader normalizer = reader.message();
      while (normalizer.next()) switch (normalizer.field()) {
          case 2: model.has_character_map = !normalizer.bytes().empty(); break;
          case 3: model.adds_dummy_prefix = normalizer.varint() != 0; break;
          case 4: model.removes_extra_spaces = normalizer.varint() != 0; break;
          case 5: model.escapes_spaces = normalizer.varint() != 0; break;
          default: normalizer.skip();
        }
    } else {
      reader.skip();
    }
  }
  return model;
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<SpecialToken> add_tokens(const TokenizerFolderSettings& folder,
                                                                      Vocabulary& vocabulary) {
  std::vector<SpecialToken> added;
  for (const SpecialToken& listed : folder.added) {
    SpecialToken token = listed;
    const std::size_t size = vocabulary.tokens.size();
    const bool known = static_cast<std::size_t>(token.id) < size && vocabulary.tokens[slot(token.id)] == token.text;
    if (!known && static_cast<std::size_t>(token.id) != size)
      throw FormatError(vocabulary.file, "the added token " + printable(token.text) + " has id " +
                                             std::to_string(token.id) + ", expected " + std::to_string(size));
    if (!known) {
      vocabulary.tokens.push_back(listed.text);
      vocabulary.scores.push_back(0);
      vocabulary.types.push_back(TokenType::normal);
    }
    TokenType& type = vocabulary.types[slot(token.id)];
    if (type == TokenType::byte) continue;
    if (type == TokenType::control || type == TokenType::unknown)
      token.found = SpecialTokens::parse;
    else
      type = token.found == SpecialTokens::parse ? TokenType::control : TokenType::user_defined;
    added.push_back(std::move(token));
  }
  return added;
}

ACTIVATION_TRACE_COMPILED_INLINE TokenId find_named_control(std::string_view named, std::string_view own,
                                                            const char* what, Vocabulary& vocabulary) {
  const TokenId id = named.empty() ? find_token(vocabulary, own) : find_named_token(vocabulary, named, what);
  if (id == -1) return -1;
  TokenType& type = vocabulary.types[slot(id)];
  if (named.empty()) return type == TokenType::control ? id : -1;
  if (type == TokenType::normal || type == TokenType::user_defined) type = TokenType::control;
  return id;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE Tokenizer read_tokenizer_model(std::string_view bytes, const std::string& file,
                                                                const TokenizerFolderSettings& folder) {
  detail::SentencePieceModel model = detail::read_sentencepiece_model(bytes, file);
  const auto refuse_if = [&](bool unsupported, const char* what) {
    if (unsupported) throw FormatError(file, std::string(what) + " is not supported");
  };
  if (model.model_type != 2) {
    constexpr std::string_view names[] = {"", "unigram", "bpe", "word", "char"};
    const std::string name(model.model_type < 5 ? names[model.model_type] : "");
    throw FormatError(file, "SentencePiece model_type " + std::to_string(model.model_type) +
                                (name.empty() ? "" : " (" + name + ")") + " is not supported, expected 2 (bpe)");
  }
  refuse_if(model.has_character_map, "a SentencePiece model with normalisation (precompiled_charsmap)");
  refuse_if(model.removes_extra_spaces, "a SentencePiece model with remove_extra_whitespaces");
  refuse_if(!model.escapes_spaces, "a SentencePiece model without escape_whitespaces");
  refuse_if(model.suffixes_space, "a SentencePiece model with treat_whitespace_as_suffix");

  Vocabulary& vocabulary = model.vocabulary;
  SentencePieceOptions options;
  options.space_prefix = model.adds_dummy_prefix ? SpacePrefix::every : SpacePrefix::none;
  options.user_defined = UserDefinedTokens::inside;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    if (vocabulary.types[i] != TokenType::unknown) continue;
    if (options.unknown != -1) throw FormatError(file, "the vocabulary has two unknown tokens");
    options.unknown = static_cast<TokenId>(i);
  }

  const std::vector<SpecialToken> added = detail::add_tokens(folder, vocabulary);
  TokenizerSettings settings;
  settings.bos = detail::find_named_control(folder.bos, model.bos, "bos_token", vocabulary);
  settings.eos = detail::find_named_control(folder.eos, model.eos, "eos_token", vocabulary);
  auto special = detail::find_special_tokens(vocabulary, options.user_defined, settings);
  std::vector<bool> is_added(vocabulary.tokens.size());
  for (const SpecialToken& token : added) is_added[detail::slot(token.id)] = true;
  std::erase_if(special, [&](const SpecialToken& token) { return is_added[detail::slot(token.id)]; });
  special.insert(special.end(), added.begin(), added.end());

  settings.add_bos = folder.add_bos && settings.bos != -1;
  settings.add_eos = folder.add_eos && settings.eos != -1;
  settings.chat_template = folder.chat_template;
  SentencePieceTokenizer pieces(vocabulary, options);
  return Tokenizer(vocabulary, std::move(pieces), std::move(special), std::move(settings));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
