// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
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
    LlamaWeights weights;
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
      options.lm_head = test::LmHead::tied;
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

/// The same places as in the tests: ACTIVATION_TRACE_MODEL, else the cache folder.
inline std::filesystem::path model_file() {
  if (const char* path = std::getenv("ACTIVATION_TRACE_MODEL")) return path;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path folder =
      cache != nullptr ? std::filesystem::path(cache) : std::filesystem::path(home != nullptr ? home : ".") / ".cache";
  return folder / "activation_trace" / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

}  // namespace activation_trace::bench
