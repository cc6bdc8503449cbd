// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/formats/gguf.hpp"
#include "activation_trace/formats/json.hpp"
#include "activation_trace/model/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// What the config.json of a Hugging Face folder says about a LLaMA.
struct HuggingFaceConfig {
  LlamaConfig config;            ///< validated; half-split rotation
  bool tied_embeddings = false;  ///< the LM head is the embedding
};

/// Reads the text of a config.json (formats/README.md 2), as transformers 4 and 5 write it. `name` is for messages.
/// Throws FormatError for what is not a LlamaForCausalLM, or uses a feature that is not supported: biases,
/// another activation than silu, a rope type other than default, linear and llama3, quantised weights.
[[nodiscard]] HuggingFaceConfig parse_config_json(std::string_view text, const std::string& name);

/// The eos ids in the text of a generation_config.json, which may name more than config.json does.
[[nodiscard]] std::vector<TokenId> parse_generation_config_eos(std::string_view text, const std::string& name);

/// Reads the shape of the LLaMA in a GGUF file, with interleaved rotation (formats/README.md 3). Throws FormatError
/// for another architecture and for features that are not supported.
[[nodiscard]] LlamaConfig read_llama_config(const GgufFile& gguf);

namespace detail {

/// Typed look-ups in an object of a JSON file; null counts as missing.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, const std::string& file) noexcept : object_(object), file_(file) {}

  [[nodiscard]] const nlohmann::json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  [[noreturn]] void fail(const char* key, const std::string& problem) const {
    throw FormatError(file_, std::string(key) + " " + problem);
  }

  [[nodiscard]] std::optional<Index> integer(const char* key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_integer() ||
        (value->is_number_unsigned() && !std::in_range<Index>(value->get<std::uint64_t>())))
      fail(key, "is not an integer in range: " + shortened(*value));
    return value->get<Index>();
  }

  [[nodiscard]] std::optional<float> number(const char* key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    const double wide = value->is_number() ? value->get<double>() : std::numeric_limits<double>::infinity();
    if (!(std::abs(wide) <= static_cast<double>(std::numeric_limits<float>::max())))
      fail(key, "is not a number in range: " + shortened(*value));
    return static_cast<float>(wide);
  }

  [[nodiscard]] bool flag(const char* key) const {
    const nlohmann::json* value = find(key);
    if (value != nullptr && !value->is_boolean()) fail(key, "is not true or false: " + shortened(*value));
    return value != nullptr && value->get<bool>();
  }

  [[nodiscard]] std::optional<std::string> text(const char* key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) fail(key, "is not a string: " + shortened(*value));
    return value->get<std::string>();
  }

  template <class T>
  [[nodiscard]] T required(const char* key, std::optional<T> value) const {
    if (!value) fail(key, "is missing");
    return *value;
  }

  /// One id, a list of ids, or null for none.
  [[nodiscard]] std::vector<TokenId> ids(const char* key) const {
    std::vector<TokenId> result;
    const nlohmann::json* value = find(key);
    if (value == nullptr) return result;
    const auto add = [&](const nlohmann::json& id) {
      if (!id.is_number_unsigned() || !std::in_range<TokenId>(id.get<std::uint64_t>()))
        fail(key, "is not a token id or a list of them: " + shortened(*value));
      result.push_back(static_cast<TokenId>(id.get<std::uint64_t>()));
    };
    if (value->is_array())
      for (const auto& id : *value) add(id);
    else
      add(*value);
    return result;
  }

 private:
  static std::string shortened(const nlohmann::json& value) {
    return printable(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  }

  const nlohmann::json& object_;
  const std::string& file_;
};

/// Runs the model's own check and puts the file's name in front of what it finds.
inline void validate_config(const LlamaConfig& config, const std::string& file) {
  try {
    config.validate();
  } catch (const ArgumentError& error) {
    throw FormatError(file, error.what());
  }
}

