// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <llama-cpp.h>

#include <filesystem>
#include <span>
#include <vector>

#include "activation_trace/embed/llama_cpp.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/model/llama.hpp"
#include "embed/llama_cpp_engine.hpp"
#include "support/file_builders.hpp"
#include "support/no_text.hpp"
#include "support/tiny_llama.hpp"

// A tiny model in llama.cpp beside our own engine, and what our own engine writes.
namespace activation_trace::test {

/// The model in both engines.
struct Both {
  explicit Both(Embeddings embeddings = Embeddings::separate)
      : weights({.config = tiny_llama_cpp_config(), .embeddings = embeddings}),
        own(weights.config(), weights.weights(), {.max_context = 256, .max_batch = 64}, execution) {
    weights.write_gguf(path);
    model = load_llama_cpp(path);
  }
  [[nodiscard]] LmHeadFile head() const { return llama_cpp::open_lm_head(path); }
  [[nodiscard]] llama_context_ptr context(llama_cpp::Guest& guest, llama_context_params params = exact_params()) const {
    guest.attach(params);
    return llama_context_ptr(llama_init_from_model(model.get(), params));
  }

  TemporaryFolder folder;
  std::filesystem::path path = folder.path() / "tiny.gguf";
  TinyLlama weights;
  Execution<Host> execution;
  Llama<> own;
  llama_model_ptr model;
};

struct Step {
  TokenId id;
  float log_prob, entropy;
};

/// A text by our engine, and its records.
inline std::vector<Step> own_text(Both& both, const llama_cpp::GuestOptions& options, std::span<const TokenId> prompt,
                                  Index count) {
  std::vector<Step> steps;
  GenerationCallbacks callbacks{.on_token = [&](const GeneratedToken& token) {
    const SharpnessCandidate c = token.record == nullptr ? SharpnessCandidate{} : token.record->chosen;
    steps.push_back({token.id, c.log_prob, c.entropy});
    return Continue::yes;
  }};
  generate(both.own, NoText{}, prompt, {.mode = options.mode, .max_new_tokens = count, .record = options.record},
           callbacks);
  return steps;
}

}  // namespace activation_trace::test
