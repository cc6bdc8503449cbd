// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "activation_trace/tokenizer/load_tokenizer.hpp"

using namespace activation_trace;

// Any text is a tokenizer.json, a tokenizer_config.json or a typed error; what was read encodes and decodes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    if (text.find("added_tokens_decoder") != std::string_view::npos) {
      for (const SpecialToken& token : read_tokenizer_config(text, "tokenizer_config.json").added)
        if (token.id < 0) std::abort();
      return 0;
    }
    const Tokenizer tokenizer = read_tokenizer_json(text, "tokenizer.json");
    const auto ids = tokenizer.encode_prompt("a b  ab12 <s>\xc3\xa9\xff\n", SpecialTokens::parse);
    if (!is_valid_utf8(tokenizer.decode(ids))) std::abort();
  } catch (const FormatError&) {
  }
  return 0;
}
