// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/model/llama_options.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "support/loaded_model.hpp"
#include "support/model_settings.hpp"

namespace activation_trace::examples {

/// A model whose files our own library reads, wherever it runs.
class CheckpointModel : public LoadedModel {
 public:
  explicit CheckpointModel(const ModelSettings& settings)
      : batch_(settings.batch),
        arithmetic_(settings.arithmetic),
        cache_(settings.cache),
        checkpoint_(load_llama(settings.path, settings.access)) {}

  [[nodiscard]] ModelShape shape() const override {
    return {checkpoint_.config.layers, checkpoint_.config.vocab, checkpoint_.config.max_context};
  }
  [[nodiscard]] Embeddings embeddings() const override { return checkpoint_.embeddings; }
  [[nodiscard]] Tokenizer tokenizer() const override { return load_tokenizer(checkpoint_); }
  [[nodiscard]] nlohmann::ordered_json identity() const override {
    return {{"engine", name(EngineName::own)},
            {"arithmetic", name(arithmetic_)},
            {"cache", cache_ == DType::f16 ? "f16" : "f32"}};
  }

 protected:
  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return checkpoint_; }
  [[nodiscard]] LlamaOptions options(Index context, Index sequences) const {
    return {.max_context = context,
            .max_batch = batch_,
            .sequences = sequences,
            .arithmetic = arithmetic_,
            .cache = cache_};
  }

 private:
  Index batch_;
  Arithmetic arithmetic_;
  DType cache_;
  Checkpoint checkpoint_;
};

}  // namespace activation_trace::examples
