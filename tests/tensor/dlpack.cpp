// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/tensor/dlpack.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "activation_trace/tensor/buffer.hpp"
#include "support/dlpack.hpp"

using namespace activation_trace;

namespace {

/// A DLTensor with its shape and strides.
struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
  DLTensor dl{};

  Tensor(void* data, std::vector<std::int64_t> shape_, std::vector<std::int64_t> strides_ = {},
         DLDataType type = {kDLFloat, 32, 1}, DLDevice device = {kDLCPU, 0})
      : shape(std::move(shape_)), strides(std::move(strides_)) {
    dl.data = data;
    dl.device = device;
    dl.ndim = static_cast<int>(shape.size());
    dl.dtype = type;
    dl.shape = shape.data();
    dl.strides = strides.empty() ? nullptr : strides.data();
  }
};

}  // namespace

TEST_CASE("a view of a DLTensor has its elements") {
  std::vector<float> data{0, 1, 2, 3, 4, 5};
  const Tensor compact(data.data(), {2, 3});
  const MatrixView<float> m = as_view<float, 2>(compact.dl);
  CHECK(m(1, 2) == 5);
  m(0, 0) = 9;
  CHECK(data[0] == 9);
  const Tensor transposed(data.data(), {3, 2}, {1, 3});
  CHECK(as_view<const float, 2>(transposed.dl)(2, 1) == 5);
  const Tensor backwards(data.data() + 5, {6}, {-1});
  CHECK(as_view<const float, 1>(backwards.dl)[5] == 9);
  Tensor behind(data.data(), {2}, {2});
  behind.dl.byte_offset = 4;
  CHECK(as_view<const float, 1>(behind.dl)[1] == 3);
  const Tensor empty(nullptr, {0, 3});
  CHECK(as_view<const float, 2>(empty.dl).extent(1) == 3);
}

TEST_CASE("elements are of one type, and every one that both sides have is told from the others") {
  std::vector<std::byte> data(64);
  const auto is = [&]<class T>(DLDataType type, std::type_identity<T>) {
    const Tensor tensor(data.data(), {2, 2}, {}, type);
    const auto accepts = [&]<class U>(std::type_identity<U>) {
      try {
        (void)(as_view<const U, 2>(tensor.dl));
        return true;
      } catch (const ArgumentError&) {
        return false;
      }
    };
    CHECK(accepts(std::type_identity<T>{}));
    int accepted = 0;
    const auto count = [&]<class... U>(TypeList<U...>) { ((accepted += accepts(std::type_identity<U>{})), ...); };
    count(TypeList<float, double, Half, BFloat16, std::int8_t, std::uint8_t, std::int16_t, std::uint16_t, std::int32_t,
                   std::uint32_t, std::int64_t, std::uint64_t>{});
    CHECK(accepted == 1);
  };
  is({kDLFloat, 32, 1}, std::type_identity<float>{});
  is({kDLFloat, 64, 1}, std::type_identity<double>{});
  is({kDLFloat, 16, 1}, std::type_identity<Half>{});
  is({kDLBfloat, 16, 1}, std::type_identity<BFloat16>{});
  is({kDLInt, 32, 1}, std::type_identity<std::int32_t>{});
  is({kDLInt, 64, 1}, std::type_identity<std::int64_t>{});
  is({kDLUInt, 8, 1}, std::type_identity<std::uint8_t>{});
}

