// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// A model, its tokenizer and the processor, put together by hand: composition MODEL PROMPT
#include <cstdio>
#include <exception>

#include "activation_trace/activation_trace.hpp"

namespace at = activation_trace;

int main(int argc, char** argv) try {
  if (argc != 3) return std::fputs("usage: composition MODEL PROMPT\n", stderr), 2;
  const at::Checkpoint checkpoint = at::load_llama(argv[1]);  // a .gguf file or a Hugging Face directory
  const at::Tokenizer tokenizer = at::load_tokenizer(checkpoint);

  at::Execution execution(2);
  at::Llama model(checkpoint.config, checkpoint.weights, {.max_context = 512}, execution);
  at::EntropySharpnessProcessor processor({.alpha = 0.5f, .filter = {.relative_top = 0.1f}}, execution);

  at::LayerObserver observer;  // the prompt's states at one layer become the processor's context
  observer.layers = {at::default_info_layer(checkpoint.config.layers)};
  observer.on_states = [&](at::Index, at::Index, at::MatrixView<const float> states) {
    processor.observe_context(states, model.lm_head());
  };

  std::span<const float> logits = model.forward(tokenizer.encode_prompt(argv[2]), observer);
  std::vector<float> scores(logits.size());
  at::StreamDecoder text(tokenizer);
  while (model.position() < model.max_context()) {
    scores.assign(logits.begin(), logits.end());
    const at::TokenId token = processor.process(std::span(scores)).best;
    if (tokenizer.ends_text(token)) break;
    std::fputs(text.push(token).c_str(), stdout);
    logits = model.forward(std::span(&token, 1));
  }
  std::puts(text.finish().c_str());
  return 0;
} catch (const std::exception& e) {
  return std::fprintf(stderr, "composition: %s\n", e.what()), 1;
}
