// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <llama-cpp.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "support/tiny_llama.hpp"

// llama.cpp for tests, and a text by its own calls.
namespace activation_trace::test {

/// What llama.cpp has to say is kept, and not shown: errors of the guest are among it.
inline std::string& llama_cpp_log() {
  static std::string text;
  return text;
}

inline void start_llama_cpp() {
  llama_backend_init();
  llama_log_set([](ggml_log_level, const char* text, void*) { llama_cpp_log() += text; }, nullptr);
}

inline llama_model_ptr load_llama_cpp(const std::filesystem::path& path) {
  start_llama_cpp();
  llama_model_ptr model(llama_model_load_from_file(path.c_str(), llama_model_default_params()));
  if (model == nullptr) throw std::runtime_error(path.string() + ": llama.cpp does not load it\n" + llama_cpp_log());
  return model;
}

/// Four layers of 64.
inline LlamaConfig tiny_llama_cpp_config() {
  LlamaConfig c = tiny_llama_config();
  c.layers = 4;
  c.hidden = 64;
  c.ffn = 96;
  c.head_dim = 16;
  c.max_context = 256;
  return c;
}

/// Of 3 to 59 tokens.
inline std::vector<std::vector<TokenId>> tiny_prompts(int count) {
  std::vector<std::vector<TokenId>> all;
  for (int i = 0; i < count; ++i) {
    all.emplace_back();
    for (int k = 0; k < 3 + (13 * i) % 57; ++k) all.back().push_back((37 * i + 11 * k * k + 5) % 320);
  }
  return all;
}

/// f32 wherever there is a choice, and micro-batches shorter than most prompts.
inline llama_context_params exact_params() {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = 256;
  params.n_batch = 256;
  params.n_ubatch = 16;
  params.n_threads = params.n_threads_batch = 1;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.type_k = params.type_v = GGML_TYPE_F32;
  return params;
}

enum class Flag { last, all };  ///< of which tokens there are outputs

/// llama_decode() of one sequence, from `position` on.
inline void decode(llama_context* context, std::span<const TokenId> ids, Index position, Flag flag = Flag::last,
                   llama_seq_id sequence = 0) {
  llama_batch batch = llama_batch_init(static_cast<std::int32_t>(ids.size()), 0, 1);
  batch.n_tokens = static_cast<std::int32_t>(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    batch.token[i] = ids[i];
    batch.pos[i] = static_cast<llama_pos>(position) + static_cast<llama_pos>(i);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = sequence;
    batch.logits[i] = flag == Flag::all || i + 1 == ids.size();
  }
  const int failed = llama_decode(context, batch);
  llama_batch_free(batch);
  if (failed != 0) throw std::runtime_error("llama_decode: " + std::to_string(failed));
}

/// A batch of any sequences' tokens.
class Batch {
 public:
  Batch() : batch_(llama_batch_init(256, 0, 4)) { batch_.n_tokens = 0; }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch() { llama_batch_free(batch_); }

  /// Returns its index in the batch.
  std::int32_t add(TokenId id, Index position, const std::vector<llama_seq_id>& sequences, bool output) {
    const std::int32_t i = batch_.n_tokens++;
    batch_.token[i] = id;
    batch_.pos[i] = static_cast<llama_pos>(position);
    batch_.n_seq_id[i] = static_cast<std::int32_t>(sequences.size());
    for (std::size_t k = 0; k < sequences.size(); ++k) batch_.seq_id[i][k] = sequences[k];
    batch_.logits[i] = output ? 1 : 0;
    return i;
  }
  void clear() { batch_.n_tokens = 0; }
  [[nodiscard]] const llama_batch& get() const { return batch_; }

 private:
  llama_batch batch_;
};

inline llama_sampler_ptr greedy_chain(llama_sampler* first) {
  llama_sampler_ptr chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
  if (first != nullptr) llama_sampler_chain_add(chain.get(), first);
  llama_sampler_chain_add(chain.get(), llama_sampler_init_greedy());
  return chain;
}

/// Up to `count` tokens behind what the context holds already; the last one is not decoded.
inline std::vector<TokenId> sample(llama_context* context, llama_sampler* chain, Index count, Index position) {
  std::vector<TokenId> ids;
  while (std::ssize(ids) < count) {
    ids.push_back(llama_sampler_sample(chain, context, -1));
    if (std::ssize(ids) < count) decode(context, std::span(&ids.back(), 1), position++);
  }
  return ids;
}

}  // namespace activation_trace::test
