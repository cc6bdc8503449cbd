// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <thread>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/ops/execution.hpp"
#include "parity/modes.hpp"
#include "support/real_model.hpp"

namespace activation_trace::test {
namespace {

// SmolLM2, and as its amateur the same weights.
struct RealModels {
  Checkpoint checkpoint = load_llama(real_model_or_skip());
  Execution<Host> execution{static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 8u))};
  Llama<> llama{checkpoint.config, checkpoint.weights, {.max_context = 96, .sequences = 8}, execution};
  Llama<> amateur{checkpoint.config, checkpoint.weights, {.max_context = 96, .sequences = 8}, execution};
};

}  // namespace

TEST_CASE("SmolLM2: every mode of generation") {
  RealModels models;
  compare_generation("smollm2", models.llama, models.amateur);
}

TEST_CASE("SmolLM2: every mode of scoring") {
  RealModels models;
  compare_scoring("smollm2", models.llama);
}

TEST_CASE("SmolLM2: beam search is that of transformers") {
  RealModels models;
  compare_beams("smollm2", models.llama);
}

TEST_CASE("SmolLM2: DoLa is that of transformers 4.49") {
  RealModels models;
  compare_dola_of_transformers("smollm2", models.llama);
}

}  // namespace activation_trace::test
