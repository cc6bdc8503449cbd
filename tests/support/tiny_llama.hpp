// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "activation_trace/model/weights.hpp"
#include "activation_trace/processors/dola_options.hpp"
#include "support/file_builders.hpp"
#include "support/quantize.hpp"

namespace activation_trace::test {

/// Two layers with grouped queries; every row is a whole number of 256-element blocks.
inline LlamaConfig tiny_llama_config() {
  LlamaConfig config;
  config.layers = 2;
  config.hidden = 256;
  config.ffn = 512;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 64;
  config.vocab = 320;
  config.max_context = 512;
  config.rms_norm_eps = 1e-5f;
  config.bos = 1;
  config.eos = {2};
  return config;
}

/// In which tensors a model differs from a LLaMA, and how its GGUF is read.
struct TinyFamily {
  std::string architecture = "llama";
  std::string hugging_face_class = "LlamaForCausalLM";
  RopeLayout gguf_rotation = RopeLayout::interleaved;
  bool qkv_biases = false;
  bool o_bias = false;
  bool q_k_norms = false;
  bool out_norms = false;  ///< of what the halves of a block add
  bool fused = false;      ///< q, k and v are one tensor, and so are gate and up
};

struct TinyLlamaOptions {
  LlamaConfig config = tiny_llama_config();  ///< layout and divisors are set by the format that is written
  DType dtype = DType::f32;                  ///< of every matrix
  DType norm_dtype = DType::f32;             ///< of the norm vectors
  Embeddings embeddings = Embeddings::separate;
  std::uint64_t seed = 1;
  TinyFamily family = {};
};

/// A LLaMA of random weights, the same on every machine, in memory and as files of both kinds.
///
/// The stored rows are the same bytes everywhere; only the order of q's and k's rows differs, as the formats
/// demand. Quantised matrices have no safetensors form and are written there as their float values.
class TinyLlama {
 public:
  explicit TinyLlama(TinyLlamaOptions options = {}) : options_(std::move(options)), state_(options_.seed) {
    LlamaConfig& c = options_.config;
    c.rope.layout = RopeLayout::half_split;
    c.rope.divisors.clear();
    c.validate();
    const Index queries = c.heads * c.head_dim;
    const Index keys = c.kv_heads * c.head_dim;
    // The gains make logits of a few units, and layers that each change the state noticeably.
    matrix("token_embd.weight", "model.embed_tokens.weight", c.vocab, c.hidden, 4);
    for (Index i = 0; i < c.layers; ++i) {
      const std::string gguf = "blk." + std::to_string(i) + ".";
      const std::string hf = "model.layers." + std::to_string(i) + ".";
      vector(gguf + "attn_norm.weight", hf + "input_layernorm.weight", c.hidden);
      matrix(gguf + "attn_q.weight", hf + "self_attn.q_proj.weight", queries, c.hidden, 1.5f, c.heads);
      matrix(gguf + "attn_k.weight", hf + "self_attn.k_proj.weight", keys, c.hidden, 1.5f, c.kv_heads);
      matrix(gguf + "attn_v.weight", hf + "self_attn.v_proj.weight", keys, c.hidden, 1);
      matrix(gguf + "attn_output.weight", hf + "self_attn.o_proj.weight", c.hidden, queries, 1);
      if (options_.family.qkv_biases) {
        bias(gguf + "attn_q.bias", hf + "self_attn.q_proj.bias", queries, c.heads);
        bias(gguf + "attn_k.bias", hf + "self_attn.k_proj.bias", keys, c.kv_heads);
        bias(gguf + "attn_v.bias", hf + "self_attn.v_proj.bias", keys);
      }
      if (options_.family.o_bias) bias(gguf + "attn_output.bias", hf + "self_attn.o_proj.bias", c.hidden);
      if (options_.family.q_k_norms) {
        vector(gguf + "attn_q_norm.weight", hf + "self_attn.q_norm.weight", c.head_dim);
        vector(gguf + "attn_k_norm.weight", hf + "self_attn.k_norm.weight", c.head_dim);
      }
      if (options_.family.out_norms) {
        vector(gguf + "post_attention_norm.weight", hf + "attention_out_norm.weight", c.hidden);
        vector(gguf + "post_ffw_norm.weight", hf + "ffn_out_norm.weight", c.hidden);
      }
      vector(gguf + "ffn_norm.weight", hf + "post_attention_layernorm.weight", c.hidden);
      matrix(gguf + "ffn_gate.weight", hf + "mlp.gate_proj.weight", c.ffn, c.hidden, 1);
      matrix(gguf + "ffn_up.weight", hf + "mlp.up_proj.weight", c.ffn, c.hidden, 1);
      matrix(gguf + "ffn_down.weight", hf + "mlp.down_proj.weight", c.hidden, c.ffn, 1);
    }
    vector("output_norm.weight", "model.norm.weight", c.hidden);
    if (options_.embeddings == Embeddings::separate) matrix("output.weight", "lm_head.weight", c.vocab, c.hidden, 4);
  }

