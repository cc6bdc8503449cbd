// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "activation_trace/formats/llama_config.hpp"
#include "activation_trace/formats/safetensors.hpp"

using namespace activation_trace;

// Any text is one of the JSON files of a Hugging Face folder or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = detail::text_of(std::as_bytes(std::span(data, size)));
  try {
    if (text.find("weight_map") != std::string_view::npos) {
      for (const auto& [tensor, file] : parse_safetensors_index(text, "index"))
        if (file.find('/') != std::string::npos || file.starts_with("..")) std::abort();
    } else if (text.find("hidden_size") != std::string_view::npos) {
      parse_config_json(text, "config.json").config.validate();
    } else {
      for (const TokenId id : parse_generation_config_eos(text, "generation_config.json"))
        if (id < 0) std::abort();
    }
  } catch (const FormatError&) {
  }
  return 0;
}
