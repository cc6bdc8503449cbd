// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/quantized.hpp"

namespace activation_trace {
inline namespace v0 {

/// Types in an order.
template <class... T>
struct TypeList {
  static constexpr std::size_t size = sizeof...(T);  ///< their number
};

/// How a row of weights is stored: the place of its type in WeightTypes, which is the one list of them. What depends on
/// a type (names, sizes, kernels, what files hold) is looked up by it; ops/README.md 4 says how one is added.
enum class DType { f32, f16, bf16, q8_0, q4_0, q4_1, q4_k, q5_k, q6_k, q5_0, q5_1, q2_k, q3_k, iq4_nl, iq4_xs };
/// The storage types, in the order of DType's enumerators.
using WeightTypes = TypeList<float, Half, BFloat16, Q8_0Block, Q4_0Block, Q4_1Block, Q4_KBlock, Q5_KBlock, Q6_KBlock,
                             Q5_0Block, Q5_1Block, Q2_KBlock, Q3_KBlock, IQ4_NLBlock, IQ4_XSBlock>;

/// A storage type that decodes whole blocks of elements at a time.
template <class T>
concept QuantizedBlock = requires(const T& block, float* y) {
  { T::elements } -> std::convertible_to<int>;
  block.decode(y);
};

/// Elements held by one T: 1 for the scalar types, the block length for the quantised ones.
template <class T>
inline constexpr Index elements_per_unit = 1;
/// The length of the block.
template <QuantizedBlock T>
inline constexpr Index elements_per_unit<T> = T::elements;

namespace detail {

/// The name that GGUF and safetensors use.
template <class T>
inline constexpr std::string_view stored_name = T::name;
template <>
inline constexpr std::string_view stored_name<float> = "F32";

/// The place of T among All, or their number.
template <class T, class... All>
constexpr std::size_t index_in(TypeList<All...>) noexcept {
  std::size_t index = 0;
  static_cast<void>(((std::is_same_v<T, All> || (++index, false)) || ...));
  return index;
}

/// What is known of a storage type without the type.
struct StoredForm {
  std::string_view name;
  Index elements;  ///< per unit
  Index bytes;     ///< per unit
};

template <class... T>
constexpr std::array<StoredForm, sizeof...(T)> stored_forms(TypeList<T...>) noexcept {
  return {StoredForm{stored_name<T>, elements_per_unit<T>, static_cast<Index>(sizeof(T))}...};
}
inline constexpr auto all_stored_forms = stored_forms(WeightTypes{});

/// The place of `dtype` in WeightTypes. Throws ArgumentError for a number that is none.
constexpr std::size_t index_of(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  if (index >= WeightTypes::size) throw ArgumentError("DType: not a weight type");
  return index;
}

template <class F, class T, class... Rest>
constexpr decltype(auto) visit_type(TypeList<T, Rest...>, std::size_t index, F&& f) {
  if constexpr (sizeof...(Rest) > 0)
    if (index != 0) return visit_type(TypeList<Rest...>{}, index - 1, std::forward<F>(f));
  return std::forward<F>(f)(std::type_identity<T>{});
}

}  // namespace detail

/// A C++ type that weights can be stored as.
template <class T>
concept StorageType = detail::index_in<T>(WeightTypes{})
< WeightTypes::size;

/// The DType that is stored as T.
template <StorageType T>
inline constexpr DType dtype_of = static_cast<DType>(detail::index_in<T>(WeightTypes{}));

/// Every weight type, in the order of the list.
inline constexpr auto all_dtypes = [] {
  std::array<DType, WeightTypes::size> all{};
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<DType>(i);
  return all;
}();

/// Calls `f(std::type_identity<T>{})` with the C++ type that stores `dtype`: how a run-time type becomes a static one
/// outside the kernels, whose table (ops/kernels/table.inl) is filled from the same list.
template <class F>
constexpr decltype(auto) visit_dtype(DType dtype, F&& f) {
  return detail::visit_type(WeightTypes{}, detail::index_of(dtype), std::forward<F>(f));
}

/// The name that GGUF and llama.cpp use, and safetensors for what it knows.
[[nodiscard]] constexpr std::string_view name(DType dtype) {
  return detail::all_stored_forms[detail::index_of(dtype)].name;
}

/// The weight type of that name, or nothing.
[[nodiscard]] constexpr std::optional<DType> find_dtype(std::string_view name) noexcept {
  for (std::size_t i = 0; i < WeightTypes::size; ++i)
    if (detail::all_stored_forms[i].name == name) return static_cast<DType>(i);
  return std::nullopt;
}

/// Elements per storage unit of `dtype`; rows are a multiple of it.
[[nodiscard]] constexpr Index block_elements(DType dtype) {
  return detail::all_stored_forms[detail::index_of(dtype)].elements;
}

/// Bytes per storage unit of `dtype`.
[[nodiscard]] constexpr Index block_bytes(DType dtype) {
  return detail::all_stored_forms[detail::index_of(dtype)].bytes;
}

}  // namespace v0
}  // namespace activation_trace
