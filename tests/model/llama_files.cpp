// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/model/llama.hpp"
#include "model/trace.hpp"

using namespace activation_trace;
using namespace activation_trace::test;

TEST_CASE("every weight type and rotation gives the same logits in memory, from GGUF and from safetensors") {
  const TemporaryFolder folder;
  Execution<Host> execution(2);
  const auto last_logits = [&](const LlamaConfig& config, const LlamaWeights<>& weights, std::span<const TokenId> ids) {
    Llama model(config, weights, {.max_context = 40}, execution);
    const auto logits = model.forward(ids);
    return std::vector<float>(logits.begin(), logits.end());
  };
  for (const DType dtype : all_dtypes) {
    for (const RopeScaling scaling : {RopeScaling::none, RopeScaling::linear, RopeScaling::llama3}) {
      TinyLlamaOptions options;
      options.dtype = dtype;
      options.embeddings = dtype == DType::q8_0 ? Embeddings::tied : Embeddings::separate;
      options.config.rope.scaling = scaling;
      options.config.rope.factor = 4;
      options.config.rope.original_context = 64;
      const TinyLlama tiny(options);
      const std::vector<TokenId> ids = some_ids(33, tiny.config().vocab);
      const std::vector<float> in_memory = last_logits(tiny.config(), tiny.weights(), ids);

      tiny.write_gguf(folder / "model.gguf");
      const Checkpoint gguf = load_llama(folder / "model.gguf");
      tiny.write_hugging_face(folder.path());
      const Checkpoint hugging_face = load_llama(folder.path());

      const std::string type(name(dtype));
      CAPTURE(type);
      const double tolerance = 2 * rounding_tolerance(tiny.config());
      CAPTURE(tolerance);
      CHECK(gguf.weights.layers[0].q.dtype() == dtype);
      CHECK(gguf.config.rope.layout == RopeLayout::interleaved);
      CHECK(hugging_face.config.rope.layout == RopeLayout::half_split);
      // GGUF turns pairs in another order, and safetensors holds quantised weights as the floats they stand for.
      CHECK(relative_error(last_logits(gguf.config, gguf.weights, ids), in_memory) <= tolerance);
      const std::vector<float> from_safetensors = last_logits(hugging_face.config, hugging_face.weights, ids);
      if (block_elements(dtype) == 1)
        CHECK(from_safetensors == in_memory);
      else
        CHECK(relative_error(from_safetensors, in_memory) <= tolerance);
    }
  }
}

TEST_CASE("a family's GGUF and its folder are one model") {
  const TemporaryFolder folder;
  Execution<Host> execution(1);
  const auto last_logits = [&](const std::filesystem::path& path, std::span<const TokenId> ids) {
    const Checkpoint checkpoint = load_llama(path);
    Llama model(checkpoint.config, checkpoint.weights, {.max_context = 40}, execution);
    const auto logits = model.forward(ids);
    return std::vector<float>(logits.begin(), logits.end());
  };
  const TinyFamily mistral{.hugging_face_class = "MistralForCausalLM"};
  const TinyFamily qwen2{.architecture = "qwen2",
                         .hugging_face_class = "Qwen2ForCausalLM",
                         .gguf_rotation = RopeLayout::half_split,
                         .qkv_biases = true};
  const TinyFamily qwen3{.architecture = "qwen3",
                         .hugging_face_class = "Qwen3ForCausalLM",
                         .gguf_rotation = RopeLayout::half_split,
                         .q_k_norms = true};
  const TinyFamily internlm2{.architecture = "internlm2"};
  const TinyFamily exaone{.architecture = "exaone", .gguf_rotation = RopeLayout::half_split};
  const TinyFamily phi3{.architecture = "phi3",
                        .hugging_face_class = "Phi3ForCausalLM",
                        .gguf_rotation = RopeLayout::half_split,
                        .fused = true};
  for (const TinyFamily& family : {mistral, qwen2, qwen3, internlm2, exaone, phi3}) {
    CAPTURE(family.hugging_face_class);
    TinyLlamaOptions options;
    options.family = family;
    const TinyLlama tiny(options);
    const std::vector<TokenId> ids = some_ids(33, tiny.config().vocab);
    const bool has_window = family.architecture == "llama";
    GgufBuilder gguf = tiny.gguf();
    tiny.write_hugging_face(folder.path());
    if (has_window) {
      gguf.value("llama.attention.sliding_window", std::uint32_t{9});
      auto json = tiny.config_json();
      json["sliding_window"] = 9;
      write_file(folder / "config.json", json.dump());
    }
    write_file(folder / "model.gguf", gguf.bytes());
    const std::vector<float> from_gguf = last_logits(folder / "model.gguf", ids);
    const std::vector<float> from_folder = last_logits(folder.path(), ids);
    if (family.gguf_rotation == RopeLayout::interleaved)  // GGUF turns a LLaMA's pairs in another order
      CHECK(relative_error(from_gguf, from_folder) <= 2 * rounding_tolerance(tiny.config()));
    else
      CHECK(from_gguf == from_folder);
  }
}
