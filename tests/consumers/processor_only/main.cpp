// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "activation_trace/processors/entropy_sharpness.hpp"

int main() {
  // processors/README.md 7: the identity as LM head makes the hidden states the logits of the example.
  const std::vector<float> hidden{1, 0, -1, 2, 1, 3, -1, 0, 1, 0, -1, -2};
  const std::vector<float> lm_head{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
  std::vector<float> logits{2.0f, 1.5f, -3.0f, 1.0f};

  activation_trace::EntropySharpnessProcessor processor({.alpha = 0.5f});
  processor.observe_context(activation_trace::MatrixView<const float>(hidden.data(), {3, 4}),
                            activation_trace::MatrixView<const float>(lm_head.data(), {4, 4}));
  processor.process(std::span<float>(logits));
  const bool ok = std::abs(logits[0] + 1.2329826432f) < 1e-5f && std::abs(logits[1] + 1.3669734793f) < 1e-5f &&
                  std::isinf(logits[2]) && std::abs(logits[3] + 1.9042052209f) < 1e-5f;
  return ok ? 0 : 1;
}
