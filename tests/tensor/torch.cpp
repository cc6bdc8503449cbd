// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/torch.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

using namespace activation_trace;

namespace {

/// What the adaptor asks of an at::Tensor, by its names and numbers: libtorch itself is half a minute of compiling.
struct Tensor {
  enum class ScalarType : std::int8_t { Byte, Char, Short, Int, Long, Half, Float, Double, Bool = 11, BFloat16 = 15 };
  std::vector<float> storage = std::vector<float>(24);
  std::vector<std::int64_t> size{4, 6};
  std::vector<std::int64_t> stride{6, 1};
  ScalarType type = ScalarType::Float;
  bool cpu = true;
  bool cuda = false;

  [[nodiscard]] void* data_ptr() const { return const_cast<float*>(storage.data()); }
  [[nodiscard]] const std::vector<std::int64_t>& sizes() const { return size; }
  [[nodiscard]] const std::vector<std::int64_t>& strides() const { return stride; }
  [[nodiscard]] ScalarType scalar_type() const { return type; }
  [[nodiscard]] bool is_cpu() const { return cpu; }
  [[nodiscard]] bool is_cuda() const { return cuda; }
};

}  // namespace

TEST_CASE("a torch tensor as a view and as a stored matrix") {
  Tensor tensor;
  for (std::size_t i = 0; i < 24; ++i) tensor.storage[i] = static_cast<float>(i);
  const MatrixView<float> view = as_view<float, 2>(tensor);
  CHECK(view(3, 5) == 23);
  view(0, 0) = 7;
  CHECK(tensor.storage[0] == 7);
  CHECK(as_stored(tensor).row_bytes() == 24);
  tensor.size = {6, 4};
  tensor.stride = {1, 6};
  CHECK(as_view<const float, 2>(tensor)(5, 3) == 23);
  CHECK_THROWS_WITH_AS((void)as_stored(tensor), "torch tensor: columns must be contiguous", ShapeError);
  tensor.size = {3, 3};
  tensor.stride = {4, 1};
  tensor.type = Tensor::ScalarType::BFloat16;
  CHECK(as_stored(tensor).dtype() == DType::bf16);
  CHECK(as_stored(tensor).row_bytes() == 8);
}

TEST_CASE("a torch tensor of another type, shape or device is refused by name") {
  Tensor tensor;
  tensor.type = Tensor::ScalarType::Long;
  CHECK_THROWS_WITH_AS((void)(as_view<const float, 2>(tensor)), "torch tensor: expected elements of float32, got int64",
                       ArgumentError);
  CHECK(as_view<const std::int64_t, 2>(tensor).extent(1) == 6);
  tensor.type = Tensor::ScalarType::Bool;
  CHECK_THROWS_AS((void)as_stored(tensor), ArgumentError);
  tensor.type = Tensor::ScalarType::Half;
  CHECK(as_view<Half, 2>(tensor).extent(1) == 6);
  CHECK_THROWS_WITH_AS((void)(as_view<Half, 3>(tensor)), "torch tensor: expected 3 dimensions, got 2", ShapeError);
  tensor.cpu = false;
  tensor.cuda = true;
  CHECK(as_view<Half, 2, Cuda>(tensor).data() == tensor.data_ptr());
  CHECK_THROWS_WITH_AS((void)(as_view<Half, 2>(tensor)), "torch tensor: expected host memory, got another device's",
                       ArgumentError);
}
