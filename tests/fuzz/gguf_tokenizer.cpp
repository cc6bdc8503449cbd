// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>

#include "activation_trace/tokenizer/tokenizer_gguf.hpp"

using namespace activation_trace;

// Any bytes are a GGUF file with a tokenizer or a typed error; what was read encodes and decodes, and knows its ids.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const Tokenizer tokenizer = read_tokenizer(GgufFile::parse(std::as_bytes(std::span(data, size)), "input"));
    for (const auto special : {SpecialTokens::parse, SpecialTokens::as_text}) {
      const auto ids = tokenizer.encode_prompt("a b  ab12 <s><|im_end|>\xc3\xa9\xff\n", special);
      for (const TokenId id : ids)
        if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
      if (!is_valid_utf8(tokenizer.decode(ids, ControlTokens::show))) std::abort();
    }
    std::size_t bytes = 0;
    for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) bytes += tokenizer.piece(id).size();
    if (bytes > 4 * size + 1024) std::abort();
    for (const TokenId id : tokenizer.end_tokens())
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
  } catch (const FormatError&) {
  }
  return 0;
}
