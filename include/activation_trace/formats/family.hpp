// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

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
  std::string_view grouped_qkv = {};         ///< per key head the rows of its q, k and v: instead of the three
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
  std::string_view rotated_part = {};          ///< how much of a head is rotated, in (0, 1]; only of config.json
  std::string_view unrotated_every = {};       ///< instead of Family::unrotated_every
  std::string_view rotated_blocks = {};        ///< a list of 0, not rotated, and 1 for each block; only of config.json
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
  Index original_context = 0;    ///< original_max_position_embeddings, 0: max_context
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
  RopeLayout gguf_rotation;             ///< as converters leave the rows of q and k
  FfnActivation activation;             ///< config.json must agree, if it names one
  std::string_view activation_name;     ///< what it is called there
  std::string_view activation_key = "hidden_act";  ///< and by which key

  RopeLayout hugging_face_rotation = RopeLayout::half_split;  ///< as its class in transformers does
  Biases biases = Biases::none;                               ///< which there must be; others are refused
  bool fused_qkv = false;                                     ///< tensors are cut up
  Index full_attention_every = 0;  ///< of the blocks of a model with a window each so many-th has none; 0: all have one
  Index unrotated_every = 0;       ///< each so many-th block does not rotate q and k; 0: all do
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

}  // namespace v0
}  // namespace activation_trace
