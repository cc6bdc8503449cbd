// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/tokenizer/tokenizer_gguf.hpp"
#include "activation_trace/tokenizer/tokenizer_model.hpp"
#include "support/file_builders.hpp"

// Readers of tests/tokenizer/golden (see generate_golden.py).
namespace activation_trace::test {

inline std::string read_golden(const std::string& name) {
  const std::string path = std::string(ACTIVATION_TRACE_SOURCE_DIR) + "/tests/tokenizer/golden/" + name;
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (bytes.empty()) throw std::runtime_error("cannot read " + path);
  return bytes;
}

/// The message of the FormatError that `call` throws; other exceptions and none fail.
template <class Call>
std::string problem_of(Call&& call) {
  try {
    call();
  } catch (const FormatError& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  FAIL_CHECK("nothing was thrown");
  return {};
}

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Numbers as LEB128, and what they count.
class GoldenReader {
 public:
  explicit GoldenReader(const std::string& name) : bytes_(read_golden(name)) {}

  [[nodiscard]] bool at_end() const { return position_ == bytes_.size(); }
  std::size_t number() {
    std::size_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_.at(position_++));
      value |= std::size_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  }
  std::string text() {
    const std::size_t size = number();
    position_ += size;
    return bytes_.substr(position_ - size, size);
  }
  std::vector<TokenId> ids() {
    std::vector<TokenId> ids(number());
    for (TokenId& id : ids) id = static_cast<TokenId>(number());
    return ids;
  }

 private:
  std::string bytes_;
  std::size_t position_ = 0;
};

inline std::vector<std::string> golden_strings(const std::string& name = "strings.bin") {
  std::vector<std::string> strings;
  for (GoldenReader reader(name); !reader.at_end();) strings.push_back(reader.text());
  return strings;
}

inline std::vector<std::vector<TokenId>> golden_ids(const std::string& name) {
  std::vector<std::vector<TokenId>> rows;
  for (GoldenReader reader(name); !reader.at_end();) rows.push_back(reader.ids());
  return rows;
}

/// The metadata of a GGUF file with the vocabulary of a byte-level tokenizer.json.
inline GgufBuilder gguf_of(const nlohmann::json& json, std::string_view pre) {
  const auto& vocab = json["model"]["vocab"];
  std::size_t size = 0;
  const auto fit = [&](std::size_t id) { size = std::max(size, id + 1); };
  for (const auto& [text, id] : vocab.items()) fit(id.get<std::size_t>());
  for (const auto& token : json["added_tokens"]) fit(token["id"].get<std::size_t>());
  std::vector<std::string> tokens(size);
  std::vector<int> types(size, 1);
  int bos = -1;
  for (const auto& [text, id] : vocab.items()) tokens[id.get<std::size_t>()] = text;
  for (const auto& token : json["added_tokens"]) {
    tokens[token["id"].get<std::size_t>()] = token["content"];
    if (token["content"] == "<|begin_of_text|>") bos = token["id"];
    types[token["id"].get<std::size_t>()] = token["special"].get<bool>() ? 3 : 4;
  }
  std::vector<std::string> merges;
  for (const auto& merge : json["model"]["merges"])
    merges.push_back(merge.is_string() ? merge.get<std::string>()
                                       : merge[0].get<std::string>() + ' ' + merge[1].get<std::string>());
  GgufBuilder builder;
  builder.value("tokenizer.ggml.model", "gpt2").value("tokenizer.ggml.pre", pre);
  builder.value("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(bos));  // -1: none, as writers have it
  builder.array("tokenizer.ggml.tokens", tokens).array("tokenizer.ggml.token_type", types);
  builder.array("tokenizer.ggml.merges", merges);
  return builder;
}

/// The same with the vocabulary of a tokenizer.model.
inline GgufBuilder gguf_of_model(const std::string& bytes) {
  const auto model = activation_trace::detail::read_sentencepiece_model(bytes, "spm.model");
  std::vector<std::string> tokens(model.vocabulary.tokens.begin(), model.vocabulary.tokens.end());
  std::vector<int> types;
  for (const TokenType type : model.vocabulary.types) types.push_back(static_cast<int>(type));
  GgufBuilder builder;
  builder.value("tokenizer.ggml.model", "llama").array("tokenizer.ggml.tokens", tokens);
  builder.array("tokenizer.ggml.scores", model.vocabulary.scores).array("tokenizer.ggml.token_type", types);
  return builder;
}

inline Tokenizer tokenizer_of(const GgufBuilder& builder) {
  const auto bytes = builder.bytes();
  return read_tokenizer(GgufFile::parse(bytes, "test.gguf"));
}

}  // namespace activation_trace::test
