// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "activation_trace/formats/checkpoint.hpp"

using namespace activation_trace;

// Any bytes are a GGUF file, a model in one, or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    GgufFile file = GgufFile::parse(std::as_bytes(std::span(data, size)), "input");
    std::size_t sum = 0;
    for (const FileTensor& tensor : file.tensors())  // every byte promised can be read
      for (const std::byte byte : tensor.bytes) sum += std::to_integer<std::size_t>(byte);
    for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) try {
        for (const std::string_view text :
             file.find<std::vector<std::string_view>>(key).value_or(std::vector<std::string_view>{}))
          sum += text.size();
      } catch (const FormatError&) {
      }
    try {
      sum += file.find<std::vector<float>>("tokenizer.ggml.scores").value_or(std::vector<float>{}).size();
      sum += file.find<std::vector<int>>("tokenizer.ggml.token_type").value_or(std::vector<int>{}).size();
      sum += file.find<bool>("tokenizer.ggml.add_bos_token").value_or(false) ? 1 : 0;
    } catch (const FormatError&) {
    }
    const volatile std::size_t kept = sum;  // the loops above must not be optimised away
    (void)kept;
    const Checkpoint checkpoint = detail::load_gguf_llama(std::move(file));
    std::vector<float> row(static_cast<std::size_t>(checkpoint.config.hidden));
    for (Index i = 0; i < checkpoint.weights.lm_head.rows(); ++i) checkpoint.weights.lm_head.decode_row(i, row);
  } catch (const FormatError&) {
  }
  return 0;
}
