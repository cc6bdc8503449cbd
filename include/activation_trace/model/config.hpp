// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/ops/attention_options.hpp"
#include "activation_trace/ops/ffn_activation.hpp"
#include "activation_trace/ops/finish_logits.hpp"
#include "activation_trace/ops/rope.hpp"

namespace activation_trace {
inline namespace v0 {

/// Change of the rotation frequencies for contexts longer than those trained on (model/README.md 2).
enum class RopeScaling { none, linear, llama3 };

/// The rotation of queries and keys (model/README.md 2).
struct RopeConfig {
  float theta = 10000.0f;                      ///< base of the frequencies theta^(-2j/D)
  RopeLayout layout = RopeLayout::half_split;  ///< which components make a pair
  RopeScaling scaling = RopeScaling::none;     ///< by which formula frequencies are changed
  float factor = 1.0f;                         ///< linear and llama3
  float low_freq_factor = 1.0f;                ///< llama3
  float high_freq_factor = 4.0f;               ///< llama3
  float original_context = 8192;               ///< llama3 and long_divisors, tokens
  std::vector<float> divisors = {};  ///< [rotary_dim / 2] divisors of the frequencies (GGUF's rope_freqs), or empty
  std::vector<float> long_divisors = {};  ///< instead, where a sequence may be longer than original_context; or empty
  Index rotary_dim = 0;                   ///< components of a head that are rotated, its first ones; 0: all
  float amplitude = 1;                    ///< factor of what is rotated

  /// How many components of a head are rotated.
  [[nodiscard]] Index rotated(Index head_dim) const noexcept { return rotary_dim == 0 ? head_dim : rotary_dim; }

  /// Divisors of the frequencies of a model whose sequences have at most `positions`.
  [[nodiscard]] const std::vector<float>& divisors_for(Index positions) const {
    return !long_divisors.empty() && static_cast<double>(positions) > static_cast<double>(original_context)
               ? long_divisors
               : divisors;
  }
};

/// The shape of a LLaMA, and in what its blocks differ from a plain one's.
struct LlamaConfig {
  Index layers = 0;            ///< N, decoder blocks
  Index hidden = 0;            ///< d
  Index ffn = 0;               ///< width of gate and up
  Index heads = 0;             ///< query heads
  Index kv_heads = 0;          ///< key and value heads; divides heads
  Index head_dim = 0;          ///< D, even; heads * D need not equal d
  Index vocab = 0;             ///< V
  Index max_context = 0;       ///< positions the model was trained for
  float rms_norm_eps = 1e-6f;  ///< of all norms, added to the mean square
  RopeConfig rope;             ///< rotation of q and k

  // What other families have; a plain LLaMA has what stands here. Biases and norms of q and k are LlamaLayerWeights'.
  FfnActivation activation = FfnActivation::silu;  ///< of gate
  float embedding_scale = 1;                       ///< h_0 is the embedding's row times this
  float residual_scale = 1;                        ///< of what each half of a block adds to the residual stream
  std::optional<float> attention_scale;            ///< of q k^T; 1 / sqrt(D) unless given
  std::optional<float> attention_soft_cap;         ///< as in AttentionOptions
  std::vector<bool> rotated;                       ///< [N] whether a block rotates q and k; empty: every one does
  std::vector<Index> windows;  ///< [N] positions that a block's queries see, 0: all; empty: all, in every block
  std::optional<RopeConfig> window_rope;  ///< the rotation in blocks with a window; `rope` unless given
  float logit_scale = 1;                  ///< as in LogitOptions
  std::optional<float> logit_soft_cap;    ///< as in LogitOptions

  TokenId bos = -1;  ///< -1: the model names none
  /// Ids that the file's settings name as ends. A tokenizer may know more by their names: SmolLM2's GGUF names 2,
  /// <|im_end|>, and its vocabulary has 0, <|endoftext|>. Generation wants both, which are end_tokens() of the
  /// tokenizer that load_tokenizer() makes for the model.
  std::vector<TokenId> eos;
  std::string source;  ///< what this was read from, for messages, or empty

  /// Whether block `block` rotates q and k.
  [[nodiscard]] bool rotates(Index block) const { return rotated.empty() || rotated[static_cast<std::size_t>(block)]; }
  /// Whether block `block` rotates by `window_rope`.
  [[nodiscard]] bool rotates_by_window(Index block) const {
    return window_rope && !windows.empty() && windows[static_cast<std::size_t>(block)] > 0;
  }

  /// Throws ArgumentError naming the first field that no LLaMA can have.
  void validate() const;

  /// How block `block` attends.
  [[nodiscard]] AttentionOptions attention(Index block) const {
    return {.scale = attention_scale,
            .soft_cap = attention_soft_cap,
            .window = windows.empty() ? 0 : windows[static_cast<std::size_t>(block)]};
  }

  /// What becomes of products with the LM head.
  [[nodiscard]] LogitOptions logits() const { return {.scale = logit_scale, .soft_cap = logit_soft_cap}; }
};

namespace detail {

/// Throws ArgumentError for what `ok` says no LLaMA can have.
inline void require_config(bool ok, const char* problem) {
  if (!ok) throw ArgumentError(std::string("LlamaConfig: ") + problem);
}

/// Whether `x`, where it is given, can multiply or cap something: it is positive and finite, and not absurd.
inline bool is_factor(std::optional<float> x) { return !x || (*x > 0 && *x < 1e6f); }

inline void validate(const RopeConfig& rope, Index head_dim) {
  const auto require = require_config;
  require(rope.theta > 1 && rope.theta < 1e12f, "rope theta must be in (1, 1e12)");
  require(is_factor(rope.factor), "rope factor must be positive and finite");
  if (rope.scaling == RopeScaling::llama3)
    require(rope.low_freq_factor > 0 && rope.high_freq_factor > rope.low_freq_factor,
            "rope needs 0 < low_freq_factor < high_freq_factor");
  if (rope.scaling == RopeScaling::llama3 || !rope.long_divisors.empty())
    require(rope.original_context > 0, "rope original_context must be positive");
  require(rope.rotary_dim >= 0 && rope.rotary_dim % 2 == 0 && rope.rotary_dim <= head_dim,
          "rope rotary_dim must be even and in 0..head_dim");
  require(is_factor(rope.amplitude), "rope amplitude must be positive and finite");
  const Index pairs = rope.rotated(head_dim) / 2;
  const auto check = [&](const std::string& name, const std::vector<float>& divisors) {
    const auto size = static_cast<Index>(divisors.size());
    if (size != 0 && size != pairs)
      throw ArgumentError("LlamaConfig: " + name + " must number " + std::to_string(pairs) +
                          ", half of what is rotated of a head, got " + std::to_string(size));
    if (!std::ranges::all_of(divisors, [](float divisor) { return divisor > 0 && divisor < 1e9f; }))
      throw ArgumentError("LlamaConfig: " + name + " must be positive and finite");
  };
  check("rope divisors", rope.divisors);
  check("rope long_divisors", rope.long_divisors);
}

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void LlamaConfig::validate() const {
  const auto require = detail::require_config;
  require(layers > 0 && layers <= 10000, "layers must be in 1..10000");
  require(hidden > 0 && hidden <= (1 << 20), "hidden size must be in 1..2^20");
  require(ffn > 0 && ffn <= (1 << 22), "ffn size must be in 1..2^22");
  require(heads > 0 && heads <= (1 << 16), "heads must be in 1..65536");
  require(kv_heads > 0 && heads % kv_heads == 0, "kv_heads must be positive and divide heads");
  require(head_dim > 0 && head_dim % 2 == 0 && head_dim <= (1 << 16), "head_dim must be even and in 2..65536");
  require(vocab > 0 && vocab <= (1 << 26), "vocab must be in 1..2^26");
  require(max_context > 0, "max_context must be positive");
  // So that a sum of two is one.
  require(max_context <= Index{1} << 62,
          ("max_context must be at most 2^62, got " + std::to_string(max_context)).c_str());
  require(rms_norm_eps > 0 && rms_norm_eps < 1, "rms_norm_eps must be in (0, 1)");
  detail::validate(rope, head_dim);
  if (window_rope) {
    detail::validate(*window_rope, head_dim);
    require(!windows.empty(), "window_rope is given, but no windows");
    require(window_rope->layout == rope.layout, "window_rope must have the layout of rope");
  }
  const auto is_factor = detail::is_factor;
  require(is_factor(embedding_scale), "embedding_scale must be positive and finite");
  require(is_factor(residual_scale), "residual_scale must be positive and finite");
  require(is_factor(attention_scale), "attention_scale must be positive and finite");
  require(is_factor(attention_soft_cap), "attention_soft_cap must be positive and finite");
  require(is_factor(logit_scale), "logit_scale must be positive and finite");
  require(is_factor(logit_soft_cap), "logit_soft_cap must be positive and finite");
  require(windows.empty() || static_cast<Index>(windows.size()) == layers, "windows must be empty or one per layer");
  for (const Index window : windows) require(window >= 0, "windows must not be negative");
  require(rotated.empty() || static_cast<Index>(rotated.size()) == layers, "rotated must be empty or one per layer");
  require(bos >= -1 && bos < vocab, "bos id must lie within the vocabulary");
  for (const TokenId id : eos) require(id >= 0 && id < vocab, "eos id must lie within the vocabulary");
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
