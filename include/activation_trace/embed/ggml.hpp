// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "activation_trace/error.hpp"
#include "activation_trace/formats/gguf_types.hpp"
#include "activation_trace/tensor/foreign.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

// The tensors of llama.cpp, whisper.cpp and others. Templates: ggml.h and ggml-backend.h are the caller's to include.

namespace activation_trace {
inline namespace v0 {

/// A ggml_tensor.
template <class G>
concept GgmlTensor = requires(const G& tensor) {
  tensor.data;
  tensor.type;
  tensor.ne[0];
  tensor.nb[0];
  tensor.buffer;
  tensor.view_src;
};

namespace detail {

/// What ggml calls by its rank is four extents here, the fastest first. Throws unless the host reads the tensor.
template <GgmlTensor G>
std::size_t ggml_rank(const G& tensor) {
  auto* buffer = tensor.buffer == nullptr && tensor.view_src != nullptr ? tensor.view_src->buffer : tensor.buffer;
  if (buffer != nullptr && !ggml_backend_buffer_is_host(buffer))  // without a buffer it is ggml_init's, the host's
    throw ArgumentError("ggml tensor: it is in a device's memory; ggml_backend_tensor_get copies it from there");
  if (tensor.data == nullptr) throw ArgumentError("ggml tensor: it has no data, its graph was not allocated");
  std::size_t rank = std::size(tensor.ne);
  while (rank > 1 && tensor.ne[rank - 1] == 1) --rank;
  return rank;
}

/// The elements of a ggml_type that is no block; of another kind, and no bits, for blocks.
constexpr ElementType ggml_element(std::uint32_t type) noexcept {
  switch (type) {
    case 0: return {ElementKind::floating, 32};
    case 1: return {ElementKind::floating, 16};
    case 24: return {ElementKind::signed_integer, 8};
    case 25: return {ElementKind::signed_integer, 16};
    case 26: return {ElementKind::signed_integer, 32};
    case 27: return {ElementKind::signed_integer, 64};
    case 28: return {ElementKind::floating, 64};
    case 30: return {ElementKind::bfloat, 16};
    default: return {};
  }
}

}  // namespace detail

/// A host matrix of ggml's, [ne[1], ne[0]], in any of the types that are read here, such as an LM head. The memory is
/// ggml's. Throws ArgumentError for a device's memory, a tensor without data or another type, and ShapeError for one of
/// more dimensions, elements that are strided or rows that overlap.
template <GgmlTensor G>
[[nodiscard]] StoredMatrix<> as_stored(const G& tensor) {
  if (detail::ggml_rank(tensor) > 2) throw ShapeError("ggml tensor: expected a matrix, got more dimensions");
  const auto* type = detail::find_gguf_tensor_type(static_cast<std::uint32_t>(tensor.type));
  const std::optional<DType> dtype = type != nullptr ? type->dtype() : std::nullopt;
  if (!dtype)
    throw ArgumentError("ggml tensor: its type " +
                        (type != nullptr ? std::string(type->name) : std::to_string(tensor.type)) +
                        " is not one of the weight types");
  if (static_cast<Index>(tensor.nb[0]) != block_bytes(*dtype))
    throw ShapeError("ggml tensor: the elements of a row must be contiguous");
  return {*dtype, static_cast<const std::byte*>(tensor.data), static_cast<Index>(tensor.ne[1]),
          static_cast<Index>(tensor.ne[0]), static_cast<Index>(tensor.nb[1])};
}

/// A host tensor of ggml's as a view, its dimensions in the order of ours: [.., ne[1], ne[0]]. T is float, Half,
/// BFloat16, double or an integer. The memory is ggml's. Errors as as_stored()'s, and ShapeError where it has more than
/// `Rank` dimensions that are not one.
template <class T, int Rank, GgmlTensor G>
requires(Rank <= 4) [[nodiscard]] TensorView<T, Rank> as_view(const G& tensor) {
  const std::size_t rank = detail::ggml_rank(tensor);
  if (rank > static_cast<std::size_t>(Rank))
    throw ShapeError("ggml tensor: expected " + std::to_string(Rank) + " dimensions, got " + std::to_string(rank));
  ForeignTensor foreign;
  foreign.name = "ggml tensor";
  foreign.data = tensor.data;
  foreign.type = detail::ggml_element(static_cast<std::uint32_t>(tensor.type));
  const std::int64_t bytes = foreign.type.bits / 8;
  std::array<std::int64_t, static_cast<std::size_t>(Rank)> sizes{};
  std::array<std::int64_t, static_cast<std::size_t>(Rank)> strides{};
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    const std::size_t theirs = sizes.size() - 1 - d;
    sizes[d] = tensor.ne[theirs];
    const auto distance = static_cast<std::int64_t>(tensor.nb[theirs]);
    if (bytes != 0 && distance % bytes != 0)
      throw ShapeError("ggml tensor: nb[" + std::to_string(theirs) + "] is no multiple of the element's size");
    strides[d] = bytes != 0 ? distance / bytes : 0;
  }
  foreign.sizes = sizes;
  foreign.strides = strides;
  return as_view<T, Rank, Host>(foreign);
}

}  // namespace v0
}  // namespace activation_trace
