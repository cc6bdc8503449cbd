// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// The processor alone, on arrays: no model, no file, no tokenizer.
#include <cstdio>
#include <vector>

#include "activation_trace/processors/entropy_sharpness.hpp"

namespace at = activation_trace;

int main() {
  // Hidden states of a prompt of three positions, d = 2, and the LM head of a vocabulary of four tokens.
  std::vector<float> hidden{0, 2, 3, 0, 0, -2};
  std::vector<float> lm_head{0, 0, 1, 0, 0.5f, 0.5f, 0, 1};

  at::EntropySharpnessProcessor processor({.alpha = 1.0f, .filter = {.relative_top = 0.1f}});
  processor.observe_context(at::as_matrix(std::span(hidden), 3, 2), at::as_matrix(std::span(lm_head), 4, 2));

  std::vector<float> logits{2.0f, 1.5f, -3.0f, 1.0f};  // of the model's next token
  const at::SharpnessRecord& record = processor.process(logits);

  std::puts("token  log-prob  entropy   score");
  for (const at::SharpnessCandidate& c : record.kept)
    std::printf("%5d  %8.3f  %7.3f  %6.3f\n", c.id, static_cast<double>(c.log_prob), static_cast<double>(c.entropy),
                static_cast<double>(c.score));
  std::printf("by probability token %d, by sharpness token %d\n", record.most_probable, record.best);
}