  /// With half_split rotation, as the rows of weights() demand.
  [[nodiscard]] const LlamaConfig& config() const { return options_.config; }

  /// Views into *this, rows in Hugging Face's order.
  [[nodiscard]] LlamaWeights<> weights() const {
    LlamaWeights<> w;
    std::size_t next = 0;
    const auto matrix = [&] { return stored(tensors_[next++]); };
    const auto vector = [&] { return floats(tensors_[next++]); };
    w.embedding = matrix();
    w.layers.resize(static_cast<std::size_t>(config().layers));
    for (LlamaLayerWeights<>& layer : w.layers) {
      layer.attention_norm = vector();
      layer.q = matrix();
      layer.k = matrix();
      layer.v = matrix();
      layer.o = matrix();
      if (options_.family.qkv_biases) {
        layer.q_bias = vector();
        layer.k_bias = vector();
        layer.v_bias = vector();
      }
      if (options_.family.o_bias) layer.o_bias = vector();
      if (options_.family.q_k_norms) {
        layer.q_norm = vector();
        layer.k_norm = vector();
      }
      if (options_.family.out_norms) {
        layer.attention_out_norm = vector();
        layer.ffn_out_norm = vector();
      }
      layer.ffn_norm = vector();
      layer.gate = matrix();
      layer.up = matrix();
      layer.down = matrix();
    }
    w.final_norm = vector();
    w.lm_head = next < tensors_.size() ? matrix() : w.embedding;
    return w;
  }

  /// The model as GGUF, to be changed or written.
  [[nodiscard]] GgufBuilder gguf() const {
    const LlamaConfig& c = config();
    GgufBuilder file;
    const std::string& architecture = options_.family.architecture;
    const auto u32 = [&](const std::string& key, Index value) { file.value(key, static_cast<std::uint32_t>(value)); };
    file.value("general.architecture", std::string_view(architecture)).value("general.name", "tiny random LLaMA");
    u32(architecture + ".vocab_size", c.vocab);
    u32(architecture + ".context_length", c.max_context);
    u32(architecture + ".embedding_length", c.hidden);
    u32(architecture + ".block_count", c.layers);
    u32(architecture + ".feed_forward_length", c.ffn);
    u32(architecture + ".attention.head_count", c.heads);
    u32(architecture + ".attention.head_count_kv", c.kv_heads);
    u32(architecture + ".attention.key_length", c.head_dim);
    u32(architecture + ".attention.value_length", c.head_dim);
    file.value(architecture + ".attention.layer_norm_rms_epsilon", c.rms_norm_eps);
    u32(architecture + ".rope.dimension_count", c.head_dim);
    file.value(architecture + ".rope.freq_base", c.rope.theta);
    if (c.rope.scaling == RopeScaling::linear)
      file.value(architecture + ".rope.scaling.type", "linear")
          .value(architecture + ".rope.scaling.factor", c.rope.factor);
    file.value("tokenizer.ggml.model", "no_vocab");
    if (c.bos >= 0) u32("tokenizer.ggml.bos_token_id", c.bos);
    if (!c.eos.empty()) u32("tokenizer.ggml.eos_token_id", c.eos.front());
    for (const Tensor& t : written()) {
      std::vector<std::uint64_t> extents{static_cast<std::uint64_t>(t.cols)};
      if (!t.is_vector) extents.push_back(static_cast<std::uint64_t>(t.rows));
      file.tensor({t.gguf_name, gguf_type(t.dtype), std::move(extents), interleaved_rows(t)});
    }
    if (c.rope.scaling == RopeScaling::llama3)
      file.tensor({"rope_freqs.weight",
                   0,
                   {static_cast<std::uint64_t>(c.head_dim / 2)},
                   quantize(DType::f32, llama3_divisors(c))});
    return file;
  }

  void write_gguf(const std::filesystem::path& path) const { write_file(path, gguf().bytes()); }

