// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// README's lines of a guest in llama.cpp (code_blocks.py), within a program that has what is the reader's own.
#include <doctest/doctest.h>
#include <llama-cpp.h>

#include <vector>

#include "activation_trace/embed/llama_cpp.hpp"

namespace at = activation_trace;

TEST_CASE("README: the lines of a guest") {
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  const char* path = ACTIVATION_TRACE_TINY_MODEL;
  const llama_model_ptr model(llama_model_load_from_file(path, llama_model_default_params()));
  REQUIRE(model != nullptr);
  const llama_sampler_ptr chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
#include "guest.inl"
  std::vector<llama_token> prompt{1, 5, 9, 5, 7, 40};
  REQUIRE(llama_decode(context.get(), llama_batch_get_one(prompt.data(), static_cast<int>(prompt.size()))) == 0);
#include "guest.2.inl"
  CHECK(guest.context_size() == 6);
  CHECK(token >= 0);
}
