// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tokenizer/stream_decoder.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

using namespace activation_trace;

// However bytes are cut, the stream emits whole characters, and together what replace_ill_formed makes of them.
// The first byte says how they are cut.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  Utf8Stream stream;
  std::string all;
  unsigned random = data[0];
  for (std::size_t i = 0; i < text.size();) {
    random = random * 1664525u + 1013904223u;
    const std::size_t step = 1 + (random >> 24) % 6;
    const std::string part = stream.push(text.substr(i, step));
    if (!is_valid_utf8(part)) std::abort();
    all += part;
    i += step;
  }
  all += stream.finish();
  if (all != replace_ill_formed(text)) std::abort();
  if (is_valid_utf8(text) && all != text) std::abort();
  return 0;
}
