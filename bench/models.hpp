// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "activation_trace/formats/checkpoint.hpp"
#include "floors.hpp"
#include "support/tiny_llama.hpp"

namespace activation_trace::bench {

/// One row times a matrix that is read for it.
inline Work work_of(const StoredMatrix<>& m) {
  const double rows = static_cast<double>(m.rows());
  return {2 * rows * static_cast<double>(m.cols()), rows * static_cast<double>(m.row_bytes())};
}
/// One row times every matrix of the blocks.
inline Work blocks_of(const LlamaWeights<>& weights) {
  Work work;
  for (const auto& w : weights.layers)
    for (const StoredMatrix<>* m : {&w.q, &w.k, &w.v, &w.o, &w.gate, &w.up, &w.down}) work = work.plus(work_of(*m));
  return work;
}

/// Attention of `queries` tokens that end at position `end`: queries by keys, probabilities by values, a cache read.
inline Work attention_of(const LlamaConfig& c, Index queries, Index end) {
  const double pairs = static_cast<double>(queries) * static_cast<double>(2 * end - queries + 1) / 2;
  return {4 * pairs * static_cast<double>(c.heads * c.head_dim * c.layers),
          2 * sizeof(float) * static_cast<double>(end * c.layers * c.kv_heads * c.head_dim)};
}

/// `rows` of x by what is read once.
inline Work shared(const Work& work, Index rows) { return {work.flops * static_cast<double>(rows), work.bytes}; }

/// The shape of TinyLlama-1.1B.
inline LlamaConfig tinyllama() {
  LlamaConfig c = test::tiny_llama_config();
  c.layers = 22;
  c.hidden = 2048;
  c.ffn = 5632;
  c.heads = 32;
  c.kv_heads = 4;
  c.head_dim = 64;
  c.vocab = 32000;
  c.max_context = 2048;
  return c;
}

/// The shape of SmolLM2-135M.
inline LlamaConfig smollm2() {
  LlamaConfig c = test::tiny_llama_config();
  c.layers = 30;
  c.hidden = 576;
  c.ffn = 1536;
  c.heads = 9;
  c.kv_heads = 3;
  c.head_dim = 64;
  c.vocab = 49152;
  c.max_context = 8192;
  c.rope.theta = 100000;
  return c;
}

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

  /// Random weights of a shape; SmolLM2's embedding is its LM head, too.
  const Model& random(DType dtype, const LlamaConfig& shape = smollm2()) {
    const std::string wanted = std::to_string(shape.hidden) + " " + std::string(name(dtype));
    if (model_.name != wanted) {
      model_ = {};
      test::TinyLlamaOptions options;
      options.dtype = dtype;
      options.embeddings = shape.hidden == smollm2().hidden ? Embeddings::tied : Embeddings::separate;
      options.config = shape;
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
