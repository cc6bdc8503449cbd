// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "activation_trace/cuda/ops/softmax_fold.cuh"
#include "activation_trace/cuda/ops/widen.cuh"

// Floats as factors of 16 bits for tensor cores.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// Eight floats in two instructions' worth of a word each.
template <class T>
__device__ uint4 narrow_octet(const float (&x)[8]) {
  return {ptx::narrow_pair<T>(x[0], x[1]), ptx::narrow_pair<T>(x[2], x[3]), ptx::narrow_pair<T>(x[4], x[5]),
          ptx::narrow_pair<T>(x[6], x[7])};
}

/// Makes `count` terms of eight floats, the largest first (two of f16 are a float to 2^-24 of it, or 2^-39 of the
/// largest of the 32 that are scaled together, if that is more), and says by what their products are multiplied: f16's
/// are brought below 2^15 by the largest of the 32 that a quad of lanes has, which all call this.
template <class T, int count>
__device__ float split_octet(float (&x)[8], uint4 (&term)[count]) {
  float largest = 0.0f;
#pragma unroll
  for (const float value : x) largest = fmaxf(largest, fabsf(value));
  float back = 1.0f;
  if constexpr (is_scaled<T>) {
    largest = quad_max(largest);
    const unsigned exponent = max(__float_as_uint(largest) >> 23, 15u);  // both powers of two are normal
    const float factor = __uint_as_float((268u - exponent) << 23);
#pragma unroll
    for (float& value : x) value *= factor;
    back = __uint_as_float((exponent - 14u) << 23);
  }
  term[0] = narrow_octet<T>(x);
#pragma unroll
  for (int i = 1; i < count; ++i) {
    const std::uint32_t taken[4] = {term[i - 1].x, term[i - 1].y, term[i - 1].z, term[i - 1].w};
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      const float2 both = widen_pair<T>(taken[pair]);
      x[2 * pair] -= both.x;
      x[2 * pair + 1] -= both.y;
    }
    term[i] = narrow_octet<T>(x);
    // Nothing is left of what is not finite, in T if not before: the difference would be NaN.
    constexpr float most = is_scaled<T> ? 0x1.fffffep127f : 0x1.fep127f;
    if (largest > most) term[i] = uint4{};
  }
  return back;
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
