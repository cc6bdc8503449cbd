// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/json_part.hpp"
#include "activation_trace/tokenizer/find_special_tokens.hpp"
#include "activation_trace/tokenizer/folder_settings.hpp"
#include "activation_trace/tokenizer/tokenizer.hpp"

namespace activation_trace {
inline namespace v0 {

/// The tokenizer in a Hugging Face tokenizer.json (tokenizer/README.md 3): byte-level BPE of the GPT-2, SmolLM2,
/// Llama 3, Qwen2, tekken, GPT-4o and DeepSeek families, SentencePiece's BPE of the Llama 2 family in both its forms
/// and of Gemma's. Everything that would change an id is looked at: what is not one of these is refused by name, never
/// ignored. `file` is the name for messages. Throws FormatError.
[[nodiscard]] Tokenizer read_tokenizer_json(std::string_view text, const std::string& file,
                                            const TokenizerFolderSettings& folder = {});

namespace detail {

/// Reads one tokenizer.json.
class TokenizerJsonReader {
 public:
  TokenizerJsonReader(std::string_view text, const std::string& file) : json_(text, file), root_(json_.root()) {}

  [[nodiscard]] Tokenizer read(const TokenizerFolderSettings& folder);

 private:
  void check_model() const;
  void read_vocabulary();
  void read_added_tokens();
  void read_merges();
  [[nodiscard]] std::optional<PreTokenizer> find_byte_level() const;
  [[nodiscard]] Normalization read_normalization() const;
  [[nodiscard]] SpacePrefix read_space_prefix() const;
  void check_byte_level_decoder() const;
  void check_sentencepiece_decoder(SpacePrefix prefix) const;
  void read_post_processor();
  void read_template(const JsonPart& processor);
  void set_type(TokenId id, TokenType type) { vocabulary_.types[slot(id)] = type; }

  JsonDocument json_;
  JsonPart root_;
  Vocabulary vocabulary_;
  TokenizerSettings settings_;
  std::vector<SpecialToken> special_;
  bool normalizes_ = false;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void TokenizerJsonReader::check_model() const {
  const JsonPart model = root_["model"];
  if (const JsonPart type = model["type"]; !type.is_null() && !type.is("BPE")) type.refuse("BPE");
  if (const JsonPart dropout = model["dropout"]; !dropout.is_null() && !dropout.is(0)) dropout.refuse("none");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const JsonPart affix = model[key]; !affix.is_null() && !affix.is("")) affix.refuse("none");
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenizerJsonReader::read_vocabulary() {
  const JsonPart vocab = root_["model"]["vocab"];
  if (!vocab.is_object()) vocab.fail("is not an object");
  std::size_t size = vocab.size();
  const auto added = root_["added_tokens"].elements();
  for (const JsonPart& token : added)
    if (!vocab.has(token["content"].text())) ++size;
  if (size == 0) vocab.fail("is empty");

  // Ids are 0 to size - 1, each once: a gap means that one of them was used twice or is too large.
  vocabulary_.file = json_.file();
  vocabulary_.tokens.resize(size);
  vocabulary_.types.assign(size, TokenType::normal);
  std::vector<bool> used(size);
  const auto put = [&](const JsonPart& id_part, std::string_view text) {
    const TokenId id = id_part.id();
    if (slot(id) >= size || used[slot(id)])
      id_part.fail(
          "is " + std::to_string(id) + ", " +
          (slot(id) >= size ? "but there are " + std::to_string(size) + " tokens" : "which another token has as well"));
    used[slot(id)] = true;
    vocabulary_.tokens[slot(id)] = text;
  };
  for (const auto& [text, id] : vocab.members())
    put(id.named("the id of token " + printable(text) + " in model.vocab"), text);
  for (const JsonPart& token : added) {
    const std::string& text = token["content"].text();
    if (!vocab.has(text))
      put(token["id"], text);
    else if (vocab[text].id() != token["id"].id())
      token["id"].fail("is not the id that model.vocab has for " + printable(text));
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenizerJsonReader::read_added_tokens() {
  for (const JsonPart& token : root_["added_tokens"].elements()) {
    const bool special = token["special"].flag(false);
    if (token["single_word"].flag(false)) token["single_word"].refuse("false");
    // A special token is looked for in the raw text in any case, which is what transformers makes of it.
    if (normalizes_ && !special && token["normalized"].flag(true)) token["normalized"].refuse("false");
    using Strip = SpecialToken::Strip;
    const bool left = token["lstrip"].flag(false);
    const bool right = token["rstrip"].flag(false);
    const TokenId id = token["id"].id();
    const std::string& text = token["content"].text();
    if (text.empty()) token["content"].fail("is empty");
    special_.push_back({text, id, special ? SpecialTokens::parse : SpecialTokens::as_text,
                        left && right ? Strip::both
                        : left        ? Strip::left
                        : right       ? Strip::right
                                      : Strip::none});
    const auto type = special ? TokenType::control : TokenType::user_defined;
    set_type(id, type);
    if (is_end_of_text(text, type)) settings_.end_tokens.push_back(id);
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenizerJsonReader::read_merges() {
  const JsonPart merges = root_["model"]["merges"];
  if (!merges.is_array()) merges.fail("is not an array");
  vocabulary_.merges.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    if (const std::string* merge = merges.find_text_at(i)) {
      const std::string_view text = *merge;
      const std::size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
        merges[i].fail("is not two tokens with a space between");
      vocabulary_.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
      continue;
    }
    const JsonPart pair = merges[i];
    const bool is_pair = pair.is_array() && pair.size() == 2;
    const std::string* left = is_pair ? pair.find_text_at(0) : nullptr;
    const std::string* right = is_pair ? pair.find_text_at(1) : nullptr;
    if (left == nullptr || right == nullptr) pair.fail("is neither a string nor a pair of strings");
    vocabulary_.merges.emplace_back(*left, *right);
  }
}

#endif  // ACTIVATION_TRACE_BODIES

/// Which pre-tokenizer's regular expression that is; only its own letters count.
[[nodiscard]] PreTokenizer kind_of_pattern(const JsonPart& pattern);

/// Gemma's pre_tokenizer, which cuts nothing: its normalizer leaves no space.
[[nodiscard]] inline bool is_split_of_spaces(const JsonPart& part) {
  return part.has_type("Split") && part["pattern"]["String"].is(" ");
}

/// Whether these, up to the last, which is ByteLevel, cut as `expected` does.
[[nodiscard]] bool are_steps(const std::vector<JsonPart>& steps, std::span<const CutStep> expected);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE bool are_steps(const std::vector<JsonPart>& steps, std::span<const CutStep> expected) {
  if (steps.size() != expected.size() + 1 || !steps.back().has_type("ByteLevel")) return false;
  return std::equal(expected.begin(), expected.end(), steps.begin(), [](const CutStep& wanted, const JsonPart& step) {
    if (wanted.regex.empty()) return step.has_type("Digits") && step["individual_digits"].flag(false);
    return step.has_type("Split") && step["pattern"]["Regex"].is(wanted.regex) && step["behavior"].is("Isolated") &&
           !step["invert"].flag(false);
  });
}

/// The pre-tokenizer if the file is of byte level, nothing if it is of the Llama 2 family.
ACTIVATION_TRACE_COMPILED_INLINE std::optional<PreTokenizer> TokenizerJsonReader::find_byte_level() const {
  const JsonPart part = root_["pre_tokenizer"];
  const auto check_byte_level = [](const JsonPart& level, bool use_regex) {
    if (level["add_prefix_space"].flag(true)) level["add_prefix_space"].refuse("false");
    if (level["use_regex"].flag(true) != use_regex) level["use_regex"].refuse(use_regex ? "true" : "false");
  };
  if (part.is_null() || part.has_type("Metaspace") || is_split_of_spaces(part)) return std::nullopt;
  if (part.has_type("ByteLevel")) {
    check_byte_level(part, true);
    return PreTokenizer::gpt2;
  }
  if (!part.has_type("Sequence"))
    part.refuse("ByteLevel, Metaspace, Split of spaces, a Sequence with ByteLevel, or null");
  const auto steps = part["pretokenizers"].elements();
  for (const PreTokenizer kind : {PreTokenizer::deepseek_llm, PreTokenizer::deepseek_coder})
    if (are_steps(steps, cut_steps(kind))) {
      check_byte_level(steps.back(), false);
      return kind;
    }
  if (steps.size() != 2 || !steps[1].has_type("ByteLevel"))
    part["pretokenizers"].refuse("Digits or Split, followed by ByteLevel, or the steps of DeepSeek's LLM or Coder");
  if (steps[0].has_type("Digits")) {
    if (!steps[0]["individual_digits"].flag(false)) steps[0]["individual_digits"].refuse("true");
    check_byte_level(steps[1], true);
    return PreTokenizer::smollm;
  }
  if (!steps[0].has_type("Split")) steps[0].refuse("Digits or Split");
  const auto kind = kind_of_pattern(steps[0]["pattern"]);
  if (!steps[0]["behavior"].is("Isolated")) steps[0]["behavior"].refuse("Isolated");
  if (steps[0]["invert"].flag(false)) steps[0]["invert"].refuse("false");
  check_byte_level(steps[1], false);
  return kind;
}

/// Of the byte-level families: NFC, or a normalizer that does nothing.
ACTIVATION_TRACE_COMPILED_INLINE Normalization TokenizerJsonReader::read_normalization() const {
  const JsonPart normalizer = root_["normalizer"];
  if (normalizer.has_type("NFC")) return Normalization::nfc;
  const bool is_empty = normalizer.has_type("Sequence") && normalizer["normalizers"].elements().empty();
  if (!normalizer.is_null() && !is_empty) normalizer.refuse("NFC, an empty Sequence or null");
  return Normalization::none;
}

/// Of the Llama 2 family: a normalizer that puts the space first, or the newer Metaspace.
ACTIVATION_TRACE_COMPILED_INLINE SpacePrefix TokenizerJsonReader::read_space_prefix() const {
  const JsonPart normalizer = root_["normalizer"];
  const JsonPart metaspace = root_["pre_tokenizer"];
  if (metaspace.is_null() || is_split_of_spaces(metaspace)) {
    // Also the order of steps is part of the shape: Replace alone is what add_prefix_space false looks like.
    auto steps = normalizer.has_type("Sequence") ? normalizer["normalizers"].elements() : std::vector{normalizer};
    SpacePrefix prefix = SpacePrefix::none;
    if (!steps.empty() && steps[0].has_type("Prepend") && steps[0]["prepend"].is(space_mark)) {
      prefix = SpacePrefix::every;
      steps.erase(steps.begin());
    }
    if (steps.size() != 1 || !steps[0].has_type("Replace") || !steps[0]["pattern"]["String"].is(" ") ||
        !steps[0]["content"].is(space_mark))
      normalizer.refuse("Prepend and Replace of U+2581, as Llama 2's, or Replace alone, as Gemma's");
    return prefix;
  }
  if (!normalizer.is_null()) normalizer.refuse("null beside Metaspace");
  if (!metaspace["replacement"].is(space_mark)) metaspace["replacement"].refuse("U+2581");
  if (metaspace["split"].flag(true)) metaspace["split"].refuse("false");
  const JsonPart scheme = metaspace["prepend_scheme"];
  if (scheme.is("first")) return SpacePrefix::first_unspaced;
  if (scheme.is("always")) return SpacePrefix::every_unspaced;
  if (!scheme.is("never")) scheme.refuse("first, always or never");
  return SpacePrefix::none;
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenizerJsonReader::check_byte_level_decoder() const {
  if (!root_["decoder"].has_type("ByteLevel")) root_["decoder"].refuse("ByteLevel");
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenizerJsonReader::check_sentencepiece_decoder(SpacePrefix prefix) const {
  const JsonPart decoder = root_["decoder"];
  const char* expected = "a Sequence of Replace, ByteFallback, Fuse and, where a space is put first, Strip";
  if (!decoder.has_type("Sequence")) decoder.refuse(expected);
  const auto steps = decoder["decoders"].elements();
  const std::size_t size = prefix == SpacePrefix::none ? 3 : 4;
  if (steps.size() != size || !steps[0].has_type("Replace") || !steps[0]["pattern"]["String"].is(space_mark) ||
      !steps[0]["content"].is(" ") || !steps[1].has_type("ByteFallback") || !steps[2].has_type("Fuse"))
    decoder.refuse(expected);
  if (size == 4 && (!steps[3].has_type("Strip") || !steps[3]["content"].is(" ") || !steps[3]["start"].is(1) ||
                    !steps[3]["stop"].is(0)))
    steps[3].refuse("Strip of one leading space");
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenizerJsonReader::read_post_processor() {
  const JsonPart processor = root_["post_processor"];
  const auto read_one = [this](const JsonPart& part) {
    if (part.has_type("TemplateProcessing"))
      read_template(part);
    else if (!part.has_type("ByteLevel"))  // its only effect is on offsets
      part.refuse("ByteLevel, TemplateProcessing or a Sequence of them");
  };
  if (processor.is_null()) return;
  if (!processor.has_type("Sequence")) return read_one(processor);
  for (const JsonPart& part : processor["processors"].elements()) read_one(part);
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenizerJsonReader::read_template(const JsonPart& processor) {
  const JsonPart single = processor["single"];
  bool seen_text = false;
  for (const JsonPart& item : single.elements()) {
    if (const JsonPart sequence = item["Sequence"]; !sequence.is_null()) {
      if (seen_text || !sequence["id"].is("A")) item.refuse("the text once");
      seen_text = true;
      continue;
    }
    const std::string& text = item["SpecialToken"]["id"].text();
    TokenId& id = seen_text ? settings_.eos : settings_.bos;
    bool& add = seen_text ? settings_.add_eos : settings_.add_bos;
    const TokenId token = find_token(vocabulary_, text);
    if (token == -1) item.fail("names " + printable(text) + ", which is not a token");
    if (add) item.refuse("one token before and one after the text");
    id = token;
    add = true;
  }
  if (!seen_text) single.refuse("a template with the text in it");
}

ACTIVATION_TRACE_COMPILED_INLINE Tokenizer TokenizerJsonReader::read(const TokenizerFolderSettings& folder) {
  if (!root_.is_object()) root_.fail("is not a JSON object");
  check_model();
  read_vocabulary();
  const JsonPart model = root_["model"];
  const auto pre_tokenizer = find_byte_level();
  normalizes_ = !root_["normalizer"].is_null();
  const auto normalization = pre_tokenizer ? read_normalization() : Normalization::none;
  const bool byte_fallback = model["byte_fallback"].flag(false);
  if (!pre_tokenizer && byte_fallback)
    for (std::size_t i = 0; i < vocabulary_.tokens.size(); ++i)
      if (parse_byte_token(vocabulary_.tokens[i])) vocabulary_.types[i] = TokenType::byte;
  read_added_tokens();
  read_merges();
  read_post_processor();
  const auto override_id = [&](const std::string& text, TokenId& id, const char* what) {
    if (!text.empty() && id == -1) id = find_named_token(vocabulary_, text, what);
  };
  override_id(folder.bos, settings_.bos, "bos_token");
  override_id(folder.eos, settings_.eos, "eos_token");
  settings_.chat_template = folder.chat_template;

  const bool ignore_merges = model["ignore_merges"].flag(false);
  if (pre_tokenizer) {
    check_byte_level_decoder();
    if (byte_fallback) model["byte_fallback"].refuse("false for byte-level BPE");
    if (!model["unk_token"].is_null()) model["unk_token"].refuse("null for byte-level BPE");
    BpeTokenizer bpe(vocabulary_, *pre_tokenizer, ignore_merges ? WholePieces::take : WholePieces::merge,
                     normalization);
    return Tokenizer(vocabulary_, std::move(bpe), std::move(special_), std::move(settings_));
  }
  if (ignore_merges) model["ignore_merges"].refuse("false for the Llama 2 family");
  SentencePieceOptions options;
  options.space_prefix = read_space_prefix();
  check_sentencepiece_decoder(options.space_prefix);
  if (!model["unk_token"].is_null()) {
    options.unknown = find_token(vocabulary_, model["unk_token"].text());
    if (options.unknown == -1) model["unk_token"].fail("is not a token");
  }
  if (!byte_fallback && !model["fuse_unk"].flag(false)) model["fuse_unk"].refuse("true without byte_fallback");
  SentencePieceTokenizer pieces(vocabulary_, options);
  return Tokenizer(vocabulary_, std::move(pieces), std::move(special_), std::move(settings_));
}

ACTIVATION_TRACE_COMPILED_INLINE PreTokenizer kind_of_pattern(const JsonPart& pattern) {
  constexpr std::pair<const char*, PreTokenizer> known[]{
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       PreTokenizer::llama_bpe},
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       PreTokenizer::qwen2},
      {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       PreTokenizer::tekken},
      {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       PreTokenizer::gpt4o},
  };
  for (const auto& [regex, kind] : known)
    if (pattern["Regex"].is(regex)) return kind;
  pattern.refuse("the regular expression of Llama 3, Qwen2, tekken or GPT-4o");
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

inline Tokenizer read_tokenizer_json(std::string_view text, const std::string& file,
                                     const TokenizerFolderSettings& folder) {
  return detail::TokenizerJsonReader(text, file).read(folder);
}

}  // namespace v0
}  // namespace activation_trace
