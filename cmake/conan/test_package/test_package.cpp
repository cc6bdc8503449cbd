// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/version.hpp"

int main() {
  const auto lm_head = nlohmann::json::parse("[1, 0, 0, 1]").get<std::vector<float>>();
  const std::vector<float> hidden{9, 0, 0, 0};  // position 0 is for token 0 alone
  std::vector<float> logits{1, 1};
  activation_trace::EntropySharpnessProcessor processor({.alpha = 1.0f});
  processor.observe_context(activation_trace::as_matrix(std::span(hidden), 2, 2),
                            activation_trace::as_matrix(std::span(lm_head), 2, 2));
  const activation_trace::TokenId best = processor.process(logits).best;
  std::printf("activation_trace %s: token %d\n", ACTIVATION_TRACE_VERSION_STRING, best);
  return best == 0 ? 0 : 1;
}
