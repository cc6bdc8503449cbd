// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/model/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// What one format calls the tensors of a family. Names of parts of a block follow `block`, its number and a dot;
/// ".weight" or ".bias" follows each. An empty name is that of a tensor which the family does not have.
struct TensorNames {
  std::string_view embedding;           ///< [V, d]
  std::string_view block;               ///< what the number of a block follows
  std::string_view attention_norm;      ///< [d], before q, k and v
  std::string_view q;                   ///< [heads D, d]
  std::string_view k;                   ///< [kv_heads D, d]
  std::string_view v;                   ///< [kv_heads D, d]
  std::string_view o;                   ///< [d, heads D], what joins the heads
  std::string_view fused_qkv;           ///< rows of q, of k, of v, in one; refused unless Family::fused_qkv
  std::string_view ffn_norm;            ///< [d], before gate and up
  std::string_view gate;                ///< [ffn, d], what goes through the activation
  std::string_view up;                  ///< [ffn, d], what that multiplies
  std::string_view down;                ///< [d, ffn]
  std::string_view final_norm;          ///< [d], behind the last block
  std::string_view lm_head;             ///< [V, d]; the embedding where it is tied
  std::string_view q_norm = {};         ///< of each head
  std::string_view k_norm = {};         ///< of each head
  std::string_view fused_gate_up = {};  ///< rows of gate, of up, in one: instead of both where it has a name
  float norm_offset = 0;                ///< to be added to norms: 1 where they are stored as w - 1
};

/// Where one format's settings have the numbers that a family may have. GGUF's keys follow the architecture and a dot.
/// An empty key is that of a number which the family does not have; a file may leave out the others.
struct OptionalKeys {
  std::string_view window = {};              ///< positions that a query sees, its own among them
  std::string_view attention_scale = {};     ///< of q k^T; none: 1 / sqrt(D)
  std::string_view attention_soft_cap = {};  ///< cap of scaled scores, cap tanh(s / cap)
  std::string_view logit_soft_cap = {};      ///< the same of logits
  std::string_view embedding_scale = {};     ///< factor of the embedding's rows
};

/// The projections of attention that have a bias.
enum class Biases { none, qkv, qkvo };

/// Where config.json leaves a key out, its class in transformers has these.
struct HuggingFaceDefaults {
  Index max_context = 2048;      ///< max_position_embeddings
  Index window = 0;              ///< of OptionalKeys::window, 0: none
  TokenId bos = 1;               ///< -1: none
  TokenId eos = 2;               ///< -1: none
  bool tied_embeddings = false;  ///< the LM head is the embedding
};

/// A family of models, as far as it differs from others: how its files name things, and what its blocks do. All of it
/// is carried out by the forward pass or refused by the readers.
struct Family {
  std::string_view name;                ///< in messages
  std::string_view gguf_architecture;   ///< general.architecture, which its keys begin with; empty: another row's
  std::string_view hugging_face_class;  ///< of architectures in config.json
  std::string_view model_type;          ///< of config.json, which counts if it names no architectures
  TensorNames gguf;                     ///< in GGUF files
  TensorNames hugging_face;             ///< in Hugging Face folders
  RopeLayout gguf_rotation;             ///< folders rotate halves
  FfnActivation activation;             ///< config.json must agree, if it names one
  std::string_view activation_name;     ///< what it is called there

  Biases biases = Biases::none;    ///< which there must be; others are refused
  bool fused_qkv = false;          ///< tensors are cut up
  Index full_attention_every = 0;  ///< of the blocks of a model with a window each so many-th has none; 0: all have one
  bool embedding_times_sqrt = false;                   ///< h_0 is the embedding times sqrt(d)
  OptionalKeys gguf_keys = {};                         ///< of a GGUF's metadata
  OptionalKeys hugging_face_keys = {};                 ///< of config.json
  HuggingFaceDefaults defaults = {};                   ///< of config.json
  std::array<std::string_view, 4> refused_flags = {};  ///< of config.json: true is not supported
};