TEST_CASE("a stored matrix of a DLTensor: three types, rows of any distance") {
  std::vector<BFloat16> data;
  for (int i = 0; i < 12; ++i) data.emplace_back(static_cast<float>(i));
  const Tensor tensor(data.data() + 1, {3, 2}, {4, 1}, {kDLBfloat, 16, 1});
  const StoredMatrix<> m = as_stored(tensor.dl);
  CHECK(m.dtype() == DType::bf16);
  std::vector<float> row(2);
  m.decode_row(2, row);
  CHECK(row == std::vector<float>{9, 10});
  std::vector<float> floats(6);
  CHECK(as_stored(Tensor(floats.data(), {2, 3}).dl).row_bytes() == 12);
  CHECK(as_stored(Tensor(floats.data(), {1, 3}, {0, 1}).dl).rows() == 1);
  CHECK(as_stored(Tensor(floats.data(), {2, 3}, {}, {kDLFloat, 16, 1}).dl).dtype() == DType::f16);
  CHECK_THROWS_WITH_AS((void)as_stored(Tensor(floats.data(), {3, 2}, {1, 3}).dl),
                       "DLTensor: columns must be contiguous", ShapeError);
  CHECK_THROWS_WITH_AS((void)as_stored(Tensor(floats.data(), {3, 2}, {1, 1}).dl),
                       "DLTensor: rows must not overlap or run backwards", ShapeError);
  CHECK_THROWS_WITH_AS((void)as_stored(Tensor(floats.data(), {3, 1}, {INT64_MAX / 2, 1}).dl),
                       "DLTensor: the distance of its rows overflows", ShapeError);
  CHECK_THROWS_WITH_AS((void)as_stored(Tensor(floats.data(), {2, 3}, {}, {kDLInt, 32, 1}).dl),
                       "DLTensor: expected elements of float32, float16 or bfloat16, got int32", ArgumentError);
}

TEST_CASE("a device's memory is a view of Cuda, and of nothing else") {
  std::vector<float> data(6);
  const auto on = [&](DLDevice device) { return Tensor(data.data(), {2, 3}, {}, {kDLFloat, 32, 1}, device); };
  const Tensor device = on({kDLCUDA, 1});
  const MatrixView<const float, Cuda> view = as_view<const float, 2, Cuda>(device.dl);
  CHECK(view.data() == data.data());
  CHECK(as_stored<Cuda>(device.dl).row_bytes() == 12);
  CHECK_THROWS_WITH_AS((void)(as_view<const float, 2>(device.dl)),
                       "DLTensor: expected host memory, got another device's", ArgumentError);
  CHECK_THROWS_AS((void)as_stored(device.dl), ArgumentError);
  CHECK_THROWS_WITH_AS((void)(as_view<const float, 2, Cuda>(on({kDLCPU, 0}).dl)),
                       "DLTensor: expected CUDA memory, got another device's", ArgumentError);
  CHECK_THROWS_AS((void)(as_view<const float, 2>(on({kDLROCM, 0}).dl)), ArgumentError);
  CHECK_THROWS_AS((void)(as_view<const float, 2, Cuda>(on({kDLROCM, 0}).dl)), ArgumentError);
  CHECK(as_view<const float, 2>(on({kDLCUDAHost, 0}).dl).size() == 6);
  CHECK(as_view<const float, 2>(on({kDLCUDAManaged, 0}).dl).size() == 6);
  CHECK(as_view<const float, 2, Cuda>(on({kDLCUDAManaged, 0}).dl).size() == 6);
}

TEST_CASE("what does not fit is refused by name") {
  std::vector<float> data(6);
  const Tensor tensor(data.data(), {2, 3});
  CHECK_THROWS_WITH_AS((void)(as_view<const float, 1>(tensor.dl)), "DLTensor: expected 1 dimensions, got 2",
                       ShapeError);
  CHECK_THROWS_WITH_AS((void)(as_view<const double, 2>(tensor.dl)),
                       "DLTensor: expected elements of float64, got float32", ArgumentError);
  const Tensor lanes(data.data(), {2, 3}, {}, {kDLFloat, 32, 2});
  CHECK_THROWS_WITH_AS((void)(as_view<const float, 2>(lanes.dl)),
                       "DLTensor: expected elements of float32, got another kind, of 64 bits", ArgumentError);
  Tensor odd(data.data(), {2});
  odd.dl.byte_offset = 2;
  CHECK_THROWS_WITH_AS((void)(as_view<const float, 1>(odd.dl)), "DLTensor: its data is not aligned to 4 bytes",
                       ArgumentError);
  CHECK_THROWS_AS((void)(as_view<const float, 2>(Tensor(nullptr, {2, 3}).dl)), ShapeError);
  CHECK_THROWS_AS((void)(as_view<const float, 2>(Tensor(data.data(), {2, -3}).dl)), ShapeError);
}

