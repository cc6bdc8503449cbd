// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/config.hpp"
#include "activation_trace/cuda/ptx.cuh"
#include "activation_trace/numerics/softmax_state.hpp"

// The epilogue that the tensor-core kernels share: a tile of logits in registers becomes one SoftmaxState per
// vocabulary item.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// Which logits of a register tile may be -inf: padding makes them so, finite inputs do not.
enum class Logits { finite, any };

/// Sums of e^(x - m) and (x - m) e^(x - m) over x[begin], x[begin + 1], x[begin + 4], x[begin + 5], ...: the
/// elements of one row in the accumulator layout of mma and wgmma. Difference first, then the scale to base 2
/// (numerics/README.md 2: one more operation than a fused multiply-add, 1000 times better near E = 0).
template <Logits logits, int N>
__device__ void row_sums(const float (&x)[N], int begin, float m, float& sum, float& weighted) {
  constexpr float log2_e = 1.44269504088896340736f;
  float l[2] = {0.0f, 0.0f};
  float a[2] = {0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < N / 4; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float d = x[4 * i + begin + j] - m;
      if constexpr (logits == Logits::any) d = d < -256.0f ? -256.0f : d;
      const float e = ptx::exp2_approx(d * log2_e);
      l[j] += e;
      a[j] += d * e;
    }
  sum = l[0] + l[1];
  weighted = a[0] + a[1];
}

/// The maximum over the four lanes that share a row.
inline __device__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
inline __device__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/// The states of rows lane / 4 and lane / 4 + 8 of a 16 x N/2-column accumulator tile; all four lanes of a quad
/// get them. Columns of this lane are 8 i + 2 (lane % 4) + {0, 1}.
///
/// The maximum is taken over the quad first, so that nothing is rescaled afterwards. -inf * 0 is kept out of
/// the fast path by a second look instead of a clamp per element: only -inf makes the weighted sum NaN while
/// the plain sum is a number.
template <int N>
__device__ void fold_rows(const float (&x)[N], SoftmaxState (&states)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float m = fmaxf(x[2 * r], x[2 * r + 1]);
#pragma unroll
    for (int i = 1; i < N / 4; ++i) m = fmaxf(m, fmaxf(x[4 * i + 2 * r], x[4 * i + 2 * r + 1]));
    states[r].max = m;
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) states[r].max = quad_max(states[r].max);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    SoftmaxState& state = states[r];
    const float reference = state.max == -INFINITY ? 0.0f : state.max;  // all -inf: no difference is NaN
    row_sums<Logits::finite>(x, 2 * r, reference, state.sum, state.weighted);
    if (state.weighted != state.weighted && state.sum == state.sum)
      row_sums<Logits::any>(x, 2 * r, reference, state.sum, state.weighted);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    states[r].sum = quad_sum(states[r].sum);
    states[r].weighted = quad_sum(states[r].weighted);
  }
}

/// Sets the columns outside [begin, end) to -inf: what is not a position is not a logit, and 0 is not neutral.
template <int N>
__device__ void mask_columns(float (&x)[N], int lane, int begin, int end) {
  const int first = 2 * (lane % 4);
#pragma unroll
  for (int i = 0; i < N / 4; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j)
      if (8 * i + first + j < begin || 8 * i + first + j >= end) x[4 * i + j] = x[4 * i + 2 + j] = -INFINITY;
}

/// Columns of an accumulator tile times the scales of their positions, of which there are `positions`; `first` is that
/// of column 0.
template <int N>
__device__ void scale_columns(float (&x)[N], int lane, const float* scales, int first, int positions) {
#pragma unroll
  for (int i = 0; i < N / 4; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float scale = __ldg(scales + min(first + 8 * i + 2 * (lane % 4) + j, positions - 1));
      x[4 * i + j] *= scale;
      x[4 * i + 2 + j] *= scale;
    }
}

/// Joins the states of a warp's lanes, by a tree: every lane gets the result, and always the same bits.
inline __device__ SoftmaxState join_lanes(SoftmaxState state) {
  SoftmaxState joined;
  joined.max = state.max;
  for (int distance = 16; distance > 0; distance /= 2)
    joined.max = fmaxf(joined.max, __shfl_xor_sync(0xffffffffu, joined.max, distance));
  if (!state.empty()) {  // brought to the common maximum once, as SoftmaxState::merge does step by step
    float d = state.max - joined.max;
    d = d < -256.0f ? -256.0f : d;
    const float scale = expf(d);
    joined.sum = scale * state.sum;
    joined.weighted = scale * (state.weighted + d * state.sum);
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    joined.sum += __shfl_xor_sync(0xffffffffu, joined.sum, distance);
    joined.weighted += __shfl_xor_sync(0xffffffffu, joined.weighted, distance);
  }
  return joined;
}

/// Where a kernel puts the state of vocabulary item `row` over the positions of one T-split.
struct SoftmaxOutput {
  SoftmaxState* partials;  // [splits][rows], joined by finish_kernel; null when there is one split
  Index splits;
  Index rows;
  SoftmaxState* states;  // [rows]: joined onto and written, or null
  float* entropy;        // [rows]: written, or null
};

inline __device__ void finish(const SoftmaxOutput& out, Index row, const SoftmaxState& state) {
  if (out.states != nullptr) out.states[row] = state;
  if (out.entropy != nullptr) out.entropy[row] = state.entropy();
}

inline __device__ void store(const SoftmaxOutput& out, Index split, Index row, const SoftmaxState& part) {
  if (out.partials != nullptr) {
    out.partials[split * out.rows + row] = part;
    return;
  }
  SoftmaxState state;
  if (out.states != nullptr) state = out.states[row];
  state.merge(part);
  finish(out, row, state);
}

/// Joins the partial states of each row, one thread per row, always in the order of the splits: the same bits
/// whichever block was done first.
template <int threads>
__global__ void __launch_bounds__(threads) finish_kernel(const SoftmaxState* partials, SoftmaxOutput out) {
  ptx::wait_for_previous();  // launched early: the partial states may not be there yet
  const Index row = static_cast<Index>(blockIdx.x) * threads + threadIdx.x;
  if (row >= out.rows) return;
  SoftmaxState state;
  if (out.states != nullptr) state = out.states[row];
  for (Index s = 0; s < out.splits; ++s) state.merge(partials[s * out.rows + row]);
  finish(out, row, state);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
