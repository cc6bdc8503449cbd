// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/formats/json_part.hpp"
#include "activation_trace/formats/mapped_file.hpp"
#include "activation_trace/tokenizer/folder_settings.hpp"
#include "activation_trace/tokenizer/tokenizer_gguf.hpp"
#include "activation_trace/tokenizer/tokenizer_json.hpp"
#include "activation_trace/tokenizer/tokenizer_model.hpp"

namespace activation_trace {
inline namespace v0 {

/// The tokenizer of a .gguf file or of a Hugging Face folder: its tokenizer.json, else its tokenizer.model,
/// with the special tokens and the chat template of tokenizer_config.json and chat_template.jinja where they
/// exist. Throws FormatError naming the file and what is missing, wrong or not supported.
[[nodiscard]] Tokenizer load_tokenizer(const std::filesystem::path& path);

/// Reads tokenizer_config.json; `file` is the name for messages. Throws FormatError.
[[nodiscard]] TokenizerFolderSettings read_tokenizer_config(std::string_view text, const std::string& file);

namespace detail {

/// A token's text: a string, or an object with the string in it; empty for null.
[[nodiscard]] inline std::string read_token_text(const JsonPart& part) {
  if (part.is_null()) return {};
  return part.value().is_object() ? part["content"].text() : part.text();
}

}  // namespace detail

inline TokenizerFolderSettings read_tokenizer_config(std::string_view text, const std::string& file) {
  const nlohmann::json json = detail::parse_json(text, file);
  const detail::JsonPart root(json, "", file);
  TokenizerFolderSettings settings;
  settings.bos = detail::read_token_text(root["bos_token"]);
  settings.eos = detail::read_token_text(root["eos_token"]);
  settings.add_bos = root["add_bos_token"].flag(true);
  settings.add_eos = root["add_eos_token"].flag(false);
  if (const auto chat = root["chat_template"]; chat.value().is_array()) {
    for (const detail::JsonPart& named : chat.elements())
      if (named["name"].is("default")) settings.chat_template = named["template"].text();
  } else if (!chat.is_null()) {
    settings.chat_template = chat.text();
  }
  if (const auto added = root["added_tokens_decoder"]; !added.is_null()) {
    if (!added.value().is_object()) added.fail("is not an object");
    for (const auto& [key, value] : added.value().items()) {
      const detail::JsonPart token(value, "added_tokens_decoder." + detail::printable(key), file);
      SpecialToken& entry = settings.added.emplace_back();
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), entry.id);
      if (error != std::errc{} || end != key.data() + key.size() || entry.id < 0) token.fail("is not a token id");
      entry.text = token["content"].text();
      entry.found = token["special"].flag(false) ? SpecialTokens::parse : SpecialTokens::as_text;
      const bool left = token["lstrip"].flag(false);
      const bool right = token["rstrip"].flag(false);
      if (left) entry.strip = right ? SpecialToken::Strip::both : SpecialToken::Strip::left;
      if (right && !left) entry.strip = SpecialToken::Strip::right;
    }
    std::sort(settings.added.begin(), settings.added.end(),
              [](const SpecialToken& a, const SpecialToken& b) { return a.id < b.id; });
  }
  return settings;
}

inline Tokenizer load_tokenizer(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return read_tokenizer(GgufFile::open(path));
  const auto exists = [&](const char* name) { return std::filesystem::exists(path / name); };
  TokenizerFolderSettings settings;
  if (exists("tokenizer_config.json")) {
    const MappedFile file = MappedFile::open(path / "tokenizer_config.json");
    settings = read_tokenizer_config(detail::text_of(file.bytes()), file.name());
  }
  if (exists("chat_template.jinja"))
    settings.chat_template = detail::text_of(MappedFile::open(path / "chat_template.jinja").bytes());
  if (exists("tokenizer.json")) {
    const MappedFile file = MappedFile::open(path / "tokenizer.json");
    return read_tokenizer_json(detail::text_of(file.bytes()), file.name(), settings);
  }
  if (exists("tokenizer.model")) {
    const MappedFile file = MappedFile::open(path / "tokenizer.model");
    return read_tokenizer_model(detail::text_of(file.bytes()), file.name(), settings);
  }
  throw FormatError(path.string(), "the folder has neither tokenizer.json nor tokenizer.model");
}

}  // namespace v0
}  // namespace activation_trace
