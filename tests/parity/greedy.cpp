// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "parity/continuation.hpp"
#include "parity/real_llama.hpp"

namespace activation_trace::test {

TEST_CASE("Greedy continuations of SmolLM2 are those of transformers in float32") {
  RealLlama model;
  const GoldenFile states("smollm2_states.safetensors");
  const GoldenFile golden("smollm2_decoding.safetensors");
  Comparison result;
  for (const GoldenPrompt& prompt : golden_prompts()) {
    CAPTURE(prompt.name);
    compare(model.llama, states.get<std::int32_t>(prompt.name + ".ids"), {.mode = Baseline{}},
            golden.get<std::int32_t>(prompt.name + ".greedy.tokens"), golden.get<float>(prompt.name + ".greedy.gap"),
            result, [](const GeneratedToken&) {});
  }
  std::printf("greedy: %d tokens equal, %d differ where the two best are closer than 1e-4\n", result.tokens,
              result.close_decisions);
}

}  // namespace activation_trace::test
