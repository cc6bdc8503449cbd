// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <optional>
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
  std::string_view grouped_qkv = {};         ///< per key head the rows of its q, k and v: instead of the three
  float norm_offset = 0;                     ///< to be added to norms: 1 where they are stored as w - 1
};

/// Where a format's settings have a number that a family may have, and what it is where a file has no such key.
struct OptionalKey {
  std::string_view name = {};       ///< empty: no file has it
  std::optional<float> usual = {};  ///< none: the family does without it then

  constexpr OptionalKey() = default;
  /// A key that a file may leave out.
  constexpr OptionalKey(const char* key, std::optional<float> otherwise = {})  // NOLINT(google-explicit-constructor)
      : name(key), usual(otherwise) {}
};

/// The optional numbers of one format. GGUF's keys follow the architecture and a dot.
struct OptionalKeys {
  OptionalKey window = {};                ///< positions that a query sees, its own among them
  OptionalKey attention_scale = {};       ///< of q k^T; none: 1 / sqrt(D)
  OptionalKey attention_soft_cap = {};    ///< cap of scaled scores, cap tanh(s / cap)
  OptionalKey query_scalar = {};          ///< the attention scale is one over its root
  OptionalKey window_theta = {};          ///< base of the rotation in blocks with a window
  OptionalKey full_attention_every = {};  ///< instead of Family::full_attention_every
  OptionalKey rotated_part = {};          ///< how much of a head is rotated, in (0, 1]; only of config.json
  OptionalKey unrotated_every = {};       ///< instead of Family::unrotated_every
  OptionalKey rotated_blocks = {};        ///< a list of 0, not rotated, and 1 for each block; only of config.json
  OptionalKey embedding_scale = {};       ///< factor of the embedding's rows
  OptionalKey residual_scale = {};        ///< factor of what each half of a block adds
  OptionalKey depth_scale = {};           ///< else the same times sqrt(N)
  OptionalKey logit_scale = {};           ///< factor of the logits
  OptionalKey logit_divisor = {};         ///< else one over it
  OptionalKey logit_width = {};           ///< else the same times d
  OptionalKey logit_soft_cap = {};        ///< cap of scaled logits, as of attention's
};

/// The projections of attention that have a bias.
enum class Biases { none, qkv, qkvo };

/// Where config.json leaves a key out, its class in transformers has these.
struct HuggingFaceDefaults {
  Index max_context = 2048;      ///< max_position_embeddings
  TokenId bos = 1;               ///< -1: none
  TokenId eos = 2;               ///< -1: none
  bool tied_embeddings = false;  ///< the LM head is the embedding
  Index vocab = 0;               ///< vocab_size, 0: must be there, as the next two
  Index heads = 0;               ///< num_attention_heads
  Index kv_heads = 0;            ///< num_key_value_heads, 0: as many as heads
  Index head_dim = 0;            ///< 0: hidden_size / num_attention_heads
  Index original_context = 0;    ///< original_max_position_embeddings, 0: max_context
  float norm_eps = 1e-6f;        ///< Family::norm_eps_key
  float theta = 10000;           ///< rope_theta
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
  std::string_view activation_key = "hidden_act";     ///< and by which key
  std::string_view layers_key = "num_hidden_layers";  ///< config.json's key of the number of blocks
  std::string_view norm_eps_key = "rms_norm_eps";     ///< and of the RMSNorms' epsilon

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
  std::string_view gguf_rotation_flag = {};            ///< of a GGUF's metadata: false is a model without rotation
  // Where the text model is a part of a larger one, in folders.
  std::string_view text_config = {};                ///< the part of config.json that describes it
  std::array<std::string_view, 2> text_roots = {};  ///< what its tensors begin with where others have "model."
  std::array<std::string_view, 5> other_tensors =
      {};  ///< what the other parts' tensors, which nobody reads, begin with
};

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

/// For each of `layers` blocks whether it rotates q and k, which each `every`-th does not; empty for an `every` of 0.
ACTIVATION_TRACE_COMPILED_INLINE std::vector<bool> rotated_of(Index every, Index layers) {
  if (every <= 0) return {};
  std::vector<bool> rotated(static_cast<std::size_t>(layers), true);
  for (Index i = every - 1; i < layers; i += every) rotated[static_cast<std::size_t>(i)] = false;
  return rotated;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
