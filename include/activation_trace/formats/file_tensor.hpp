// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/text/visible.hpp"

namespace activation_trace {
inline namespace v0 {

static_assert(std::endian::native == std::endian::little, "model files are little-endian and are read in place");

namespace detail {

/// a * b, or nothing if it overflows.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) noexcept {
  if (b != 0 && a > std::numeric_limits<std::uint64_t>::max() / b) return std::nullopt;
  return a * b;
}

/// a + b, or nothing if it overflows.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) noexcept {
  if (a > std::numeric_limits<std::uint64_t>::max() - b) return std::nullopt;
  return a + b;
}

/// The least multiple of a power of two that is not below `value`, or nothing if it overflows: tested before
/// rounding, because the rounding itself wraps to 0.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_round_up(std::uint64_t value,
                                                                      std::uint64_t alignment) noexcept {
  const auto sum = checked_add(value, alignment - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(alignment - 1);
}

/// The product of the extents, or nothing if it does not fit into Index. An extent of 0 does not hide an
/// overflow of the others.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_elements(std::span<const std::uint64_t> extents) noexcept {
  std::uint64_t product = 1;
  bool empty = false;
  for (const std::uint64_t extent : extents) {
    empty = empty || extent == 0;
    const auto next = checked_multiply(product, extent == 0 ? 1 : extent);
    if (!next || *next > static_cast<std::uint64_t>(std::numeric_limits<Index>::max())) return std::nullopt;
    product = *next;
  }
  return empty ? 0 : product;
}

}  // namespace detail

/// One tensor of a model file: what GgufFile and SafetensorsFile hand out. The bytes have been checked to lie
/// in the file and to be as many as type and shape demand; they need not be aligned.
struct FileTensor {
  std::string name;                  ///< as the file has it
  std::string file;                  ///< that holds it: its path, for messages
  std::string_view type;             ///< the format's name of the element type
  std::optional<DType> dtype;        ///< nothing if the type can be skipped over but not read
  std::vector<Index> shape;          ///< outermost first, as in Hugging Face: a matrix is [rows, cols]
  std::span<const std::byte> bytes;  ///< row-major
  std::uint64_t offset = 0;          ///< of the bytes in the file
};

namespace detail {

[[nodiscard]] inline std::string to_string(std::span<const Index> shape) {
  std::string result = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) result += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return result + "]";
}

/// The tensor of that name in any of the files, GGUF or safetensors, or null.
[[nodiscard]] inline const FileTensor* find_tensor(const auto& files, std::string_view name) {
  for (const auto& file : files)
    if (const FileTensor* found = file.find_tensor(name)) return found;
  return nullptr;
}

/// The same, or the tensor that it is as a part of a larger model, whose name begins with one of `roots` in place of
/// "model."; empty ones count for nothing.
[[nodiscard]] inline const FileTensor* find_tensor(const auto& files, std::string_view name,
                                                   std::span<const std::string_view> roots) {
  if (const FileTensor* found = find_tensor(files, name)) return found;
  constexpr std::string_view usual = "model.";
  if (!name.starts_with(usual)) return nullptr;
  for (const std::string_view root : roots) {
    if (root.empty()) continue;
    const std::string other = std::string(root) + std::string(name.substr(usual.size()));
    if (const FileTensor* found = find_tensor(files, other)) return found;
  }
  return nullptr;
}

[[nodiscard]] DType readable_dtype(const FileTensor& tensor, const std::string& file);

/// The tensor as a [rows, cols] matrix that views the file. Throws FormatError for another shape or type.
[[nodiscard]] StoredMatrix<> matrix_of(const FileTensor& tensor, Index rows, Index cols, const std::string& file);

/// The tensor's `size` elements widened to float. Throws FormatError for another shape or type.
[[nodiscard]] std::vector<float> floats_of(const FileTensor& tensor, Index size, const std::string& file);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE DType readable_dtype(const FileTensor& tensor, const std::string& file) {
  if (tensor.dtype) return *tensor.dtype;
  std::string readable;
  for (const DType dtype : all_dtypes)
    readable += (readable.empty() ? "" : ", ") + std::string(activation_trace::name(dtype));
  throw FormatError(file, tensor.offset,
                    "tensor " + printable(tensor.name) + " has type " + std::string(tensor.type) +
                        ", which is not supported for weights; expected one of " + readable);
}

ACTIVATION_TRACE_COMPILED_INLINE StoredMatrix<> matrix_of(const FileTensor& tensor, Index rows, Index cols,
                                                          const std::string& file) {
  if (tensor.shape != std::vector<Index>{rows, cols})
    throw FormatError(file, tensor.offset,
                      "tensor " + printable(tensor.name) + " has shape " + to_string(tensor.shape) + ", expected " +
                          to_string(std::vector<Index>{rows, cols}));
  return {readable_dtype(tensor, file), tensor.bytes.data(), rows, cols};
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<float> floats_of(const FileTensor& tensor, Index size,
                                                              const std::string& file) {
  if (tensor.shape != std::vector<Index>{size})
    throw FormatError(file, tensor.offset,
                      "tensor " + printable(tensor.name) + " has shape " + to_string(tensor.shape) + ", expected [" +
                          std::to_string(size) + "]");
  std::vector<float> values(static_cast<std::size_t>(size));
  StoredMatrix(readable_dtype(tensor, file), tensor.bytes.data(), 1, size).decode_row(0, values);
  return values;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
