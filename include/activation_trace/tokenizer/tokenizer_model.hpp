// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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
/// (FORMATS.md 3.4). `file` is the name for messages. Throws FormatError naming what is wrong or not supported.
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

inline void read_piece(ProtobufReader piece, Vocabulary& vocabulary) {
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

[[nodiscard]] inline SentencePieceModel read_sentencepiece_model(std::string_view bytes, const std::string& file) {
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

}  // namespace detail

inline Tokenizer read_tokenizer_model(std::string_view bytes, const std::string& file,
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

  TokenizerSettings settings;
  std::vector<SpecialToken> added;
  for (const auto& token : folder.added) {
    const std::size_t size = vocabulary.tokens.size();
    if (static_cast<std::size_t>(token.id) < size && vocabulary.tokens[detail::slot(token.id)] == token.text) continue;
    if (static_cast<std::size_t>(token.id) != size)
      throw FormatError(file, "the added token " + detail::printable(token.text) + " has id " +
                                  std::to_string(token.id) + ", expected " + std::to_string(size));
    vocabulary.tokens.push_back(token.text);
    vocabulary.scores.push_back(0);
    vocabulary.types.push_back(token.found == SpecialTokens::parse ? TokenType::control : TokenType::user_defined);
    added.push_back(token);
  }
  auto special = detail::find_special_tokens(vocabulary, options.user_defined, settings);
  std::erase_if(special, [&](const SpecialToken& token) {
    return std::any_of(added.begin(), added.end(), [&](const SpecialToken& a) { return a.id == token.id; });
  });
  special.insert(special.end(), added.begin(), added.end());

  const auto find_control = [&](std::string_view text) {
    for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i)
      if (vocabulary.tokens[i] == text && vocabulary.types[i] == TokenType::control) return static_cast<TokenId>(i);
    return TokenId{-1};
  };
  settings.bos = find_control(folder.bos.empty() ? model.bos : std::string_view(folder.bos));
  settings.eos = find_control(folder.eos.empty() ? model.eos : std::string_view(folder.eos));
  settings.add_bos = folder.add_bos && settings.bos != -1;
  settings.add_eos = folder.add_eos && settings.eos != -1;
  settings.chat_template = folder.chat_template;
  SentencePieceTokenizer pieces(vocabulary, options);
  return Tokenizer(vocabulary, std::move(pieces), std::move(special), std::move(settings));
}

}  // namespace v0
}  // namespace activation_trace