  /// config.json as transformers 4 writes it.
  [[nodiscard]] nlohmann::ordered_json config_json() const {
    const LlamaConfig& c = config();
    nlohmann::ordered_json json = {
        {"architectures", nlohmann::ordered_json::array({options_.family.hugging_face_class})},
        {"attention_bias", false},
        {"bos_token_id", c.bos},
        {"eos_token_id", c.eos},
        {"head_dim", c.head_dim},
        {"hidden_act", "silu"},
        {"hidden_size", c.hidden},
        {"intermediate_size", c.ffn},
        {"max_position_embeddings", c.max_context},
        {"mlp_bias", false},
        {"model_type", options_.family.architecture},
        {"num_attention_heads", c.heads},
        {"num_hidden_layers", c.layers},
        {"num_key_value_heads", c.kv_heads},
        {"rms_norm_eps", c.rms_norm_eps},
        {"rope_scaling", nullptr},
        {"rope_theta", c.rope.theta},
        {"tie_word_embeddings", options_.embeddings == Embeddings::tied},
        {"torch_dtype", "float32"},
        {"vocab_size", c.vocab}};
    if (c.rope.scaling == RopeScaling::linear)
      json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", c.rope.factor}};
    if (c.rope.scaling == RopeScaling::llama3)
      json["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", c.rope.factor},
                              {"low_freq_factor", c.rope.low_freq_factor},
                              {"high_freq_factor", c.rope.high_freq_factor},
                              {"original_max_position_embeddings", static_cast<int>(c.rope.original_context)}};
    return json;
  }

  /// Writes config.json and the weights in `shards` safetensors files into an existing folder.
  void write_hugging_face(const std::filesystem::path& folder, std::size_t shards = 1) const {
    write_file(folder / "config.json", config_json().dump(2));
    nlohmann::ordered_json weight_map;
    const std::vector<Tensor> tensors = written();
    for (std::size_t shard = 0; shard < shards; ++shard) {
      nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
      ByteWriter data;
      const std::string name =
          shards == 1 ? "model.safetensors" : "model-" + padded(shard + 1) + "-of-" + padded(shards) + ".safetensors";
      for (std::size_t i = shard * tensors.size() / shards; i < (shard + 1) * tensors.size() / shards; ++i) {
        const Tensor& t = tensors[i];
        const bool scalar = block_elements(t.dtype) == 1;
        const std::size_t begin = data.bytes().size();
        data.raw(scalar ? t.bytes : quantize(DType::f32, floats(t)));
        header[t.hf_name] = {{"dtype", scalar ? std::string(activation_trace::name(t.dtype)) : "F32"},
                             {"shape", t.is_vector ? std::vector<Index>{t.cols} : std::vector<Index>{t.rows, t.cols}},
                             {"data_offsets", {begin, data.bytes().size()}}};
        weight_map[t.hf_name] = name;
      }
      write_file(folder / name, safetensors_bytes(header.dump(), data.bytes()));
    }
    if (shards > 1)
      write_file(folder / "model.safetensors.index.json",
                 nlohmann::ordered_json{{"metadata", {{"total_size", 0}}}, {"weight_map", weight_map}}.dump());
  }

  /// GGUF's number of a type.
  static std::uint32_t gguf_type(DType dtype) {
    switch (dtype) {
      case DType::f32: return 0;
      case DType::f16: return 1;
      case DType::q4_0: return 2;
      case DType::q4_1: return 3;
      case DType::q8_0: return 8;
      case DType::q4_k: return 12;
      case DType::q5_k: return 13;
      case DType::q6_k: return 14;
      case DType::q5_0: return 6;
      case DType::q5_1: return 7;
      case DType::q2_k: return 10;
      case DType::q3_k: return 11;
      case DType::iq4_nl: return 20;
      case DType::iq4_xs: return 23;
      case DType::bf16: return 30;
    }
    return 0;
  }

  /// Quotients of the unscaled and the scaled frequencies, by the formula of model/README.md 2 in double.
  static std::vector<float> llama3_divisors(const LlamaConfig& c) {
    std::vector<float> divisors;
    const double old_context = c.rope.original_context;
    for (Index i = 0; i < c.head_dim / 2; ++i) {
      const double frequency =
          std::pow(static_cast<double>(c.rope.theta), -2.0 * static_cast<double>(i) / static_cast<double>(c.head_dim));
      const double wavelength = 2 * std::numbers::pi / frequency;
      double scaled = frequency / c.rope.factor;
      if (wavelength < old_context / c.rope.high_freq_factor) {
        scaled = frequency;
      } else if (wavelength <= old_context / c.rope.low_freq_factor) {
        const double s = (old_context / wavelength - c.rope.low_freq_factor) /
                         (static_cast<double>(c.rope.high_freq_factor) - c.rope.low_freq_factor);
        scaled = (1 - s) * scaled + s * frequency;
      }
      divisors.push_back(static_cast<float>(frequency / scaled));
    }
    return divisors;
  }

 private:
  struct Tensor {
    std::string gguf_name;
    std::string hf_name;
    DType dtype;
    Index rows;
    Index cols;
    bool is_vector;
    Index rotated_heads;  ///< heads whose rows GGUF permutes, or 0
    std::vector<std::byte> bytes;
  };

