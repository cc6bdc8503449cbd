// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>

#include "activation_trace/tensor/dtype.hpp"

namespace activation_trace {
inline namespace v0 {

/// Type of a metadata value in a GGUF file (formats/README.md 3).
enum class GgufType : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

namespace detail {

/// The name used in messages.
[[nodiscard]] constexpr std::string_view name(GgufType type) noexcept {
  constexpr std::string_view names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
  const auto i = static_cast<std::size_t>(type);
  return i < std::size(names) ? names[i] : "?";
}

/// Bytes of a value of fixed size, 0 for strings and arrays.
[[nodiscard]] constexpr std::size_t fixed_bytes(GgufType type) noexcept {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean: return 1;
    case GgufType::u16:
    case GgufType::i16: return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32: return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64: return 8;
    case GgufType::string:
    case GgufType::array: break;
  }
  return 0;
}

/// Element type of a tensor in a GGUF file.
struct GgufTensorType {
  std::uint32_t id;
  std::string_view name;
  std::uint32_t elements;  ///< per block
  std::uint32_t bytes;     ///< per block

  /// The weight type of that name; nothing: can be skipped over, not read.
  [[nodiscard]] constexpr std::optional<DType> dtype() const noexcept { return find_dtype(name); }
};

/// Every type whose size is known, by id. The gaps (4, 5, 31 to 33, 36 to 38) are types that ggml has removed.
inline constexpr GgufTensorType gguf_tensor_types[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},
};
static_assert(std::all_of(std::begin(gguf_tensor_types), std::end(gguf_tensor_types),
                          [](const GgufTensorType& type) {
                            const auto dtype = type.dtype();
                            return !dtype || (block_elements(*dtype) == Index{type.elements} &&
                                              block_bytes(*dtype) == Index{type.bytes});
                          }),
              "a weight type has the name of one of GGUF's types, but not its size");

/// The type with this id, or null.
[[nodiscard]] constexpr const GgufTensorType* find_gguf_tensor_type(std::uint32_t id) noexcept {
  const auto* found = std::find_if(std::begin(gguf_tensor_types), std::end(gguf_tensor_types),
                                   [id](const GgufTensorType& type) { return type.id == id; });
  return found == std::end(gguf_tensor_types) ? nullptr : found;
}

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
