// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "activation_trace/formats/checkpoint.hpp"
#include "support/tiny_llama.hpp"

namespace activation_trace::bench {

/// The weights of the benchmark that runs, by name: one set at a time is in memory.
class Models {
 public:
  struct Model {
    std::string name;
    LlamaConfig config;
    LlamaWeights<> weights;
    std::unique_ptr<Checkpoint> checkpoint;
    std::unique_ptr<test::TinyLlama> random;
  };

  const Model& file(const std::filesystem::path& path) {
    if (model_.name != path.string()) {
      model_ = {};
      model_.checkpoint = std::make_unique<Checkpoint>(load_llama(path));
      model_.config = model_.checkpoint->config;
      model_.weights = model_.checkpoint->weights;
      model_.name = path.string();
    }
    return model_;
  }

  const Model& random(DType dtype) {
    const std::string wanted(name(dtype));
    if (model_.name != wanted) {
      model_ = {};
      test::TinyLlamaOptions options;
      options.dtype = dtype;
      options.embeddings = Embeddings::tied;
      LlamaConfig& c = options.config;  // SmolLM2-135M
      c.layers = 30;
      c.hidden = 576;
      c.ffn = 1536;
      c.heads = 9;
      c.kv_heads = 3;
      c.head_dim = 64;
      c.vocab = 49152;
      c.max_context = 8192;
      c.rope.theta = 100000;
      model_.random = std::make_unique<test::TinyLlama>(options);
      model_.config = model_.random->config();
      model_.weights = model_.random->weights();
      model_.name = wanted;
    }
    return model_;
  }

 private:
  Model model_;
};

}  // namespace activation_trace::bench