  // SplitMix64, mapped to [-1, 1).
  float uniform() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return static_cast<float>(static_cast<std::int64_t>(z) >> 40) * 0x1p-23f;
  }

  // Uniform entries with variance gain^2 / cols.
  void matrix(std::string gguf, std::string hf, Index rows, Index cols, float gain, Index rotated_heads = 0) {
    const float bound = gain * std::sqrt(3.0f / static_cast<float>(cols));
    std::vector<float> values(static_cast<std::size_t>(rows * cols));
    for (float& value : values) value = bound * uniform();
    (void)StoredMatrix<>::row_bytes_of(options_.dtype, cols);
    tensors_.push_back({std::move(gguf), std::move(hf), options_.dtype, rows, cols, false, rotated_heads,
                        quantize(options_.dtype, values)});
  }

  // Around 1, as norms are.
  void vector(std::string gguf, std::string hf, Index size) {
    add_vector(std::move(gguf), std::move(hf), size, 1, 0.2f, 0);
  }
  void bias(std::string gguf, std::string hf, Index size, Index rotated_heads = 0) {
    add_vector(std::move(gguf), std::move(hf), size, 0, 0.5f, rotated_heads);
  }
  void add_vector(std::string gguf, std::string hf, Index size, float mean, float bound, Index rotated_heads) {
    std::vector<float> values(static_cast<std::size_t>(size));
    for (float& value : values) value = mean + bound * uniform();
    tensors_.push_back({std::move(gguf), std::move(hf), options_.norm_dtype, 1, size, true, rotated_heads,
                        quantize(options_.norm_dtype, values)});
  }

  static StoredMatrix<> stored(const Tensor& t) { return {t.dtype, t.bytes.data(), t.rows, t.cols}; }

  static std::vector<float> floats(const Tensor& t) {
    std::vector<float> values(static_cast<std::size_t>(t.rows * t.cols));
    for (Index r = 0; r < t.rows; ++r)
      stored(t).decode_row(
          r, std::span(values).subspan(static_cast<std::size_t>(r * t.cols), static_cast<std::size_t>(t.cols)));
    return values;
  }

  // What a file holds: the tensors themselves, or some of them in one.
  std::vector<Tensor> written() const {
    if (!options_.family.fused) return tensors_;
    std::vector<Tensor> result;
    const auto ends = [](const Tensor& t, const char* part) {
      return t.hf_name.ends_with(std::string(part) + ".weight");
    };
    for (const Tensor& t : tensors_) {
      if (ends(t, "k_proj") || ends(t, "v_proj") || ends(t, "up_proj")) {
        result.back().rows += t.rows;
        result.back().bytes.insert(result.back().bytes.end(), t.bytes.begin(), t.bytes.end());
        continue;
      }
      result.push_back(t);
      const auto rename = [&](const char* gguf, const char* hf) {
        result.back().gguf_name = t.gguf_name.substr(0, t.gguf_name.find('.', 4) + 1) + gguf + ".weight";
        result.back().hf_name = t.hf_name.substr(0, t.hf_name.rfind('.', t.hf_name.size() - 8) + 1) + hf + ".weight";
      };
      if (ends(t, "q_proj")) rename("attn_qkv", "qkv_proj");
      if (ends(t, "gate_proj")) rename("ffn_up", "gate_up_proj");
    }
    return result;
  }

  // GGUF's order within a head: row i of the first half, row i of the second half, for every i.
  std::vector<std::byte> interleaved_rows(const Tensor& t) const {
    if (t.rotated_heads == 0 || options_.family.gguf_rotation == RopeLayout::half_split) return t.bytes;
    const auto rows = static_cast<std::size_t>(t.is_vector ? t.cols : t.rows);
    const std::size_t head_rows = rows / static_cast<std::size_t>(t.rotated_heads);
    const std::size_t row_bytes = t.bytes.size() / rows;
    std::vector<std::byte> result;
    for (std::size_t row = 0; row < rows; ++row) {
      const std::size_t within = row % head_rows;
      const std::size_t source = row - within + within % 2 * (head_rows / 2) + within / 2;
      const auto begin = t.bytes.begin() + static_cast<std::ptrdiff_t>(source * row_bytes);
      result.insert(result.end(), begin, begin + static_cast<std::ptrdiff_t>(row_bytes));
    }
    return result;
  }

  static std::string padded(std::size_t number) {
    const std::string digits = std::to_string(number);
    return std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits;
  }

  TinyLlamaOptions options_;
  std::uint64_t state_;
  std::vector<Tensor> tensors_;
};

}  // namespace activation_trace::test
