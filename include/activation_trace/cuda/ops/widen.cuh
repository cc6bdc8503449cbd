// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "activation_trace/cuda/ptx.cuh"
#include "activation_trace/tensor/half.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

// Exact: every number of these types is a float.
inline __device__ float widen(float x) { return x; }
inline __device__ float widen(BFloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
using ptx::widen;
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