inline void read_rope_scaling(const nlohmann::json& object, const JsonFields& top, const std::string& file,
                              RopeConfig& rope) {
  const JsonFields fields(object, file);
  auto type = fields.text("rope_type");
  if (!type) type = fields.text("type");
  if (const auto theta = fields.number("rope_theta")) rope.theta = *theta;
  if (fields.number("partial_rotary_factor").value_or(1) != 1)
    fields.fail("partial_rotary_factor", "other than 1 is not supported");
  for (const auto& [key, value] : object.items())
    if (value.is_object()) fields.fail("rope_parameters", "differ between layers, which is not supported");
  if (!type || *type == "default") return;
  if (*type != "linear" && *type != "llama3")
    fields.fail("rope_type", printable(*type) + " is not supported; supported are default, linear and llama3");
  rope.factor = fields.required("factor", fields.number("factor"));
  if (*type == "linear") {
    rope.scaling = RopeScaling::linear;
    return;
  }
  rope.scaling = RopeScaling::llama3;
  rope.low_freq_factor = fields.required("low_freq_factor", fields.number("low_freq_factor"));
  rope.high_freq_factor = fields.required("high_freq_factor", fields.number("high_freq_factor"));
  auto original = fields.number("original_max_position_embeddings");
  if (!original) original = top.number("original_max_position_embeddings");
  rope.original_context = fields.required("original_max_position_embeddings", original);
}

}  // namespace detail

inline HuggingFaceConfig parse_config_json(std::string_view text, const std::string& name) {
  const nlohmann::json json = detail::parse_json(text, name);
  if (!json.is_object()) throw FormatError(name, "is not a JSON object");
  const detail::JsonFields fields(json, name);

  const std::string model_type = fields.text("model_type").value_or("");
  const nlohmann::json* architectures = fields.find("architectures");
  const bool is_llama = architectures != nullptr ? architectures->is_array() && architectures->size() == 1 &&
                                                       (*architectures)[0] == "LlamaForCausalLM"
                                                 : model_type == "llama";
  if (!is_llama) {
    const std::string found =
        architectures != nullptr ? "architectures " + architectures->dump(-1, ' ', true) : "model_type " + model_type;
    throw FormatError(name, "expected architectures [\"LlamaForCausalLM\"], found " + detail::printable(found));
  }
  if (fields.find("quantization_config") != nullptr)
    fields.fail("quantization_config", "is not supported: give unquantised safetensors or a .gguf file");
  for (const char* key : {"attention_bias", "mlp_bias"})
    if (fields.flag(key)) fields.fail(key, "true is not supported");
  const std::string activation = fields.text("hidden_act").value_or("silu");
  if (activation != "silu") fields.fail("hidden_act", detail::printable(activation) + " is not supported, only silu");

  HuggingFaceConfig result;
  LlamaConfig& config = result.config;
  const auto size = [&](const char* key) { return fields.required(key, fields.integer(key)); };
  config.layers = size("num_hidden_layers");
  config.hidden = size("hidden_size");
  config.ffn = size("intermediate_size");
  config.heads = size("num_attention_heads");
  config.kv_heads = fields.integer("num_key_value_heads").value_or(config.heads);
  config.vocab = size("vocab_size");
  // The defaults below are those of transformers' LlamaConfig.
  config.max_context = fields.integer("max_position_embeddings").value_or(2048);
  config.rms_norm_eps = fields.number("rms_norm_eps").value_or(1e-6f);
  if (const auto head_dim = fields.integer("head_dim")) {
    config.head_dim = *head_dim;
  } else {
    if (config.heads <= 0 || config.hidden % config.heads != 0)
      fields.fail("num_attention_heads", "does not divide hidden_size and there is no head_dim");
    config.head_dim = config.hidden / config.heads;
  }
  config.rope.layout = RopeLayout::half_split;
  config.rope.theta = fields.number("rope_theta").value_or(10000.0f);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const nlohmann::json* rope = fields.find(key);
    if (rope == nullptr) continue;
    if (!rope->is_object()) fields.fail(key, "is not an object");
    detail::read_rope_scaling(*rope, fields, name, config.rope);
  }
  const std::vector<TokenId> bos = fields.ids("bos_token_id");
  config.bos = json.contains("bos_token_id") ? (bos.empty() ? -1 : bos.front()) : 1;
  config.eos = json.contains("eos_token_id") ? fields.ids("eos_token_id") : std::vector<TokenId>{2};
  result.tied_embeddings = fields.flag("tie_word_embeddings");
  detail::validate_config(config, name);
  return result;
}

