// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "activation_trace/tokenizer/tokenizer_model.hpp"

using namespace activation_trace;

// Any bytes are a SentencePiece model or a typed error; what was read encodes and decodes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const Tokenizer tokenizer = read_tokenizer_model(bytes, "tokenizer.model");
    const auto ids = tokenizer.encode_prompt("a b  ab12 <s>\xc3\xa9\xff\n", SpecialTokens::parse);
    if (!is_valid_utf8(tokenizer.decode(ids))) std::abort();
  } catch (const FormatError&) {
  }
  return 0;
}
