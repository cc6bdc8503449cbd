// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/formats/family.hpp"

namespace activation_trace {
inline namespace v0 {

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
  f.hugging_face_keys = {.window = {"sliding_window", 4096}};
  f.defaults = {.max_context = 131072};
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

/// Granite 3 and 4, its dense models.
inline constexpr Family granite_family = [] {
  Family f = llama_family;
  f.name = "Granite";
  f.gguf_architecture = "granite";
  f.hugging_face_class = "GraniteForCausalLM";
  f.model_type = "granite";
  f.gguf_rotation_flag = "rope.scaling.finetuned";
  f.gguf_keys = {.attention_scale = "attention.scale",
                 .embedding_scale = "embedding_scale",
                 .residual_scale = "residual_scale",
                 .logit_divisor = "logit_scale"};
  f.hugging_face_keys = {.attention_scale = {"attention_multiplier", 1},
                         .embedding_scale = "embedding_multiplier",
                         .residual_scale = "residual_multiplier",
                         .logit_divisor = "logits_scaling"};
  return f;
}();

/// MiniCPM 1, 2 and 4, their dense models.
inline constexpr Family minicpm_family = [] {
  Family f = llama_family;
  f.name = "MiniCPM";
  f.gguf_architecture = "minicpm";
  f.hugging_face_class = "MiniCPMForCausalLM";
  f.model_type = "minicpm";
  // Its first GGUFs have none of them, and are of models that have these.
  f.gguf_keys = {.embedding_scale = {"embedding_scale", 12},
                 .residual_scale = "residual_scale",
                 .depth_scale = {"", 1.4f},
                 .logit_divisor = "logit_scale",
                 .logit_width = {"", 256}};
  f.hugging_face_keys = {
      .embedding_scale = "scale_emb", .depth_scale = {"scale_depth", 1}, .logit_width = {"dim_model_base", 1}};
  f.defaults = {.tied_embeddings = true};
  f.refused_flags = {"attention_bias"};
  return f;
}();

/// Gemma, the first.
inline constexpr Family gemma_family = [] {
  Family f = llama_family;
  f.name = "Gemma";
  f.gguf_architecture = "gemma";
  f.hugging_face_class = "GemmaForCausalLM";
  f.model_type = "gemma";
  f.gguf_rotation = RopeLayout::half_split;
  f.activation = FfnActivation::gelu_tanh;
  f.activation_name = "gelu_pytorch_tanh";
  f.hugging_face.norm_offset = 1;  // which converters add
  f.embedding_times_sqrt = true;
  f.gguf_keys = {};
  f.defaults = {.max_context = 8192,
                .bos = 2,
                .eos = 1,
                .tied_embeddings = true,
                .vocab = 256000,
                .heads = 16,
                .kv_heads = 16,
                .head_dim = 256};
  f.refused_flags = {"attention_bias", "use_bidirectional_attention"};
  return f;
}();

/// Gemma 2.
inline constexpr Family gemma2_family = [] {
  Family f = gemma_family;
  f.name = "Gemma 2";
  f.gguf_architecture = "gemma2";
  f.hugging_face_class = "Gemma2ForCausalLM";
  f.model_type = "gemma2";
  f.activation_key = "hidden_activation";
  f.gguf.attention_out_norm = "post_attention_norm";
  f.gguf.ffn_out_norm = "post_ffw_norm";
  f.hugging_face.attention_out_norm = "post_attention_layernorm";
  f.hugging_face.ffn_norm = "pre_feedforward_layernorm";
  f.hugging_face.ffn_out_norm = "post_feedforward_layernorm";
  f.full_attention_every = 2;
  f.width_scaled_layers = 46;  // the 27B, whose query_pre_attn_scalar no GGUF has
  f.gguf_keys = {.window = {"attention.sliding_window", 4096},
                 .attention_soft_cap = {"attn_logit_softcapping", 50},
                 .logit_soft_cap = {"final_logit_softcapping", 30}};
  f.hugging_face_keys = {.window = {"sliding_window", 4096},
                         .attention_soft_cap = {"attn_logit_softcapping", 50},
                         .query_scalar = {"query_pre_attn_scalar", 256},
                         .logit_soft_cap = {"final_logit_softcapping", 30}};
  f.defaults.heads = 8;
  f.defaults.kv_heads = 4;
  return f;
}();

/// The text models of Gemma 3.
inline constexpr Family gemma3_family = [] {
  Family f = gemma2_family;
  f.name = "Gemma 3";
  f.gguf_architecture = "gemma3";
  f.hugging_face_class = "Gemma3ForCausalLM";
  f.model_type = "gemma3_text";
  f.gguf.q_norm = "attn_q_norm";
  f.gguf.k_norm = "attn_k_norm";
  f.hugging_face.q_norm = "self_attn.q_norm";
  f.hugging_face.k_norm = "self_attn.k_norm";
  f.full_attention_every = 6;
  f.window_theta = 10000;
  f.width_scaled_layers = 62;  // the 27B
  f.gguf_keys = {.window = "attention.sliding_window",
                 .attention_soft_cap = "attn_logit_softcapping",
                 .window_theta = "rope.freq_base_swa",
                 .full_attention_every = "attention.sliding_window_pattern",
                 .logit_soft_cap = "final_logit_softcapping"};
  f.hugging_face_keys = {.window = {"sliding_window", 4096},
                         .attention_soft_cap = "attn_logit_softcapping",
                         .query_scalar = {"query_pre_attn_scalar", 256},
                         .window_theta = "rope_local_base_freq",
                         .full_attention_every = "sliding_window_pattern",
                         .logit_soft_cap = "final_logit_softcapping"};
  f.defaults.max_context = 131072;
  f.defaults.vocab = 262208;
  f.defaults.theta = 1e6f;
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

/// Phi-3, Phi-3.5 and Phi-4, with Phi-4-mini.
inline constexpr Family phi3_family = [] {
  Family f = llama_family;
  f.name = "Phi-3";
  f.gguf_architecture = "phi3";
  f.hugging_face_class = "Phi3ForCausalLM";
  f.model_type = "phi3";
  f.gguf_rotation = RopeLayout::half_split;
  f.fused_qkv = true;
  f.gguf.fused_gate_up = "ffn_up";
  f.hugging_face.fused_gate_up = "mlp.gate_up_proj";
  f.hugging_face_keys = {.window = "sliding_window", .rotated_part = "partial_rotary_factor"};
  f.defaults = {.max_context = 4096, .eos = 32000, .original_context = 4096};
  f.refused_flags = {"attention_bias", "mlp_bias", "lm_head_bias"};
  return f;
}();

/// SmolLM3.
inline constexpr Family smollm3_family = [] {
  Family f = llama_family;
  f.name = "SmolLM3";
  f.gguf_architecture = "smollm3";
  f.hugging_face_class = "SmolLM3ForCausalLM";
  f.model_type = "smollm3";
  f.unrotated_every = 4;
  f.gguf_keys = {};
  f.hugging_face_keys = {.unrotated_every = "no_rope_layer_interval", .rotated_blocks = "no_rope_layers"};
  f.defaults = {.max_context = 32768,
                .bos = 128000,
                .eos = 128001,
                .tied_embeddings = true,
                .vocab = 128256,
                .heads = 16,
                .kv_heads = 4,
                .theta = 2e6f};
  f.refused_flags = {"attention_bias", "mlp_bias", "use_sliding_window"};
  return f;
}();

// LLaMAs under other names.

/// ERNIE 4.5, its dense models.
inline constexpr Family ernie4_5_family = [] {
  Family f = llama_family;
  f.name = "ERNIE 4.5";
  f.gguf_architecture = "ernie4_5";
  f.hugging_face_class = "Ernie4_5ForCausalLM";
  f.model_type = "ernie4_5";
  f.hugging_face_rotation = RopeLayout::interleaved;  // so that converters permute nothing
  f.gguf_keys = {};
  f.defaults = {.max_context = 131072,
                .tied_embeddings = true,
                .vocab = 103424,
                .heads = 16,
                .kv_heads = 2,
                .head_dim = 128,
                .theta = 500000};
  f.refused_flags = {"use_bias"};
  return f;
}();

/// InternLM2 and 2.5.
inline constexpr Family internlm2_family = [] {
  Family f = llama_family;
  f.name = "InternLM2";
  f.gguf_architecture = "internlm2";
  f.hugging_face_class = "InternLM2ForCausalLM";
  f.model_type = "internlm2";
  f.hugging_face.embedding = "model.tok_embeddings";
  f.hugging_face.attention_norm = "attention_norm";
  f.hugging_face.grouped_qkv = "attention.wqkv";
  f.hugging_face.o = "attention.wo";
  f.hugging_face.ffn_norm = "ffn_norm";
  f.hugging_face.gate = "feed_forward.w1";
  f.hugging_face.up = "feed_forward.w3";
  f.hugging_face.down = "feed_forward.w2";
  f.hugging_face.lm_head = "output";
  f.gguf_keys = {};
  f.refused_flags = {"bias"};
  return f;
}();

/// InternLM3, in GGUF a LLaMA.
inline constexpr Family internlm3_family = [] {
  Family f = llama_family;
  f.name = "InternLM3";
  f.gguf_architecture = {};
  f.hugging_face_class = "InternLM3ForCausalLM";
  f.model_type = "internlm3";
  f.defaults = {.max_context = 32768};
  f.refused_flags = {"bias", "qkv_bias"};
  return f;
}();

/// EXAONE 3 and 3.5.
inline constexpr Family exaone_family = [] {
  Family f = llama_family;
  f.name = "EXAONE 3";
  f.gguf_architecture = "exaone";
  f.hugging_face_class = "ExaoneForCausalLM";
  f.model_type = "exaone";
  f.gguf_rotation = RopeLayout::half_split;
  f.gguf_keys = {};
  f.activation_key = "activation_function";
  f.layers_key = "num_layers";
  f.norm_eps_key = "layer_norm_epsilon";
  f.hugging_face = {.embedding = "transformer.wte",
                    .block = "transformer.h.",
                    .attention_norm = "ln_1",
                    .q = "attn.attention.q_proj",
                    .k = "attn.attention.k_proj",
                    .v = "attn.attention.v_proj",
                    .o = "attn.attention.out_proj",
                    .fused_qkv = {},
                    .ffn_norm = "ln_2",
                    .gate = "mlp.c_fc_0",
                    .up = "mlp.c_fc_1",
                    .down = "mlp.c_proj",
                    .final_norm = "transformer.ln_f",
                    .lm_head = "lm_head"};
  f.defaults = {.bos = 0, .vocab = 102400, .heads = 32, .norm_eps = 1e-5f};
  return f;
}();

/// The families that can be read; formats/README.md 5 says how one is added.
inline constexpr Family families[] = {llama_family,    mistral_family,   qwen2_family,     qwen3_family,
                                      gemma_family,    gemma2_family,    gemma3_family,    gemma3_text_part_family,
                                      granite_family,  minicpm_family,   phi3_family,      smollm3_family,
                                      ernie4_5_family, internlm2_family, internlm3_family, exaone_family};

}  // namespace v0
}  // namespace activation_trace
