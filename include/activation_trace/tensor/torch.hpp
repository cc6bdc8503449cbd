// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "activation_trace/tensor/foreign.hpp"
#include "activation_trace/tensor/view.hpp"

// libtorch's tensors, and whatever has their data pointer, sizes and strides. Templates: torch/torch.h is the caller's
// to include, and `at` is torch's own namespace there, so call this library's something else.

namespace activation_trace {
inline namespace v0 {

/// An at::Tensor, or one of torch's stable interface: what sizes() and strides() return is the tensor's own memory.
template <class D>
concept TorchTensor = requires(const D& tensor) {
  { tensor.data_ptr() } -> std::convertible_to<const void*>;
  { tensor.sizes().data() } -> std::convertible_to<const std::int64_t*>;
  { tensor.strides().data() } -> std::convertible_to<const std::int64_t*>;
  tensor.sizes().size();
  requires std::is_lvalue_reference_v<decltype(tensor.sizes())> ||
      std::is_trivially_copyable_v<decltype(tensor.sizes())>;
  { static_cast<int>(tensor.scalar_type()) } -> std::same_as<int>;
  { tensor.is_cpu() } -> std::convertible_to<bool>;
  { tensor.is_cuda() } -> std::convertible_to<bool>;
};

namespace detail {

/// The numbers of c10::ScalarType, which torch writes into files and therefore keeps (c10/core/ScalarType.h).
constexpr ElementType torch_type(int scalar_type) noexcept {
  switch (scalar_type) {
    case 0: return {ElementKind::unsigned_integer, 8};
    case 1: return {ElementKind::signed_integer, 8};
    case 2: return {ElementKind::signed_integer, 16};
    case 3: return {ElementKind::signed_integer, 32};
    case 4: return {ElementKind::signed_integer, 64};
    case 5: return {ElementKind::floating, 16};
    case 6: return {ElementKind::floating, 32};
    case 7: return {ElementKind::floating, 64};
    case 15: return {ElementKind::bfloat, 16};
    default: return {};
  }
}

template <TorchTensor D>
ForeignTensor foreign_of(const D& tensor) {
  const auto& sizes = tensor.sizes();
  const auto& strides = tensor.strides();
  ForeignTensor foreign;
  foreign.name = "torch tensor";
  foreign.data = tensor.data_ptr();
  foreign.type = torch_type(static_cast<int>(tensor.scalar_type()));
  foreign.sizes = {sizes.data(), sizes.size()};
  foreign.strides = {strides.data(), strides.size()};
  foreign.on_host = tensor.is_cpu();
  foreign.on_cuda = tensor.is_cuda();
  return foreign;
}

}  // namespace detail

/// A torch tensor as a view, as as_view(ForeignTensor) and with its errors; `as_view<T, Rank, Cuda>` of one on a
/// device. The memory is the tensor's, which must outlive the view; what its stream still writes is waited for by the
/// caller.
template <class T, int Rank, class Space = Host, TorchTensor D>
[[nodiscard]] TensorView<T, Rank, Space> as_view(const D& tensor) {
  return as_view<T, Rank, Space>(detail::foreign_of(tensor));
}

/// The same, a matrix of f32, f16 or bf16 whose type is known at run time.
template <class Space = Host, TorchTensor D>
[[nodiscard]] StoredMatrix<Space> as_stored(const D& tensor) {
  return as_stored<Space>(detail::foreign_of(tensor));
}

}  // namespace v0
}  // namespace activation_trace
