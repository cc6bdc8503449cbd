// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/formats/families.hpp"
#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/formats/rope_config.hpp"
#include "activation_trace/model/config.hpp"
#include "activation_trace/text/json_part.hpp"

namespace activation_trace {
inline namespace v0 {

/// What the config.json of a Hugging Face folder says about a model.
struct HuggingFaceConfig {
  LlamaConfig config;              ///< validated; half-split rotation
  bool tied_embeddings = false;    ///< the LM head is the embedding
  const Family* family = nullptr;  ///< which of those that were known
};

/// Reads the text of a config.json (formats/README.md 2), as transformers 4 and 5 write it. `name` is for messages.
/// Throws FormatError for what is of none of the families, or uses a feature that is not supported: another activation
/// than its family's, biases where it has none, a rope type other than default, linear and llama3, quantised weights.
[[nodiscard]] HuggingFaceConfig parse_config_json(std::string_view text, const std::string& name,
                                                  std::span<const Family> known = families);

/// The eos ids in the text of a generation_config.json, which may name more than config.json does.
[[nodiscard]] std::vector<TokenId> parse_generation_config_eos(std::string_view text, const std::string& name);

/// Reads the shape of the model in a GGUF file, with its family's rotation (formats/README.md 3). Throws FormatError
/// for an architecture of none of the families and for features that are not supported.
[[nodiscard]] LlamaConfig read_llama_config(const GgufFile& gguf, std::span<const Family> known = families);

namespace detail {

/// Runs the model's own check and puts the file's name in front of what it finds.
inline void validate_config(const LlamaConfig& config, const std::string& file) {
  try {
    config.validate();
  } catch (const ArgumentError& error) {
    throw FormatError(file, error.what());
  }
}

/// A family's number: find(key, usual) looks it up, of the type of `usual`, which it is if the file has no such key,
/// and nothing if it is null there.
template <class T>
std::optional<T> look_up(const OptionalKey& key, const auto& find) {
  const auto usual = key.usual ? std::optional(static_cast<T>(*key.usual)) : std::nullopt;
  return key.name.empty() ? usual : find(std::string(key.name), usual);
}

/// What the engine makes of products with the LM head; states have `hidden` components.
LogitOptions read_logit_options(const OptionalKeys& keys, const auto& find, Index hidden) {
  const auto width = static_cast<float>(hidden);
  LogitOptions logits{.scale = look_up<float>(keys.logit_width, find).value_or(width) / width,
                      .soft_cap = look_up<float>(keys.logit_soft_cap, find)};
  if (const auto divisor = look_up<float>(keys.logit_divisor, find)) logits.scale = 1 / *divisor;
  if (const auto scale = look_up<float>(keys.logit_scale, find)) logits.scale = *scale;
  return logits;
}

/// What the family has beside a plain LLaMA's, by `find` of look_up(). The config's sizes have been validated.
void read_family_facts(const Family& family, const OptionalKeys& keys, const auto& find, LlamaConfig& config) {
  const auto number = [&](const OptionalKey& key) { return look_up<float>(key, find); };
  const auto integer = [&](const OptionalKey& key) { return look_up<Index>(key, find); };
  const float width_root = std::sqrt(static_cast<float>(config.hidden));
  const float depth_root = std::sqrt(static_cast<float>(config.layers));
  config.activation = family.activation;
  config.attention_scale = number(keys.attention_scale);
  if (const auto scalar = number(keys.query_scalar)) config.attention_scale = 1 / std::sqrt(*scalar);
  config.attention_soft_cap = number(keys.attention_soft_cap);
  config.embedding_scale = number(keys.embedding_scale).value_or(family.embedding_times_sqrt ? width_root : 1);
  config.residual_scale =
      number(keys.residual_scale).value_or(number(keys.depth_scale).value_or(depth_root) / depth_root);
  const LogitOptions logits = read_logit_options(keys, find, config.hidden);
  config.logit_scale = logits.scale;
  config.logit_soft_cap = logits.soft_cap;
  const Index every = integer(keys.full_attention_every).value_or(family.full_attention_every);
  config.windows = windows_of(every, integer(keys.window).value_or(0), config.layers);
  config.rotated = rotated_of(integer(keys.unrotated_every).value_or(family.unrotated_every), config.layers);
  if (family.window_theta == 0 || config.window_rope) return;
  config.window_rope =
      RopeConfig{.theta = number(keys.window_theta).value_or(family.window_theta), .layout = config.rope.layout};
}

/// Looks numbers up for look_up(), in a part of config.json.
inline auto finder(const JsonPart& fields) {
  return [&fields]<class T>(const std::string& key, std::optional<T> usual) -> std::optional<T> {
    if (!fields.has(key)) return usual;
    if constexpr (std::is_same_v<T, float>)
      return fields[key].find_float();
    else
      return fields[key].find_integer();
  };
}

/// The same in the metadata of a GGUF file, where keys begin with `prefix`.
inline auto finder(const GgufFile& gguf, std::string prefix) {
  return [&gguf, prefix = std::move(prefix)]<class T>(const std::string& name, std::optional<T> usual) {
    const std::optional<T> found = gguf.find<T>(prefix + name);
    return found ? found : usual;
  };
}

#if ACTIVATION_TRACE_BODIES

/// config.json's layer_types, where it has them: which blocks have the model's window.
ACTIVATION_TRACE_COMPILED_INLINE void read_layer_types(const JsonPart& fields, LlamaConfig& config) {
  const JsonPart types = fields["layer_types"];
  if (types.is_null()) return;
  if (!types.is_array() || static_cast<Index>(types.size()) != config.layers)
    types.fail("must be a list of one type for each block");
  const Index window = config.windows.empty() ? 0 : std::ranges::max(config.windows);
  for (Index i = 0; i < config.layers; ++i) {
    const JsonPart part = types[static_cast<std::size_t>(i)];
    const std::string type = required(part, &JsonPart::find_text);
    const bool slides = type == "sliding_attention" && window > 0;
    if (!slides && type != "full_attention") part.fail(printable(type) + " is not supported here");
    if (window > 0) config.windows[static_cast<std::size_t>(i)] = slides ? window : 0;
  }
}

/// config.json's list of the blocks that rotate q and k, where it has one.
ACTIVATION_TRACE_COMPILED_INLINE void read_rotated_blocks(const JsonPart& fields, const Family& family,
                                                          LlamaConfig& config) {
  const std::string key(family.hugging_face_keys.rotated_blocks.name);
  if (key.empty() || fields[key].is_null()) return;
  const JsonPart blocks = fields[key];
  if (!blocks.is_array() || static_cast<Index>(blocks.size()) < config.layers)
    blocks.fail("must be a list with 0 or 1 for each block");
  config.rotated.clear();
  for (std::size_t i = 0; i < static_cast<std::size_t>(config.layers); ++i) {
    const Index rotates = required(blocks[i], &JsonPart::find_integer);
    if (rotates != 0 && rotates != 1) blocks[i].fail("must be 0 or 1");
    config.rotated.push_back(rotates == 1);
  }
}

/// The family that a config.json says it is of. Throws FormatError for none.
ACTIVATION_TRACE_COMPILED_INLINE const Family& family_of(const JsonPart& fields, std::span<const Family> known) {
  const std::string model_type = fields["model_type"].find_text().value_or("");
  const JsonPart architectures = fields["architectures"];
  const Family* family = nullptr;
  if (architectures.is_null())
    family = find_family(known, &Family::model_type, model_type);
  else if (architectures.is_array() && architectures.size() == 1 && architectures[0].is_string())
    family = find_family(known, &Family::hugging_face_class, architectures[0].text());
  if (family != nullptr) return *family;
  const std::string found =
      !architectures.is_null() ? "architectures " + architectures.dump() : "model_type " + model_type;
  throw FormatError(fields.file(), "expected architectures " +
                                       names_of(known, &Family::hugging_face_class, "[\"", "\"]") + ", found " +
                                       printable(found));
}

/// Refuses what no family, or not this one, supports.
ACTIVATION_TRACE_COMPILED_INLINE void check_supported(const JsonPart& fields, const Family& family) {
  if (const JsonPart quantized = fields["quantization_config"]; !quantized.is_null())
    quantized.fail("is not supported: give unquantised safetensors or a .gguf file");
  for (const std::string_view key : family.refused_flags)
    if (!key.empty() && fields[std::string(key)].flag(false)) fields[std::string(key)].fail("true is not supported");
  const std::string usual(family.activation_name);
  const JsonPart given = fields[std::string(family.activation_key)];
  const std::string activation = given.find_text().value_or(usual);
  if (activation != usual) given.fail(printable(activation) + " is not supported, only " + usual);
}

/// The numbers of the model's shape.
ACTIVATION_TRACE_COMPILED_INLINE LlamaConfig read_sizes(const JsonPart& fields, const Family& family) {
  LlamaConfig config;
  const HuggingFaceDefaults& defaults = family.defaults;
  const auto size = [&](const std::string& key, Index usual = 0) {
    return usual != 0 && !fields.has(key) ? usual : required(fields[key], &JsonPart::find_integer);
  };
  config.layers = size(std::string(family.layers_key));
  config.hidden = size("hidden_size");
  config.ffn = size("intermediate_size");
  config.heads = size("num_attention_heads", defaults.heads);
  config.kv_heads =
      fields["num_key_value_heads"].find_integer().value_or(defaults.kv_heads != 0 ? defaults.kv_heads : config.heads);
  config.vocab = size("vocab_size", defaults.vocab);
  config.max_context = fields["max_position_embeddings"].find_integer().value_or(defaults.max_context);
  config.rms_norm_eps = fields[std::string(family.norm_eps_key)].find_float().value_or(defaults.norm_eps);
  if (const auto head_dim = fields["head_dim"].find_integer()) {
    config.head_dim = *head_dim;
  } else if (defaults.head_dim != 0) {
    config.head_dim = defaults.head_dim;
  } else {
    if (config.heads <= 0 || config.hidden % config.heads != 0)
      fields["num_attention_heads"].fail("does not divide hidden_size and there is no head_dim");
    config.head_dim = config.hidden / config.heads;
  }
  return config;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE HuggingFaceConfig parse_config_json(std::string_view text, const std::string& name,
                                                                     std::span<const Family> known) {
  const detail::JsonDocument json(text, name);
  const detail::JsonPart whole = json.object();
  const Family& family = detail::family_of(whole, known);
  const detail::JsonPart fields = family.text_config.empty() ? whole : whole[std::string(family.text_config)];
  if (!fields.is_object()) fields.fail("must be an object");
  // A larger model's own settings count, where it has them.
  const auto holder = [&](const char* key) -> const detail::JsonPart& { return whole.has(key) ? whole : fields; };
  detail::check_supported(whole, family);
  detail::check_supported(fields, family);

  HuggingFaceConfig result;
  result.family = &family;
  LlamaConfig& config = result.config = detail::read_sizes(fields, family);
  const detail::JsonPart& begins = holder("bos_token_id");
  const std::vector<TokenId> bos = begins["bos_token_id"].ids();
  config.bos = begins.has("bos_token_id") ? (bos.empty() ? -1 : bos.front()) : family.defaults.bos;
  if (const detail::JsonPart& ends = holder("eos_token_id"); ends.has("eos_token_id"))
    config.eos = ends["eos_token_id"].ids();
  else if (family.defaults.eos != -1)
    config.eos = {family.defaults.eos};
  result.tied_embeddings = holder("tie_word_embeddings")["tie_word_embeddings"].flag(family.defaults.tied_embeddings);
  detail::validate_config(config, name);
  detail::read_rope(fields, family, config);
  detail::read_family_facts(family, family.hugging_face_keys, detail::finder(fields), config);
  detail::read_layer_types(fields, config);
  detail::read_rotated_blocks(fields, family, config);
  detail::validate_config(config, name);
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<TokenId> parse_generation_config_eos(std::string_view text,
                                                                                  const std::string& name) {
  return detail::JsonDocument(text, name).object()["eos_token_id"].ids();
}

#endif  // ACTIVATION_TRACE_BODIES

namespace detail {

#if ACTIVATION_TRACE_BODIES

/// The family that a GGUF file says it is of. Throws FormatError for none.
ACTIVATION_TRACE_COMPILED_INLINE const Family& family_of(const GgufFile& gguf, std::span<const Family> known) {
  const auto architecture = gguf.get<std::string_view>("general.architecture");
  if (const Family* family = find_family(known, &Family::gguf_architecture, architecture)) return *family;
  throw FormatError(gguf.name(), "general.architecture is " + printable(architecture) + ", only " +
                                     names_of(known, &Family::gguf_architecture, "'", "'") + " is supported");
}

/// The numbers of the model's shape but the vocabulary's.
ACTIVATION_TRACE_COMPILED_INLINE LlamaConfig read_sizes(const GgufFile& gguf, const FamilyKeys& key) {
  LlamaConfig config;
  config.layers = gguf.get<Index>(key("block_count"));
  config.hidden = gguf.get<Index>(key("embedding_length"));
  config.ffn = gguf.get<Index>(key("feed_forward_length"));
  config.heads = gguf.get<Index>(key("attention.head_count"));
  config.kv_heads = gguf.find<Index>(key("attention.head_count_kv")).value_or(config.heads);
  config.max_context = gguf.get<Index>(key("context_length"));
  config.rms_norm_eps = gguf.get<float>(key("attention.layer_norm_rms_epsilon"));
  if (const auto key_length = gguf.find<Index>(key("attention.key_length"))) {
    config.head_dim = *key_length;
  } else {
    if (config.heads <= 0 || config.hidden % config.heads != 0)
      throw FormatError(gguf.name(), key("attention.head_count") + " does not divide " + key("embedding_length") +
                                         " and there is no key_length");
    config.head_dim = config.hidden / config.heads;
  }
  const std::string values = key("attention.value_length");
  if (const auto length = gguf.find<Index>(values).value_or(config.head_dim); length != config.head_dim)
    throw FormatError(gguf.name(), values + " is " + std::to_string(length) + ", only the size of a head, " +
                                       std::to_string(config.head_dim) + ", is supported");
  return config;
}

/// The embedding's rows, which may be more than the tokens: models pad them, and not every converter pads the tokens
/// as well. Of a file without an embedding what the settings say, else the number of tokens, else 0.
ACTIVATION_TRACE_COMPILED_INLINE Index read_vocabulary_size(const GgufFile& gguf, const Family& family) {
  const std::string key = FamilyKeys(family)("vocab_size");
  const auto tokens = gguf.find<std::vector<std::string_view>>("tokenizer.ggml.tokens");
  const auto vocab = gguf.find<Index>(key);
  const FileTensor* embedding = gguf.find_tensor(std::string(family.gguf.embedding) + ".weight");
  const bool has_rows = embedding != nullptr && embedding->shape.size() == 2;
  const Index size = has_rows ? embedding->shape[0] : vocab.value_or(tokens ? static_cast<Index>(tokens->size()) : 0);
  const std::string rows = has_rows ? "tensor " + printable(embedding->name) + " has " + std::to_string(size) + " rows"
                                    : key + " is " + std::to_string(size);
  if (vocab.value_or(size) != size)
    throw FormatError(gguf.name(), key + " is " + std::to_string(*vocab) + ", but " + rows);
  if (tokens && std::cmp_greater(tokens->size(), size))
    throw FormatError(gguf.name(), "there are " + std::to_string(tokens->size()) + " tokens, but " + rows);
  return size;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE LlamaConfig read_llama_config(const GgufFile& gguf, std::span<const Family> known) {
  const Family& family = detail::family_of(gguf, known);
  const detail::FamilyKeys key(family);
  if (gguf.find<Index>(key("expert_count")).value_or(0) != 0)
    throw FormatError(gguf.name(), "mixtures of experts are not supported");
  LlamaConfig config = detail::read_sizes(gguf, key);
  config.rope = detail::read_rope(gguf, key, config);
  config.rope.layout = family.gguf_rotation;
  config.vocab = detail::read_vocabulary_size(gguf, family);
  config.bos = gguf.find<TokenId>("tokenizer.ggml.bos_token_id").value_or(-1);
  for (const char* end : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const auto id = gguf.find<TokenId>(end);
        id && std::find(config.eos.begin(), config.eos.end(), *id) == config.eos.end())
      config.eos.push_back(*id);
  detail::validate_config(config, gguf.name());
  detail::read_family_facts(family, family.gguf_keys, detail::finder(gguf, key("")), config);
  if (!family.gguf_rotation_flag.empty() && !gguf.find<bool>(key(family.gguf_rotation_flag)).value_or(true))
    config.rotated = detail::rotated_of(1, config.layers);
  if (family.width_scaled_layers == config.layers)
    config.attention_scale = 1 / std::sqrt(static_cast<float>(config.hidden) / static_cast<float>(config.heads));
  detail::validate_config(config, gguf.name());
  return config;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
