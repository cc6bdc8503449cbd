// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tokenizer/pretokenizer.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "activation_trace/text/nfc.hpp"

using namespace activation_trace;

// Every text, well-formed or not, is cut into pieces that are not empty and together are the text. What is normalised
// once is as it was.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto kind :
       {PreTokenizer::gpt2, PreTokenizer::smollm, PreTokenizer::llama_bpe, PreTokenizer::qwen2, PreTokenizer::tekken,
        PreTokenizer::gpt4o, PreTokenizer::deepseek_llm, PreTokenizer::deepseek_coder}) {
    std::size_t end = 0;
    pre_tokenize(kind, text, [&](std::string_view piece) {
      if (piece.empty() || piece.data() != text.data() + end) std::abort();
      end += piece.size();
    });
    if (end != text.size()) std::abort();
  }
  const std::string normalized = to_nfc(text);
  if (to_nfc(normalized) != normalized) std::abort();
  return 0;
}