TEST_CASE_TEMPLATE("a view becomes a managed tensor, whose deleter frees what it was given to keep", M, DLManagedTensor,
                   DLManagedTensorVersioned) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{0, 1, 2, 3, 4, 5});
  const std::weak_ptr<std::vector<float>> alive = owner;
  const MatrixView<float> view = as_matrix(std::span<float>(*owner), 2, 3).transposed();
  M* managed = as_dlpack<M>(view, std::move(owner)).release();
  const DLTensor& dl = managed->dl_tensor;
  CHECK(dl.data == view.data());
  CHECK(dl.device.device_type == kDLCPU);
  CHECK(dl.device.device_id == 0);
  REQUIRE(dl.ndim == 2);
  CHECK(dl.dtype.code == kDLFloat);
  CHECK(dl.dtype.bits == 32);
  CHECK(dl.dtype.lanes == 1);
  CHECK(std::vector<std::int64_t>(dl.shape, dl.shape + 2) == std::vector<std::int64_t>{3, 2});
  CHECK(std::vector<std::int64_t>(dl.strides, dl.strides + 2) == std::vector<std::int64_t>{1, 3});
  CHECK(dl.byte_offset == 0);
  CHECK(as_view<const float, 2>(*managed)(2, 1) == 5);
  CHECK(!alive.expired());
  managed->deleter(managed);
  CHECK(alive.expired());
}

TEST_CASE_TEMPLATE("a buffer moves into its managed tensor", M, DLManagedTensor, DLManagedTensorVersioned) {
  Buffer<Half> buffer(6);
  const void* data = buffer.data();
  const auto managed = as_dlpack<M>(buffer.matrix(2, 3), std::move(buffer));
  CHECK(buffer.size() == 0);
  CHECK(managed->dl_tensor.data == data);
  CHECK(as_stored(*managed).dtype() == DType::f16);
  const auto nothing = as_dlpack<M>(MatrixView<BFloat16>());
  CHECK(nothing->dl_tensor.data == nullptr);
  CHECK(nothing->dl_tensor.dtype.code == kDLBfloat);
}

TEST_CASE("only a versioned tensor says that it is read-only, or of another version") {
  const std::vector<float> data(6);
  const auto constant = as_dlpack<DLManagedTensorVersioned>(VectorView<const float>(data));
  CHECK(constant->version.major == 1);
  CHECK(constant->flags == 1);
  CHECK(as_view<const float, 1>(*constant).data() == data.data());
  CHECK_THROWS_WITH_AS((void)(as_view<float, 1>(*constant)),
                       "DLTensor: it is read-only, which a view of const elements alone keeps to", ArgumentError);
  std::vector<float> more(6);
  const auto writable = as_dlpack<DLManagedTensorVersioned>(VectorView<float>(more));
  CHECK(writable->flags == 0);
  CHECK(as_view<float, 1>(*writable).data() == more.data());
  writable->version.major = 2;
  CHECK_THROWS_WITH_AS((void)(as_view<float, 1>(*writable)), "DLManagedTensorVersioned: expected version 1, got 2",
                       ArgumentError);
}

TEST_CASE("a view of device memory becomes a tensor of that device") {
  float element = 0;  // never read
  const MatrixView<float, Cuda> view(&element, {3, 2}, {2, 1});
  const auto managed = as_dlpack<DLManagedTensor>(view, nullptr, 3);
  CHECK(managed->dl_tensor.device.device_type == kDLCUDA);
  CHECK(managed->dl_tensor.device.device_id == 3);
  CHECK(as_view<float, 2, Cuda>(*managed).data() == &element);
}