/// The family that everything else is compared with.
inline constexpr Family llama_family{
    .name = "LLaMA",
    .gguf_architecture = "llama",
    .hugging_face_class = "LlamaForCausalLM",
    .model_type = "llama",
    .gguf = {.embedding = "token_embd",
             .block = "blk.",
             .attention_norm = "attn_norm",
             .q = "attn_q",
             .k = "attn_k",
             .v = "attn_v",
             .o = "attn_output",
             .fused_qkv = "attn_qkv",
             .ffn_norm = "ffn_norm",
             .gate = "ffn_gate",
             .up = "ffn_up",
             .down = "ffn_down",
             .final_norm = "output_norm",
             .lm_head = "output"},
    .hugging_face = {.embedding = "model.embed_tokens",
                     .block = "model.layers.",
                     .attention_norm = "input_layernorm",
                     .q = "self_attn.q_proj",
                     .k = "self_attn.k_proj",
                     .v = "self_attn.v_proj",
                     .o = "self_attn.o_proj",
                     .fused_qkv = "self_attn.qkv_proj",
                     .ffn_norm = "post_attention_layernorm",
                     .gate = "mlp.gate_proj",
                     .up = "mlp.up_proj",
                     .down = "mlp.down_proj",
                     .final_norm = "model.norm",
                     .lm_head = "lm_head"},
    .gguf_rotation = RopeLayout::interleaved,  // converters permute the rows of q and k
    .activation = FfnActivation::silu,
    .activation_name = "silu",
    .gguf_keys = {.window = "attention.sliding_window"},  // a Mistral's, which is a LLaMA there
    .refused_flags = {"attention_bias", "mlp_bias"},
};

/// Mistral 7B and its kin, with a window (v0.1) or without.
inline constexpr Family mistral_family = [] {
  Family f = llama_family;
  f.name = "Mistral";
  f.gguf_architecture = {};
  f.hugging_face_class = "MistralForCausalLM";
  f.model_type = "mistral";
  f.hugging_face_keys = {.window = "sliding_window"};
  f.defaults = {.max_context = 131072, .window = 4096};
  f.refused_flags = {};
  return f;
}();

/// Qwen2 and Qwen2.5.
inline constexpr Family qwen2_family = [] {
  Family f = llama_family;
  f.name = "Qwen2";
  f.gguf_architecture = "qwen2";
  f.hugging_face_class = "Qwen2ForCausalLM";
  f.model_type = "qwen2";
  f.gguf_rotation = RopeLayout::half_split;
  f.gguf_keys = {};
  f.biases = Biases::qkv;
  f.defaults = {.max_context = 32768, .bos = -1, .eos = -1};
  f.refused_flags = {"use_sliding_window"};  // of some blocks, and nobody has trained one
  return f;
}();

/// Qwen3, its dense models.
inline constexpr Family qwen3_family = [] {
  Family f = qwen2_family;
  f.name = "Qwen3";
  f.gguf_architecture = "qwen3";
  f.hugging_face_class = "Qwen3ForCausalLM";
  f.model_type = "qwen3";
  f.biases = Biases::none;
  f.gguf.q_norm = "attn_q_norm";
  f.gguf.k_norm = "attn_k_norm";
  f.hugging_face.q_norm = "self_attn.q_norm";
  f.hugging_face.k_norm = "self_attn.k_norm";
  f.refused_flags = {"attention_bias", "use_sliding_window"};
  return f;
}();

/// The families that can be read; formats/README.md 5 says how one is added.
inline constexpr Family families[] = {llama_family, mistral_family, qwen2_family, qwen3_family};

namespace detail {

/// The first family whose `name` is `wanted`, or null; none is called "".
inline const Family* find_family(std::span<const Family> known, std::string_view Family::*name,
                                 std::string_view wanted) {
  if (wanted.empty()) return nullptr;
  const auto found = std::ranges::find(known, wanted, name);
  return found == known.end() ? nullptr : &*found;
}

/// What all of them are called, for messages: 'a' or 'b', between the quotes given.
inline std::string names_of(std::span<const Family> known, std::string_view Family::*name, const std::string& open,
                            const std::string& close) {
  std::string names;
  for (const Family& family : known) {
    if ((family.*name).empty()) continue;
    names += names.empty() ? "" : " or ";
    names.append(open).append(family.*name).append(close);
  }
  return names;
}

/// The windows of the blocks of a model of this family, none for `window` 0 or negative: 0 in the blocks that have
/// none.
inline std::vector<Index> windows_of(const Family& family, Index window, Index layers) {
  if (window <= 0) return {};
  std::vector<Index> windows(static_cast<std::size_t>(layers), window);
  const Index every = family.full_attention_every;
  if (every > 0)
    for (Index i = every - 1; i < layers; i += every) windows[static_cast<std::size_t>(i)] = 0;
  return windows;
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
