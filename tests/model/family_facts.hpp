// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "support/tiny_llama.hpp"

namespace activation_trace::test {

/// Small, with grouped queries, and three blocks, so that one may differ from the others.
inline TinyLlamaOptions small_family_options() {
  TinyLlamaOptions options;
  LlamaConfig& c = options.config;
  c.layers = 3;
  c.hidden = 48;
  c.ffn = 80;
  c.heads = 6;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.vocab = 101;
  c.max_context = 256;
  c.rope.theta = 500;
  return options;
}

inline Index rotated(const TinyLlamaOptions& o) {
  return o.config.rope.rotary_dim > 0 ? o.config.rope.rotary_dim : o.config.head_dim;
}

using FamilyFact = std::function<void(TinyLlamaOptions&)>;
/// What other families change in the forward pass, each by its name.
inline const std::vector<std::pair<std::string, FamilyFact>>& family_facts() {
  static const std::vector<std::pair<std::string, FamilyFact>> all{
      {"biases of q, k and v", [](TinyLlamaOptions& o) { o.family.qkv_biases = true; }},
      {"bias of o", [](TinyLlamaOptions& o) { o.family.o_bias = true; }},
      {"norms of q and k", [](TinyLlamaOptions& o) { o.family.q_k_norms = true; }},
      {"gelu", [](TinyLlamaOptions& o) { o.config.activation = FfnActivation::gelu_tanh; }},
      {"scale of the embedding", [](TinyLlamaOptions& o) { o.config.embedding_scale = 6.5f; }},
      {"scale of what is added", [](TinyLlamaOptions& o) { o.config.residual_scale = 0.3f; }},
      {"scale of the logits", [](TinyLlamaOptions& o) { o.config.logit_scale = 0.4f; }},
      {"scale of attention", [](TinyLlamaOptions& o) { o.config.attention_scale = 0.11f; }},
      {"soft cap of attention", [](TinyLlamaOptions& o) { o.config.attention_soft_cap = 1.5f; }},
      {"soft cap of logits", [](TinyLlamaOptions& o) { o.config.logit_soft_cap = 3; }},
      {"norms of what is added", [](TinyLlamaOptions& o) { o.family.out_norms = true; }},
      {"another rotation in windows",
       [](TinyLlamaOptions& o) {
         o.config.windows = {5, 0, 20};
         o.config.window_rope = RopeConfig{.theta = 30};
       }},
      {"rotation of a part of each head", [](TinyLlamaOptions& o) { o.config.rope.rotary_dim = 12; }},
      {"amplitude of the rotation", [](TinyLlamaOptions& o) { o.config.rope.amplitude = 1.19f; }},
      {"divisors of long contexts",
       [](TinyLlamaOptions& o) {
         o.config.rope.long_divisors = std::vector<float>{1, 1.5f, 2, 4, 8, 20, 40, 64};
         o.config.rope.long_divisors.resize(static_cast<std::size_t>(rotated(o) / 2));
         o.config.rope.original_context = 20;
       }},
      {"blocks without rotation",
       [](TinyLlamaOptions& o) {
         o.config.rotated = {true, true, false};
       }},
      {"windows",
       [](TinyLlamaOptions& o) {
         o.config.windows = {5, 0, 20};
       }},
  };
  return all;
}

}  // namespace activation_trace::test
