// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// Writes a tiny model with room for the published prompts in bytes, which the Python tests run `evaluate` on.
#define DOCTEST_CONFIG_IMPLEMENT  // what the fixture checks with; this is no test
#include "generation/cli_fixture.hpp"

#include <cstdlib>

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) return std::fputs("usage: write_tiny_model FILE [BLOCKS]\n", stderr), 2;
  activation_trace::LlamaConfig config = activation_trace::test::tiny_llama_config();
  config.max_context = 2048;
  if (argc == 3) {  // many, and small
    config.layers = std::atoi(argv[2]);
    config.hidden = 64;
    config.ffn = 96;
    config.head_dim = 16;
  }
  const activation_trace::test::TinyLlama model({.config = config});
  activation_trace::test::write_file(argv[1], activation_trace::test::tiny_gguf(model).bytes());
  return 0;
}
