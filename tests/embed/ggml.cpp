// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include "activation_trace/embed/ggml.hpp"
//
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

using namespace activation_trace;

namespace {

struct FreeContext {
  void operator()(ggml_context* context) const { ggml_free(context); }
};
using Context = std::unique_ptr<ggml_context, FreeContext>;

Context context_of(std::size_t bytes) { return Context(ggml_init({bytes, nullptr, false})); }

/// [rows, cols] with elements 0, 1, .. in ggml's `type`, which ggml itself writes.
ggml_tensor* counted(ggml_context* context, ggml_type type, std::int64_t rows, std::int64_t cols) {
  ggml_tensor* tensor = ggml_new_tensor_2d(context, type, cols, rows);
  std::vector<float> values(static_cast<std::size_t>(rows * cols));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 8.0f;
  ggml_quantize_chunk(type, values.data(), tensor->data, 0, rows, cols, nullptr);
  return tensor;
}

}  // namespace

TEST_CASE("a ggml matrix as a stored matrix decodes to what ggml decodes it to, in every type of ours") {
  int types = 0;
  for (int t = 0; t < GGML_TYPE_COUNT; ++t) {
    const auto type = static_cast<ggml_type>(t);
    const auto* known = activation_trace::detail::find_gguf_tensor_type(static_cast<std::uint32_t>(t));
    if (known == nullptr || !known->dtype() || ggml_quantize_requires_imatrix(type)) continue;
    CAPTURE(std::string(known->name));
    const Context context = context_of(1u << 20);
    const ggml_tensor* tensor = counted(context.get(), type, 3, 512);
    const StoredMatrix<> matrix = as_stored(*tensor);
    CHECK(matrix.rows() == 3);
    CHECK(matrix.cols() == 512);
    std::vector<float> ours(512);
    std::vector<float> theirs(512);
    for (Index r = 0; r < 3; ++r) {
      matrix.decode_row(r, ours);
      const std::byte* row = static_cast<const std::byte*>(tensor->data) + static_cast<std::size_t>(r) * tensor->nb[1];
      if (type == GGML_TYPE_F32)
        std::memcpy(theirs.data(), row, sizeof(float) * 512);
      else
        ggml_get_type_traits(type)->to_float(row, theirs.data(), 512);
      CHECK(ours == theirs);
    }
    ++types;
  }
  CHECK(types == static_cast<int>(WeightTypes::size));
}

TEST_CASE("a ggml tensor as a view, its dimensions the slowest first, views of it too") {
  const Context context = context_of(1u << 20);
  ggml_tensor* tensor = counted(context.get(), GGML_TYPE_F32, 4, 6);
  const MatrixView<const float> view = as_view<const float, 2>(*tensor);
  CHECK(view.extent(0) == 4);
  CHECK(view.extent(1) == 6);
  CHECK(view(3, 5) == 23.0f / 8.0f);
  CHECK(as_view<const float, 3>(*tensor)(0, 3, 5) == 23.0f / 8.0f);
  const ggml_tensor* part = ggml_view_2d(context.get(), tensor, 3, 2, tensor->nb[1], tensor->nb[1] + 4);
  CHECK(as_view<const float, 2>(*part)(1, 2) == 15.0f / 8.0f);
  CHECK(as_stored(*part).row_bytes() == 24);
  const ggml_tensor* transposed = ggml_transpose(context.get(), tensor);
  CHECK(as_view<const float, 2>(*transposed)(5, 3) == 23.0f / 8.0f);
  CHECK_THROWS_WITH_AS((void)as_stored(*transposed), "ggml tensor: the elements of a row must be contiguous",
                       ShapeError);
  as_view<float, 2> (*tensor)(0, 0) = 5;
  CHECK(*static_cast<const float*>(tensor->data) == 5);
}

TEST_CASE("a ggml tensor that cannot be read here is refused by name") {
  const Context context = context_of(1u << 20);
  CHECK_THROWS_WITH_AS((void)as_stored(*ggml_new_tensor_2d(context.get(), GGML_TYPE_I32, 4, 2)),
                       "ggml tensor: its type I32 is not one of the weight types", ArgumentError);
  CHECK_THROWS_WITH_AS((void)as_stored(*ggml_new_tensor_3d(context.get(), GGML_TYPE_F32, 4, 2, 2)),
                       "ggml tensor: expected a matrix, got more dimensions", ShapeError);
  CHECK_THROWS_WITH_AS((void)(as_view<float, 1>(*ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, 4, 2))),
                       "ggml tensor: expected 1 dimensions, got 2", ShapeError);
  CHECK_THROWS_WITH_AS((void)(as_view<float, 2>(*ggml_new_tensor_2d(context.get(), GGML_TYPE_Q8_0, 32, 2))),
                       "ggml tensor: expected elements of float32, got another kind", ArgumentError);
  const Context nothing(ggml_init({1u << 16, nullptr, true}));
  const ggml_tensor* bare = ggml_new_tensor_2d(nothing.get(), GGML_TYPE_F32, 4, 2);
  CHECK_THROWS_WITH_AS((void)as_stored(*bare), "ggml tensor: it has no data, its graph was not allocated",
                       ArgumentError);
}

TEST_CASE("a ggml tensor in a backend's buffer is read where that is the host's, and in no other") {
  const Context nothing(ggml_init({1u << 16, nullptr, true}));
  ggml_tensor* tensor = ggml_new_tensor_2d(nothing.get(), GGML_TYPE_Q4_0, 256, 64);
  const auto allocate = [&](ggml_backend_buffer_type_t type) {
    tensor->data = nullptr;
    tensor->buffer = nullptr;
    return std::unique_ptr<ggml_backend_buffer, decltype(&ggml_backend_buffer_free)>(
        ggml_backend_alloc_ctx_tensors_from_buft(nothing.get(), type), ggml_backend_buffer_free);
  };
  {
    const auto buffer = allocate(ggml_backend_cpu_buffer_type());
    CHECK(as_stored(*tensor).data() == tensor->data);
  }
  // The CPU's buffers of repacked weights, where it has some, are no host memory: their bytes are not those of the
  // type.
  ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  REQUIRE((cpu != nullptr));
  const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu), "ggml_backend_dev_get_extra_bufts"));
  REQUIRE((extra != nullptr));
  for (ggml_backend_buffer_type_t* type = extra(cpu); type != nullptr && *type != nullptr; ++type) {
    const auto buffer = allocate(*type);
    if (buffer == nullptr || ggml_backend_buft_is_host(*type)) continue;
    MESSAGE(std::string(ggml_backend_buft_name(*type)));
    CHECK_THROWS_WITH_AS((void)as_stored(*tensor),
                         "ggml tensor: it is in a device's memory; ggml_backend_tensor_get copies it from there",
                         ArgumentError);
  }
}
