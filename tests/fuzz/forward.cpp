// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/model/llama.hpp"
#include "support/no_text.hpp"

using namespace activation_trace;

// Any bytes are a GGUF file with a small model that chooses three tokens, each with finite numbers, or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Execution<Host> execution(1);
  try {
    const Checkpoint file = detail::load_gguf_llama(GgufFile::parse(std::as_bytes(std::span(data, size)), "input"));
    const Index context = std::min<Index>(8, file.config.max_context);
    Llama model(file.config, file.weights, {.max_context = context, .max_batch = 4}, execution);
    const TokenId prompt[] = {0, static_cast<TokenId>(file.config.vocab - 1)};
    for (const Mode& mode : {Mode(Activation{}), Mode(Dola{.candidate_layers = {0}}), Mode(Baseline{})}) try {
        const GenerationOptions options{.mode = mode, .max_new_tokens = 3};
        const GenerationCallbacks callbacks{.on_token = [](const GeneratedToken& token) {
          if (token.record != nullptr &&
              !(std::isfinite(token.record->chosen.log_prob) && std::isfinite(token.record->chosen.entropy)))
            std::abort();
          return Continue::yes;
        }};
        static_cast<void>(generate(model, test::NoText{}, prompt, options, callbacks));
      } catch (const Error&) {
      }
  } catch (const Error&) {
  }
  return 0;
}
