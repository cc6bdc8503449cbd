// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include "activation_trace/cuda/ptx.cuh"
#include "activation_trace/tensor/half.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

// Exact: every number of these types is a float.
inline __device__ float widen(float x) { return x; }
inline __device__ float widen(BFloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
using ptx::widen;
/// Whether floats are brought into T's range, by a power of two, before they are split into terms of T.
template <class T>
inline constexpr bool is_scaled = std::is_same_v<T, Half>;

/// Terms of T that are a float: two of f16 are 22 bits, three of bf16 all 24 (numbers below 2^-109 lose some). Two of
/// bf16 would be 16.
template <class T>
inline constexpr int exact_terms = is_scaled<T> ? 2 : 3;

/// The two numbers of ptx::narrow_pair().
template <class T>
__device__ float2 widen_pair(std::uint32_t pair) {
  T first, second;
  first.bits = static_cast<std::uint16_t>(pair);
  second.bits = static_cast<std::uint16_t>(pair >> 16);
  return {widen(first), widen(second)};
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