inline std::vector<TokenId> parse_generation_config_eos(std::string_view text, const std::string& name) {
  const nlohmann::json json = detail::parse_json(text, name);
  if (!json.is_object()) throw FormatError(name, "is not a JSON object");
  return detail::JsonFields(json, name).ids("eos_token_id");
}

inline LlamaConfig read_llama_config(const GgufFile& gguf) {
  const auto fail = [&](const std::string& problem) { throw FormatError(gguf.name(), problem); };
  const auto architecture = gguf.get<std::string_view>("general.architecture");
  if (architecture != "llama")
    fail("general.architecture is " + detail::printable(architecture) + ", only 'llama' is supported");
  if (gguf.find<Index>("llama.expert_count").value_or(0) != 0) fail("mixtures of experts are not supported");

  LlamaConfig config;
  config.layers = gguf.get<Index>("llama.block_count");
  config.hidden = gguf.get<Index>("llama.embedding_length");
  config.ffn = gguf.get<Index>("llama.feed_forward_length");
  config.heads = gguf.get<Index>("llama.attention.head_count");
  config.kv_heads = gguf.find<Index>("llama.attention.head_count_kv").value_or(config.heads);
  config.max_context = gguf.get<Index>("llama.context_length");
  config.rms_norm_eps = gguf.get<float>("llama.attention.layer_norm_rms_epsilon");
  if (const auto key_length = gguf.find<Index>("llama.attention.key_length")) {
    config.head_dim = *key_length;
  } else {
    if (config.heads <= 0 || config.hidden % config.heads != 0)
      fail("llama.attention.head_count does not divide llama.embedding_length and there is no key_length");
    config.head_dim = config.hidden / config.heads;
  }
  for (const char* key : {"llama.attention.value_length", "llama.rope.dimension_count"})
    if (const auto length = gguf.find<Index>(key).value_or(config.head_dim); length != config.head_dim)
      fail(std::string(key) + " is " + std::to_string(length) + ", only the size of a head, " +
           std::to_string(config.head_dim) + ", is supported");

  config.rope.layout = RopeLayout::interleaved;
  config.rope.theta = gguf.find<float>("llama.rope.freq_base").value_or(10000.0f);
  // As in llama.cpp: a factor without a type is linear, and the old name of the factor still counts.
  const auto scaling = gguf.find<std::string_view>("llama.rope.scaling.type").value_or("linear");
  auto factor = gguf.find<float>("llama.rope.scaling.factor");
  if (!factor) factor = gguf.find<float>("llama.rope.scale_linear");
  if (scaling != "none" && scaling != "linear")
    fail("llama.rope.scaling.type " + detail::printable(scaling) + " is not supported; supported are none and linear");
  if (scaling == "linear" && factor && *factor != 0 && *factor != 1) {
    config.rope.scaling = RopeScaling::linear;
    config.rope.factor = *factor;
  }

  const auto tokens = gguf.find<std::vector<std::string_view>>("tokenizer.ggml.tokens");
  const auto vocab = gguf.find<Index>("llama.vocab_size");
  if (tokens && vocab && !std::cmp_equal(tokens->size(), *vocab))
    fail("llama.vocab_size is " + std::to_string(*vocab) + ", but there are " + std::to_string(tokens->size()) +
         " tokens");
  if (vocab) {
    config.vocab = *vocab;
  } else if (tokens) {
    config.vocab = static_cast<Index>(tokens->size());
  } else if (const FileTensor* embedding = gguf.find_tensor("token_embd.weight");
             embedding != nullptr && embedding->shape.size() == 2) {
    config.vocab = embedding->shape[0];
  }
  config.bos = gguf.find<TokenId>("tokenizer.ggml.bos_token_id").value_or(-1);
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const auto id = gguf.find<TokenId>(key);
        id && std::find(config.eos.begin(), config.eos.end(), *id) == config.eos.end())
      config.eos.push_back(*id);
  detail::validate_config(config, gguf.name());
  return config;
}

}  // namespace v0
}  // namespace activation_trace
