// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/model/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// What one format calls the tensors of a family. Names of parts of a block follow `block`, its number and a dot;
/// ".weight" or ".bias" follows each. An empty name is that of a tensor which the family does not have.
struct TensorNames {
  std::string_view embedding;                ///< [V, d]
  std::string_view block;                    ///< what the number of a block follows
  std::string_view attention_norm;           ///< [d], before q, k and v
  std::string_view q;                        ///< [heads D, d]
  std::string_view k;                        ///< [kv_heads D, d]
  std::string_view v;                        ///< [kv_heads D, d]
  std::string_view o;                        ///< [d, heads D], what joins the heads
  std::string_view fused_qkv;                ///< rows of q, of k, of v, in one; refused unless Family::fused_qkv
  std::string_view ffn_norm;                 ///< [d], before gate and up
  std::string_view gate;                     ///< [ffn, d], what goes through the activation
  std::string_view up;                       ///< [ffn, d], what that multiplies
  std::string_view down;                     ///< [d, ffn]
  std::string_view final_norm;               ///< [d], behind the last block
  std::string_view lm_head;                  ///< [V, d]; the embedding where it is tied
  std::string_view q_norm = {};              ///< of each head
  std::string_view k_norm = {};              ///< of each head
  std::string_view attention_out_norm = {};  ///< [d], of what attention adds
  std::string_view ffn_out_norm = {};        ///< [d], of what gate, up and down add
  std::string_view fused_gate_up = {};       ///< rows of gate, of up, in one: instead of both where it has a name
  float norm_offset = 0;                     ///< to be added to norms: 1 where they are stored as w - 1
};

/// Where one format's settings have the numbers that a family may have. GGUF's keys follow the architecture and a dot.
/// An empty key is that of a number which the family does not have; a file may leave out the others.
struct OptionalKeys {
  std::string_view window = {};                ///< positions that a query sees, its own among them
  std::string_view attention_scale = {};       ///< of q k^T; none: 1 / sqrt(D)
  std::string_view attention_soft_cap = {};    ///< cap of scaled scores, cap tanh(s / cap)
  std::string_view logit_soft_cap = {};        ///< the same of logits
  std::string_view embedding_scale = {};       ///< factor of the embedding's rows
  std::string_view query_scalar = {};          ///< the attention scale is one over its root
  std::string_view window_theta = {};          ///< base of the rotation in blocks with a window
  std::string_view full_attention_every = {};  ///< instead of Family::full_attention_every
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
  Index vocab = 0;               ///< vocab_size, 0: must be there, as the next two
  Index heads = 0;               ///< num_attention_heads
  Index kv_heads = 0;            ///< num_key_value_heads, 0: as many as heads
  Index head_dim = 0;            ///< 0: hidden_size / num_attention_heads
  float theta = 10000;           ///< rope_theta
  float query_scalar = 0;        ///< of OptionalKeys::query_scalar, 0: none
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
  std::string_view activation_key = "hidden_act";  ///< and by which key

