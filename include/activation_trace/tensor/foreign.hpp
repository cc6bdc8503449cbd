// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "activation_trace/error.hpp"
#include "activation_trace/tensor/dtype.hpp"
#include "activation_trace/tensor/space.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// The sort of number that an element is.
enum class ElementKind { signed_integer, unsigned_integer, floating, bfloat, other };

/// An element's sort and bits: {floating, 16} is Half's.
struct ElementType {
  ElementKind kind = ElementKind::other;                                          ///< the sort of number
  int bits = 0;                                                                   ///< of one element
  friend constexpr bool operator==(ElementType, ElementType) noexcept = default;  ///< both alike
};

namespace detail {
template <class T>
constexpr ElementType element_type_for() noexcept {
  constexpr int bits = static_cast<int>(sizeof(T)) * 8;
  if constexpr (std::is_same_v<T, BFloat16>) return {ElementKind::bfloat, bits};
  if constexpr (std::is_floating_point_v<T> || std::is_same_v<T, Half>) return {ElementKind::floating, bits};
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>)
    return {std::is_signed_v<T> ? ElementKind::signed_integer : ElementKind::unsigned_integer, bits};
  return {ElementKind::other, bits};
}

/// As NumPy and PyTorch call it.
inline std::string name(ElementType type) {
  if (type.kind == ElementKind::other)
    return type.bits == 0 ? "another kind" : "another kind, of " + std::to_string(type.bits) + " bits";
  constexpr std::string_view kinds[] = {"int", "uint", "float", "bfloat"};
  return std::string(kinds[static_cast<std::size_t>(type.kind)]) + std::to_string(type.bits);
}
}  // namespace detail

/// The ElementType of a C++ type: numbers, Half and BFloat16.
template <class T>
inline constexpr ElementType element_type_of = detail::element_type_for<std::remove_cv_t<T>>();

/// Anything with a data pointer, sizes and strides, as another library says it at run time. It owns nothing; what it
/// points to must outlive it. dlpack.hpp and torch.hpp make one of those libraries' tensors; who has a tensor of yet
/// another library fills one in.
struct ForeignTensor {
  const void* data = nullptr;             ///< the first element
  ElementType type;                       ///< of each element
  std::span<const std::int64_t> sizes;    ///< elements in each dimension
  std::span<const std::int64_t> strides;  ///< in elements, as many as sizes; none: row-major
  bool on_host = true;                    ///< the CPU reads it
  bool on_cuda = false;                   ///< a CUDA device reads it
  bool read_only = false;                 ///< gives views of const elements only
  std::string_view name = "tensor";       ///< what messages call it
};

namespace detail {

[[noreturn]] inline void refuse_foreign(const ForeignTensor& tensor, const std::string& problem) {
  throw ShapeError(std::string(tensor.name) + ": " + problem);
}

template <class Space>
void check_foreign(const ForeignTensor& tensor, std::size_t rank) {
  static_assert(std::is_same_v<Space, Host> || std::is_same_v<Space, Cuda>);
  if (!(Space::host_accessible ? tensor.on_host : tensor.on_cuda))
    throw ArgumentError(std::string(tensor.name) + ": expected " + (Space::host_accessible ? "host" : "CUDA") +
                        " memory, got another device's");
  if (tensor.sizes.size() != rank)
    refuse_foreign(tensor,
                   "expected " + std::to_string(rank) + " dimensions, got " + std::to_string(tensor.sizes.size()));
  if (!tensor.strides.empty() && tensor.strides.size() != rank)
    refuse_foreign(tensor,
                   "expected " + std::to_string(rank) + " strides, got " + std::to_string(tensor.strides.size()));
}

}  // namespace detail

/// Another library's tensor as a view of `Rank` dimensions over elements T: nothing is copied, and the memory stays its
/// owner's. Throws ArgumentError for another space or element type, memory that may not be written, or data that is not
/// aligned for T, and ShapeError for another number of dimensions.
///
///     MatrixView<const float> states = as_view<const float, 2>(tensor);
template <class T, int Rank, class Space = Host>
[[nodiscard]] TensorView<T, Rank, Space> as_view(const ForeignTensor& tensor) {
  detail::check_foreign<Space>(tensor, static_cast<std::size_t>(Rank));
  if (tensor.type != element_type_of<T>)
    throw ArgumentError(std::string(tensor.name) + ": expected elements of " + detail::name(element_type_of<T>) +
                        ", got " + detail::name(tensor.type));
  if (tensor.read_only && !std::is_const_v<T>)
    throw ArgumentError(std::string(tensor.name) + ": it is read-only, which a view of const elements alone keeps to");
  if (reinterpret_cast<std::uintptr_t>(tensor.data) % alignof(T) != 0)
    throw ArgumentError(std::string(tensor.name) + ": its data is not aligned to " + std::to_string(alignof(T)) +
                        " bytes");
  T* data = static_cast<T*>(const_cast<void*>(tensor.data));  // that it may be written was checked above
  typename TensorView<T, Rank, Space>::Extents extents{};
  typename TensorView<T, Rank, Space>::Extents strides{};
  for (std::size_t d = 0; d < extents.size(); ++d) extents[d] = static_cast<Index>(tensor.sizes[d]);
  if (tensor.strides.empty()) return {data, extents};
  for (std::size_t d = 0; d < strides.size(); ++d) strides[d] = static_cast<Index>(tensor.strides[d]);
  return {data, extents, strides};
}

/// Another library's matrix in f32, f16 or bf16, its type known at run time: what an LmHead is made of.
/// Throws ArgumentError for another space or element type, ShapeError for another number of dimensions, columns that
/// are strided or rows that overlap.
template <class Space = Host>
[[nodiscard]] StoredMatrix<Space> as_stored(const ForeignTensor& tensor) {
  detail::check_foreign<Space>(tensor, 2);
  std::optional<DType> dtype;
  if (tensor.type == element_type_of<float>) dtype = DType::f32;
  if (tensor.type == element_type_of<Half>) dtype = DType::f16;
  if (tensor.type == element_type_of<BFloat16>) dtype = DType::bf16;
  if (!dtype)
    throw ArgumentError(std::string(tensor.name) + ": expected elements of float32, float16 or bfloat16, got " +
                        detail::name(tensor.type));
  const Index rows = static_cast<Index>(tensor.sizes[0]);
  const Index cols = static_cast<Index>(tensor.sizes[1]);
  const auto* data = static_cast<const std::byte*>(tensor.data);
  const bool compact = tensor.strides.empty();
  if (!compact && cols > 1 && tensor.strides[1] != 1) detail::refuse_foreign(tensor, "columns must be contiguous");
  // Between rows that are not there, the stride is anything.
  if (compact || rows <= 1) return {*dtype, data, rows, cols};
  const Index bytes = block_bytes(*dtype);
  if (tensor.strides[0] < cols) detail::refuse_foreign(tensor, "rows must not overlap or run backwards");
  if (tensor.strides[0] > std::numeric_limits<Index>::max() / bytes)
    detail::refuse_foreign(tensor, "the distance of its rows overflows");
  return {*dtype, data, rows, cols, static_cast<Index>(tensor.strides[0]) * bytes};
}

}  // namespace v0
}  // namespace activation_trace
