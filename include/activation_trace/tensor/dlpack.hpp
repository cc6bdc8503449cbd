// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/tensor/foreign.hpp"
#include "activation_trace/tensor/view.hpp"

// DLPack (https://dmlc.github.io/dlpack), by which NumPy, PyTorch, JAX, CuPy, TVM and ONNX Runtime hand each other
// tensors. All is a template on the types of dlpack.h, which is the caller's to include: of version 0.6 or 1.

namespace activation_trace {
inline namespace v0 {

/// A DLTensor.
template <class D>
concept DlpackTensor = requires(const D& tensor) {
  { tensor.data } -> std::convertible_to<const void*>;
  tensor.device.device_type;
  { tensor.ndim } -> std::convertible_to<int>;
  tensor.dtype.code;
  tensor.dtype.lanes;
  { tensor.shape } -> std::convertible_to<const std::int64_t*>;
  { tensor.strides } -> std::convertible_to<const std::int64_t*>;
  tensor.byte_offset;
};

/// A DLManagedTensor or DLManagedTensorVersioned.
template <class M>
concept DlpackManaged = requires(M& managed) {
  requires DlpackTensor<std::remove_reference_t<decltype(managed.dl_tensor)>>;
  managed.manager_ctx;
  managed.deleter(&managed);
};

namespace detail {

// The numbers of dlpack.h, which do not change (its DLDeviceType and DLDataTypeCode).
enum class DlpackDevice { cpu = 1, cuda = 2, cuda_host = 3, cuda_managed = 13 };
inline constexpr ElementKind dlpack_kinds[] = {ElementKind::signed_integer, ElementKind::unsigned_integer,
                                               ElementKind::floating, ElementKind::other, ElementKind::bfloat};

template <class M>
concept DlpackVersioned = DlpackManaged<M> && requires(M& managed) {
  managed.version.major;
  managed.flags;
};

template <DlpackTensor D>
ForeignTensor foreign_of(const D& tensor) {
  const auto device = static_cast<DlpackDevice>(tensor.device.device_type);
  const auto code = static_cast<std::size_t>(tensor.dtype.code);
  const auto rank = static_cast<std::size_t>(tensor.ndim);
  ForeignTensor foreign;
  foreign.name = "DLTensor";
  if (tensor.data != nullptr) foreign.data = static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
  if (code < std::size(dlpack_kinds) && tensor.dtype.lanes == 1) foreign.type.kind = dlpack_kinds[code];
  foreign.type.bits = int{tensor.dtype.bits} * int{tensor.dtype.lanes};
  foreign.sizes = {tensor.shape, rank};
  if (tensor.strides != nullptr) foreign.strides = {tensor.strides, rank};
  foreign.on_host =
      device == DlpackDevice::cpu || device == DlpackDevice::cuda_host || device == DlpackDevice::cuda_managed;
  foreign.on_cuda = device == DlpackDevice::cuda || device == DlpackDevice::cuda_managed;
  return foreign;
}

template <DlpackManaged M>
ForeignTensor foreign_of(const M& managed) {
  if constexpr (DlpackVersioned<M>)  // of another version, what lies behind the flags may be anything
    if (managed.version.major != 1)
      throw ArgumentError("DLManagedTensorVersioned: expected version 1, got " + std::to_string(managed.version.major));
  ForeignTensor foreign = foreign_of(managed.dl_tensor);
  if constexpr (DlpackVersioned<M>) foreign.read_only = (managed.flags & 1u) != 0;
  return foreign;
}

template <class Managed, std::size_t Rank, class Owner>
struct DlpackHolder {
  Managed managed{};
  std::array<std::int64_t, Rank> shape{};
  std::array<std::int64_t, Rank> strides{};
  Owner owner;
};

template <class T, class Tensor>
void describe(Tensor& tensor) {
  constexpr ElementType type = element_type_of<T>;
  static_assert(type.kind != ElementKind::other, "as_dlpack: DLPack has no such element");
  for (std::size_t code = 0; code < std::size(dlpack_kinds); ++code)
    if (dlpack_kinds[code] == type.kind) tensor.dtype.code = static_cast<decltype(tensor.dtype.code)>(code);
  tensor.dtype.bits = static_cast<decltype(tensor.dtype.bits)>(type.bits);
  tensor.dtype.lanes = 1;
}

}  // namespace detail

/// A DLTensor, or the one within a managed tensor, as a view, as as_view(ForeignTensor) and with its errors. Memory of
/// a device is `as_view<T, Rank, Cuda>`; CUDA's managed memory is both. It stays its owner's, who must outlive the
/// view, and what its stream still writes is waited for by the caller. A managed tensor of another version than 1 is
/// refused.
template <class T, int Rank, class Space = Host, class D>
requires(DlpackTensor<D> || DlpackManaged<D>) [[nodiscard]] TensorView<T, Rank, Space> as_view(const D& tensor) {
  return as_view<T, Rank, Space>(detail::foreign_of(tensor));
}

/// The same, a matrix of f32, f16 or bf16 whose type is known at run time.
template <class Space = Host, class D>
requires(DlpackTensor<D> || DlpackManaged<D>) [[nodiscard]] StoredMatrix<Space> as_stored(const D& tensor) {
  return as_stored<Space>(detail::foreign_of(tensor));
}

/// Frees a managed tensor as its deleter says.
struct DlpackDelete {
  /// By the tensor's deleter, which may be null.
  template <DlpackManaged M>
  void operator()(M* managed) const noexcept {
    if (managed->deleter != nullptr) managed->deleter(managed);
  }
};

/// A view as a DLManagedTensor or DLManagedTensorVersioned, which `release()` hands to a capsule or another library.
/// `owner` is kept until that calls the deleter: a Buffer that is moved in, a shared_ptr, or nothing where the memory
/// outlives it anyway. `device` is the number of the CUDA device. Elements that are const need the versioned one, which
/// alone can say that it is read-only. Throws std::bad_alloc.
///
///     auto tensor = as_dlpack<DLManagedTensorVersioned>(buffer.matrix(rows, cols), std::move(buffer));
template <DlpackManaged M, class T, int Rank, class Space, class Owner = std::nullptr_t>
[[nodiscard]] std::unique_ptr<M, DlpackDelete> as_dlpack(TensorView<T, Rank, Space> view, Owner&& owner = nullptr,
                                                         int device = 0) {
  static_assert(
      !std::is_const_v<T> || detail::DlpackVersioned<M>,
      "as_dlpack: a view of const elements needs DLManagedTensorVersioned, which can say that it is read-only");
  using Holder = detail::DlpackHolder<M, static_cast<std::size_t>(Rank), std::remove_cvref_t<Owner>>;
  auto holder = std::unique_ptr<Holder>(new Holder{{}, {}, {}, std::forward<Owner>(owner)});
  for (std::size_t d = 0; d < holder->shape.size(); ++d) {
    holder->shape[d] = view.extents()[d];
    holder->strides[d] = view.strides()[d];
  }
  M& managed = holder->managed;
  auto& tensor = managed.dl_tensor;
  tensor.data = view.empty() ? nullptr : const_cast<std::remove_const_t<T>*>(view.data());
  tensor.device.device_type = static_cast<decltype(tensor.device.device_type)>(
      Space::host_accessible ? detail::DlpackDevice::cpu : detail::DlpackDevice::cuda);
  tensor.device.device_id = device;
  tensor.ndim = Rank;
  detail::describe<T>(tensor);
  tensor.shape = holder->shape.data();
  tensor.strides = holder->strides.data();
  tensor.byte_offset = 0;
  if constexpr (detail::DlpackVersioned<M>) {
    managed.version.major = 1;
    managed.version.minor = 0;
    managed.flags = std::is_const_v<T> ? 1u : 0u;
  }
  managed.manager_ctx = holder.get();
  managed.deleter = [](M* self) { delete static_cast<Holder*>(self->manager_ctx); };
  return std::unique_ptr<M, DlpackDelete>(&holder.release()->managed);
}

}  // namespace v0
}  // namespace activation_trace
