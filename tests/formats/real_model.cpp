// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/real_model.hpp"

#include <doctest/doctest.h>

#include <map>

#include "activation_trace/formats/checkpoint.hpp"

using namespace activation_trace;

TEST_CASE("SmolLM2-135M-Instruct.Q4_1.gguf is what its model card says") {
  const Checkpoint checkpoint = load_llama(activation_trace::test::real_model_or_skip());
  const LlamaConfig& c = checkpoint.config;
  const GgufFile& file = *checkpoint.gguf;
  std::map<std::string, int> types;
  for (const FileTensor& tensor : file.tensors()) ++types[std::string(tensor.type)];
  std::printf("GGUF version %u, %zu tensors:", file.version(), file.tensors().size());
  for (const auto& [type, count] : types) std::printf(" %d %s", count, type.c_str());
  std::printf("; embedding %s; tokenizer %s, pre %s, %zu tokens\n",
              std::string(name(checkpoint.weights.embedding.dtype())).c_str(),
              std::string(file.get<std::string_view>("tokenizer.ggml.model")).c_str(),
              std::string(file.get<std::string_view>("tokenizer.ggml.pre")).c_str(),
              file.get<std::vector<std::string_view>>("tokenizer.ggml.tokens").size());
  // The config.json of HuggingFaceTB/SmolLM2-135M-Instruct.
  CHECK(c.hidden == 576);
  CHECK(c.layers == 30);
  CHECK(c.heads == 9);
  CHECK(c.kv_heads == 3);
  CHECK(c.head_dim == 64);
  CHECK(c.ffn == 1536);
  CHECK(c.vocab == 49152);
  CHECK(c.max_context == 8192);
  CHECK(c.rms_norm_eps == 1e-5f);
  CHECK(c.rope.theta == 100000.0f);
  CHECK(c.rope.scaling == RopeScaling::none);
  CHECK(c.rope.divisors.empty());
  CHECK(c.bos == 1);
  CHECK(c.eos == std::vector<TokenId>{2});
  CHECK(checkpoint.weights.lm_head.data() == checkpoint.weights.embedding.data());
  CHECK(checkpoint.weights.embedding.dtype() == DType::q8_0);
  for (const LlamaLayerWeights<>& layer : checkpoint.weights.layers) {
    CHECK(layer.q.dtype() == DType::q4_1);
    CHECK(layer.down.dtype() == DType::q4_1);
  }
  CHECK(file.tensors().size() == 30 * 9 + 2);
}