  Biases biases = Biases::none;    ///< which there must be; others are refused
  bool fused_qkv = false;          ///< tensors are cut up
  Index full_attention_every = 0;  ///< of the blocks of a model with a window each so many-th has none; 0: all have one
  bool embedding_times_sqrt = false;    ///< h_0 is the embedding times sqrt(d)
  float window_theta = 0;               ///< what blocks with a window rotate by unless told, unscaled; 0: as the others
  Index width_scaled_layers = 0;        ///< a GGUF of so many blocks scales q k^T by 1 / sqrt(d / heads)
  OptionalKeys gguf_keys = {};          ///< of a GGUF's metadata
  OptionalKeys hugging_face_keys = {};  ///< of config.json
  HuggingFaceDefaults defaults = {};    ///< of config.json
  std::array<std::string_view, 4> refused_flags = {};  ///< of config.json: true is not supported
  // Where the text model is a part of a larger one, in folders.
  std::string_view text_config = {};                ///< the part of config.json that describes it
  std::array<std::string_view, 2> text_roots = {};  ///< what its tensors begin with where others have "model."
  std::array<std::string_view, 5> other_tensors =
      {};  ///< what the other parts' tensors, which nobody reads, begin with
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

/// The text models of Gemma 3.
inline constexpr Family gemma3_family = [] {
  Family f = llama_family;
  f.name = "Gemma 3";
  f.gguf_architecture = "gemma3";
  f.hugging_face_class = "Gemma3ForCausalLM";
  f.model_type = "gemma3_text";
  f.gguf_rotation = RopeLayout::half_split;
  f.activation = FfnActivation::gelu_tanh;
  f.activation_name = "gelu_pytorch_tanh";
  f.activation_key = "hidden_activation";
  f.gguf.q_norm = "attn_q_norm";
  f.gguf.k_norm = "attn_k_norm";
  f.gguf.attention_out_norm = "post_attention_norm";
  f.gguf.ffn_out_norm = "post_ffw_norm";
  f.hugging_face.q_norm = "self_attn.q_norm";
  f.hugging_face.k_norm = "self_attn.k_norm";
  f.hugging_face.attention_out_norm = "post_attention_layernorm";
  f.hugging_face.ffn_norm = "pre_feedforward_layernorm";
  f.hugging_face.ffn_out_norm = "post_feedforward_layernorm";
  f.hugging_face.norm_offset = 1;  // which converters add
  f.full_attention_every = 6;
  f.embedding_times_sqrt = true;
  f.window_theta = 10000;
  f.width_scaled_layers = 62;  // the 27B, whose query_pre_attn_scalar no GGUF has
  f.gguf_keys = {.window = "attention.sliding_window",
                 .attention_soft_cap = "attn_logit_softcapping",
                 .logit_soft_cap = "final_logit_softcapping",
                 .window_theta = "rope.freq_base_swa",
                 .full_attention_every = "attention.sliding_window_pattern"};
  f.hugging_face_keys = {.window = "sliding_window",
                         .attention_soft_cap = "attn_logit_softcapping",
                         .logit_soft_cap = "final_logit_softcapping",
                         .query_scalar = "query_pre_attn_scalar",
                         .window_theta = "rope_local_base_freq",
                         .full_attention_every = "sliding_window_pattern"};
  f.defaults = {.max_context = 131072,
                .window = 4096,
                .bos = 2,
                .eos = 1,
                .tied_embeddings = true,
                .vocab = 262208,
                .heads = 8,
                .kv_heads = 4,
                .head_dim = 256,
                .theta = 1e6f,
                .query_scalar = 256};
  f.refused_flags = {"attention_bias", "use_bidirectional_attention"};
  return f;
}();

/// Gemma 3 with an eye, of which the text model is read; its GGUF has that model alone.
inline constexpr Family gemma3_text_part_family = [] {
  Family f = gemma3_family;
  f.name = "Gemma 3 with vision";
  f.gguf_architecture = {};
  f.hugging_face_class = "Gemma3ForConditionalGeneration";
  f.model_type = "gemma3";
  f.text_config = "text_config";
  f.text_roots = {"language_model.model.", "model.language_model."};
  f.other_tensors = {"vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.",
                     "language_model.lm_head."};  // tied
  return f;
}();

/// The families that can be read; formats/README.md 5 says how one is added.
inline constexpr Family families[] = {llama_family, mistral_family, qwen2_family,
                                      qwen3_family, gemma3_family,  gemma3_text_part_family};

namespace detail {

#if ACTIVATION_TRACE_BODIES

/// The first family whose `name` is `wanted`, or null; none is called "".
ACTIVATION_TRACE_COMPILED_INLINE const Family* find_family(std::span<const Family> known,
                                                           std::string_view Family::*name, std::string_view wanted) {
  if (wanted.empty()) return nullptr;
  const auto found = std::ranges::find(known, wanted, name);
  return found == known.end() ? nullptr : &*found;
}

/// What all of them are called, for messages: 'a' or 'b', between the quotes given.
ACTIVATION_TRACE_COMPILED_INLINE std::string names_of(std::span<const Family> known, std::string_view Family::*name,
                                                      const std::string& open, const std::string& close) {
  std::string names;
  for (const Family& family : known) {
    if ((family.*name).empty()) continue;
    names += names.empty() ? "" : " or ";
    names.append(open).append(family.*name).append(close);
  }
  return names;
}

/// A window for each of `layers` blocks, 0 in every `every`-th, which has none; no windows for a `window` of 0 or less.
ACTIVATION_TRACE_COMPILED_INLINE std::vector<Index> windows_of(Index every, Index window, Index layers) {
  if (window <= 0) return {};
  std::vector<Index> windows(static_cast<std::size_t>(layers), window);
  if (every > 0)
    for (Index i = every - 1; i < layers; i += every) windows[static_cast<std::size_t>(i)] = 0;
  return windows;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
