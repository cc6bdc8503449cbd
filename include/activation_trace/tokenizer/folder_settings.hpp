// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "activation_trace/tokenizer/special_tokens.hpp"

namespace activation_trace {
inline namespace v0 {

/// What the other files of a Hugging Face folder say about its tokenizer, tokenizer_config.json first.
struct TokenizerFolderSettings {
  std::string bos;                   ///< the token's text; empty: nothing is said
  std::string eos;                   ///< the same
  std::vector<std::string> special;  ///< the texts of all tokens that are named for a purpose, those two and others
  bool add_bos = true;               ///< for tokenizer.model only: tokenizer.json says it itself
  bool add_eos = false;              ///< the same
  std::string chat_template;         ///< Jinja, the one named "default" of several; empty: none
  bool lists_added = false;          ///< tokenizer_config.json lists them: then no other file does
  std::vector<SpecialToken> added;   ///< by ascending id; for tokenizer.model only
};

}  // namespace v0
}  // namespace activation_trace
