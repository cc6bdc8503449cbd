// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/quantized.hpp"

namespace activation_trace {
inline namespace v0 {

/// How a row of weights is stored.
enum class DType { f32, f16, bf16, q8_0, q4_0, q4_1, q4_k, q5_k, q6_k };

/// A storage type that decodes whole blocks of elements at a time.
template <class T>
concept QuantizedBlock = requires(const T& block, float* y) {
  { T::elements } -> std::convertible_to<int>;
  block.decode(y);
};

/// Elements held by one T: 1 for the scalar types, the block length for the quantised ones.
template <class T>
inline constexpr Index elements_per_unit = 1;
template <QuantizedBlock T>
inline constexpr Index elements_per_unit<T> = T::elements;

namespace detail {
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> : std::integral_constant<DType, DType::f32> {};
template <>
struct DTypeOf<Half> : std::integral_constant<DType, DType::f16> {};
template <>
struct DTypeOf<BFloat16> : std::integral_constant<DType, DType::bf16> {};
template <>
struct DTypeOf<Q8_0Block> : std::integral_constant<DType, DType::q8_0> {};
template <>
struct DTypeOf<Q4_0Block> : std::integral_constant<DType, DType::q4_0> {};
template <>
struct DTypeOf<Q4_1Block> : std::integral_constant<DType, DType::q4_1> {};
template <>
struct DTypeOf<Q4_KBlock> : std::integral_constant<DType, DType::q4_k> {};
template <>
struct DTypeOf<Q5_KBlock> : std::integral_constant<DType, DType::q5_k> {};
template <>
struct DTypeOf<Q6_KBlock> : std::integral_constant<DType, DType::q6_k> {};
}  // namespace detail

/// A C++ type that weights can be stored as.
template <class T>
concept StorageType = requires {
  detail::DTypeOf<T>::value;
};

template <StorageType T>
inline constexpr DType dtype_of = detail::DTypeOf<T>::value;

/// Calls `f(std::type_identity<T>{})` with the C++ type that stores `dtype`: the one place where a run-time
/// type becomes a static one.
template <class F>
constexpr decltype(auto) visit_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32: return std::forward<F>(f)(std::type_identity<float>{});
    case DType::f16: return std::forward<F>(f)(std::type_identity<Half>{});
    case DType::bf16: return std::forward<F>(f)(std::type_identity<BFloat16>{});
    case DType::q8_0: return std::forward<F>(f)(std::type_identity<Q8_0Block>{});
    case DType::q4_0: return std::forward<F>(f)(std::type_identity<Q4_0Block>{});
    case DType::q4_1: return std::forward<F>(f)(std::type_identity<Q4_1Block>{});
    case DType::q4_k: return std::forward<F>(f)(std::type_identity<Q4_KBlock>{});
    case DType::q5_k: return std::forward<F>(f)(std::type_identity<Q5_KBlock>{});
    case DType::q6_k: return std::forward<F>(f)(std::type_identity<Q6_KBlock>{});
  }
  throw ArgumentError("visit_dtype: not a DType");
}

/// The name that GGUF and llama.cpp use.
[[nodiscard]] constexpr std::string_view name(DType dtype) {
  switch (dtype) {
    case DType::f32: return "F32";
    case DType::f16: return "F16";
    case DType::bf16: return "BF16";
    case DType::q8_0: return "Q8_0";
    case DType::q4_0: return "Q4_0";
    case DType::q4_1: return "Q4_1";
    case DType::q4_k: return "Q4_K";
    case DType::q5_k: return "Q5_K";
    case DType::q6_k: return "Q6_K";
  }
  return "?";
}

/// Elements per storage unit of `dtype`; rows are a multiple of it.
[[nodiscard]] constexpr Index block_elements(DType dtype) {
  return visit_dtype(dtype, []<class T>(std::type_identity<T>) { return elements_per_unit<T>; });
}

/// Bytes per storage unit of `dtype`.
[[nodiscard]] constexpr Index block_bytes(DType dtype) {
  return visit_dtype(dtype, []<class T>(std::type_identity<T>) { return static_cast<Index>(sizeof(T)); });
}

}  // namespace v0
}  // namespace activation_trace
