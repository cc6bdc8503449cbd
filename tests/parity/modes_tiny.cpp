// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/ops/execution.hpp"
#include "parity/golden.hpp"
#include "parity/modes.hpp"

namespace activation_trace::test {
namespace {

struct TinyModels {
  Checkpoint checkpoint = load_llama(golden_path("tiny_llama"));
  Checkpoint amateur_checkpoint = load_llama(golden_path("tiny_amateur"));
  Execution<Host> execution{1};
  Llama<> llama{checkpoint.config, checkpoint.weights, {.max_context = 128, .sequences = 4}, execution};
  Llama<> amateur{
      amateur_checkpoint.config, amateur_checkpoint.weights, {.max_context = 128, .sequences = 4}, execution};
};

}  // namespace

TEST_CASE("Tiny LLaMA: every mode of generation") {
  TinyModels models;
  compare_generation("tiny_llama", models.llama, models.amateur);
}

TEST_CASE("Tiny LLaMA: every mode of scoring") {
  TinyModels models;
  compare_scoring("tiny_llama", models.llama);
}

TEST_CASE("Tiny LLaMA: beam search is that of transformers") {
  TinyModels models;
  compare_beams("tiny_llama", models.llama);
}

TEST_CASE("Tiny LLaMA: DoLa is that of transformers 4.49") {
  TinyModels models;
  compare_dola_of_transformers("tiny_llama", models.llama);
}

}  // namespace activation_trace::test
