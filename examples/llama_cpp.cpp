// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// Activation decoding in a program that runs llama.cpp: llama_cpp MODEL.gguf PROMPT. The library's lines are marked.
#include <llama-cpp.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "activation_trace/embed/llama_cpp.hpp"  // <--

namespace at = activation_trace;

namespace {

std::vector<llama_token> tokens_of(const llama_vocab* vocab, const std::string& text) {
  const auto length = static_cast<int>(text.size());
  std::vector<llama_token> tokens(text.size() + 2);
  const int count = llama_tokenize(vocab, text.data(), length, tokens.data(), length + 2, true, true);
  tokens.resize(static_cast<std::size_t>(count));
  return tokens;
}

std::string text_of(const llama_vocab* vocab, llama_token token) {
  std::string piece(256, '\0');
  const int length = llama_token_to_piece(vocab, token, piece.data(), 256, 0, true);
  return piece.substr(0, static_cast<std::size_t>(length < 0 ? 0 : length));
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return std::fputs("usage: llama_cpp MODEL.gguf PROMPT\n", stderr), 2;
  const auto errors_only = [](ggml_log_level level, const char* text, void*) {
    if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
  };
  llama_log_set(errors_only, nullptr);
  llama_backend_init();
  const llama_model_ptr model(llama_model_load_from_file(argv[1], llama_model_default_params()));
  if (!model) return 1;
  const llama_vocab* vocab = llama_model_get_vocab(model.get());
  std::vector<llama_token> prompt = tokens_of(vocab, argv[2]);

  at::llama_cpp::Guest guest(model.get(), at::llama_cpp::open_lm_head(argv[1]),  // <--
                             {.mode = at::Activation{.alpha = 0.5f}});           // <--
  llama_context_params params = llama_context_default_params();
  params.n_batch = params.n_ctx = static_cast<std::uint32_t>(prompt.size()) + 64;
  guest.attach(params);  // <--
  const llama_context_ptr context(llama_init_from_model(model.get(), params));
  if (!context) return 1;
  const llama_sampler_ptr chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
  llama_sampler_chain_add(chain.get(), guest.sampler(context.get()));  // <--
  llama_sampler_chain_add(chain.get(), llama_sampler_init_greedy());

  llama_token token = 0;
  llama_batch batch = llama_batch_get_one(prompt.data(), static_cast<int>(prompt.size()));
  for (int generated = 0; generated < 64; ++generated) {
    if (llama_decode(context.get(), batch) != 0) return 1;
    token = llama_sampler_sample(chain.get(), context.get(), -1);
    guest.check();  // <--
    if (llama_vocab_is_eog(vocab, token)) break;
    std::fputs(text_of(vocab, token).c_str(), stdout);
    batch = llama_batch_get_one(&token, 1);
  }
  std::puts("");
  return 0;
} catch (const std::exception& e) {
  return std::fprintf(stderr, "llama_cpp: %s\n", e.what()), 1;
}
