// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/cuda/ptx.cuh"
#include "activation_trace/tensor/half.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

// Exact: every number of these types is a float.
inline __device__ float widen(float x) { return x; }
inline __device__ float widen(BFloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
using ptx::widen;

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
