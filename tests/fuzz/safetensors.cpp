// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/formats/safetensors.hpp"

#include <cstdint>

#include "support/file_builders.hpp"

using namespace activation_trace;

namespace {

void read(std::span<const std::byte> bytes) {
  try {
    const SafetensorsFile file = SafetensorsFile::parse(bytes, "input");
    std::size_t sum = 0;
    for (const FileTensor& tensor : file.tensors()) {
      for (const std::byte byte : tensor.bytes) sum += std::to_integer<std::size_t>(byte);
      if (file.find_tensor(tensor.name) != &tensor) std::abort();
    }
    const volatile std::size_t kept = sum;  // the loop above must not be optimised away
    (void)kept;
  } catch (const FormatError&) {
  }
}

}  // namespace

// Any bytes are a safetensors file or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (size < 8 || data[7] == 0) {
    read(bytes);
    return 0;
  }
  // The length in front rarely survives a mutation of the header: an impossible one is put right.
  const std::string_view text = detail::text_of(bytes);
  const std::size_t begin = text.find('{');
  const std::size_t end = text.rfind('}');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return 0;
  read(test::safetensors_bytes(std::string(text.substr(begin, end + 1 - begin)), bytes.subspan(end + 1)));
  return 0;
}
