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
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/text/json_part.hpp"
#include "activation_trace/text/mapped_file.hpp"
#include "activation_trace/tokenizer/folder_settings.hpp"
#include "activation_trace/tokenizer/tokenizer_gguf.hpp"
#include "activation_trace/tokenizer/tokenizer_json.hpp"
#include "activation_trace/tokenizer/tokenizer_model.hpp"

namespace activation_trace {
inline namespace v0 {

/// The tokenizer of a .gguf file or of a Hugging Face folder: its tokenizer.json, else its tokenizer.model, with the
/// special tokens and the chat template of tokenizer_config.json and chat_template.jinja where they exist, and in
/// folders of before October 2023 those of special_tokens_map.json and added_tokens.json. Throws FormatError naming
/// the file and what is missing, wrong or not supported.
[[nodiscard]] Tokenizer load_tokenizer(const std::filesystem::path& path, FileAccess access = FileAccess::map);

/// The tokenizer of a model that load_llama() has opened, of the same files: for_model() of its vocabulary and of the
/// ends of text that its settings name. Throws as above.
[[nodiscard]] Tokenizer load_tokenizer(const Checkpoint& checkpoint);

/// Reads tokenizer_config.json; `file` is the name for messages. Throws FormatError.
[[nodiscard]] TokenizerFolderSettings read_tokenizer_config(std::string_view text, const std::string& file);

namespace detail {

/// A token's text: a string, or an object with the string in it; empty for null.
[[nodiscard]] inline std::string read_token_text(const JsonPart& part) {
  if (part.is_null()) return {};
  return part.is_object() ? part["content"].text() : part.text();
}

#if ACTIVATION_TRACE_BODIES

/// The tokens that tokenizer_config.json and special_tokens_map.json name for a purpose.
ACTIVATION_TRACE_COMPILED_INLINE void read_named_tokens(const JsonPart& root, TokenizerFolderSettings& settings) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    std::string text = read_token_text(root[key]);
    if (text.empty()) continue;
    if (key == std::string_view("bos_token")) settings.bos = text;
    if (key == std::string_view("eos_token")) settings.eos = text;
    settings.special.push_back(std::move(text));
  }
  if (const JsonPart more = root["additional_special_tokens"]; more.is_array())
    for (const JsonPart& token : more.elements()) settings.special.push_back(read_token_text(token));
}

ACTIVATION_TRACE_COMPILED_INLINE void sort_by_id(std::vector<SpecialToken>& tokens) {
  std::sort(tokens.begin(), tokens.end(), [](const SpecialToken& a, const SpecialToken& b) { return a.id < b.id; });
}

#endif  // ACTIVATION_TRACE_BODIES

/// Calls `read` with the whole of a JSON file of the folder, if it is there.
template <class Read>
void read_folder_json(const std::filesystem::path& path, Read&& read) {
  if (!std::filesystem::exists(path)) return;
  const MappedFile file = MappedFile::open(path, FileAccess::read);
  const JsonDocument json(text_of(file.bytes()), file.name());
  read(json.root());
}

#if ACTIVATION_TRACE_BODIES

/// What tokenizer_config.json says today: special_tokens_map.json, and added_tokens.json with ids by text. Those that
/// have a purpose are control tokens.
ACTIVATION_TRACE_COMPILED_INLINE void read_older_settings(const std::filesystem::path& folder,
                                                          TokenizerFolderSettings& settings) {
  read_folder_json(folder / "special_tokens_map.json",
                   [&](const JsonPart& root) { read_named_tokens(root, settings); });
  std::sort(settings.special.begin(), settings.special.end());
  read_folder_json(folder / "added_tokens.json", [&](const JsonPart& root) {
    if (!root.is_object()) root.fail("is not a JSON object");
    for (const auto& [text, part] : root.members()) {
      const TokenId id = part.named("the id of " + printable(text)).id();
      const bool special = std::binary_search(settings.special.begin(), settings.special.end(), text);
      settings.added.push_back({std::string(text), id, special ? SpecialTokens::parse : SpecialTokens::as_text});
    }
  });
  sort_by_id(settings.added);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE TokenizerFolderSettings read_tokenizer_config(std::string_view text,
                                                                               const std::string& file) {
  const detail::JsonDocument json(text, file);
  const detail::JsonPart root = json.root();
  TokenizerFolderSettings settings;
  detail::read_named_tokens(root, settings);
  settings.add_bos = root["add_bos_token"].flag(true);
  settings.add_eos = root["add_eos_token"].flag(false);
  if (const auto chat = root["chat_template"]; chat.is_array()) {
    for (const detail::JsonPart& named : chat.elements())
      if (named["name"].is("default")) settings.chat_template = named["template"].text();
  } else if (!chat.is_null()) {
    settings.chat_template = chat.text();
  }
  if (const auto added = root["added_tokens_decoder"]; !added.is_null()) {
    settings.lists_added = true;
    for (const auto& [key, token] : added.members()) {
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
    detail::sort_by_id(settings.added);
  }
  return settings;
}

ACTIVATION_TRACE_COMPILED_INLINE Tokenizer load_tokenizer(const Checkpoint& checkpoint) {
  const Tokenizer tokenizer =
      checkpoint.gguf ? read_tokenizer(*checkpoint.gguf) : load_tokenizer(checkpoint.config.source);
  return tokenizer.for_model(checkpoint.config.vocab, checkpoint.config.eos);
}

ACTIVATION_TRACE_COMPILED_INLINE Tokenizer load_tokenizer(const std::filesystem::path& path, FileAccess access) {
  if (!std::filesystem::is_directory(path)) return read_tokenizer(GgufFile::open(path, access));
  const auto exists = [&](const char* name) { return std::filesystem::exists(path / name); };
  TokenizerFolderSettings settings;
  if (exists("tokenizer_config.json")) {
    const MappedFile file = MappedFile::open(path / "tokenizer_config.json", FileAccess::read);
    settings = read_tokenizer_config(detail::text_of(file.bytes()), file.name());
  }
  if (!settings.lists_added) detail::read_older_settings(path, settings);
  if (exists("chat_template.jinja"))
    settings.chat_template = detail::text_of(MappedFile::open(path / "chat_template.jinja", FileAccess::read).bytes());
  if (exists("tokenizer.json")) {
    const MappedFile file = MappedFile::open(path / "tokenizer.json", FileAccess::read);
    return read_tokenizer_json(detail::text_of(file.bytes()), file.name(), settings);
  }
  if (exists("tokenizer.model")) {
    const MappedFile file = MappedFile::open(path / "tokenizer.model", FileAccess::read);
    return read_tokenizer_model(detail::text_of(file.bytes()), file.name(), settings);
  }
  throw FormatError(path.string(), "the folder has neither tokenizer.json nor tokenizer.model");
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
