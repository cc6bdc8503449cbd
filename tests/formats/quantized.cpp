// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/quantized.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "activation_trace/formats/safetensors.hpp"

using namespace activation_trace;

TEST_CASE("every stored type decodes to the bits that PyPI's gguf gives") {
  const SafetensorsFile golden = SafetensorsFile::open(ACTIVATION_TRACE_TEST_DATA "/golden/quantized.safetensors");
  for (const DType dtype : all_dtypes) {
    if (dtype == DType::f32) continue;  // as it is
    CAPTURE(name(dtype));
    const FileTensor* blocks = golden.find_tensor(std::string(name(dtype)) + ".blocks");
    const FileTensor* values = golden.find_tensor(std::string(name(dtype)) + ".values");
    REQUIRE(blocks != nullptr);
    REQUIRE(values != nullptr);
    REQUIRE(blocks->shape[1] == block_bytes(dtype));
    REQUIRE(values->shape[1] == block_elements(dtype));
    const Index count = values->shape[0] * values->shape[1];
    std::vector<float> ours(static_cast<std::size_t>(count));
    StoredMatrix(dtype, blocks->bytes.data(), 1, count).decode_row(0, ours);
    std::vector<float> theirs(ours.size());
    StoredMatrix(DType::f32, values->bytes.data(), 1, count).decode_row(0, theirs);
    std::size_t different = 0;
    for (std::size_t i = 0; i < ours.size(); ++i)  // the payload of a NaN is nobody's contract
      if (std::bit_cast<std::uint32_t>(ours[i]) != std::bit_cast<std::uint32_t>(theirs[i]) &&
          !(std::isnan(ours[i]) && std::isnan(theirs[i])))
        ++different;
    CHECK(different == 0);
  }
}
