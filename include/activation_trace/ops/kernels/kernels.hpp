// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "activation_trace/ops/isa.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// The inner loops of the ops, written once against a few names (load, multiply_add, ...) and compiled once per
// instruction set: each set has a namespace with its simd_*.inl and the same kernel files. Inside one, nothing may be
// a lambda or a std algorithm on the hot path: GCC does not give them the instruction set of the pragma.

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// What a tile of a product does to the memory it is written to.
enum class Into { set, add };

/// Elements of a row that are decoded at a time; a multiple of every block length.
constexpr Index pack_depth = 256;

/// Entries of a row that are compared at a time.
constexpr Index divergence_block = 1024;

/// A layer's softmax, e^(x - maximum) * inverse_sum, and how much ln e^x / sum is below x more than the mature layer's.
struct DivergenceRow {
  float maximum;
  float inverse_sum;
  float offset;
  float offset_rest;  ///< what rounding takes from offset
};

/// The kernels of one instruction set; the .inl files say what each does.
struct Kernels {
  Index lanes;
  Index panel_width;  ///< rows of w that are multiplied at once
  void (*pack)(DType dtype, const std::byte* const* source, Index rows, Index begin, Index end, float* row_buffer,
               float* panel);
  void (*multiply_panel)(const float* x, Index x_stride, Index n, const float* panel, Index depth, float* out,
                         Index out_stride, Into into);
  void (*multiply_narrow_panel)(const float* x, Index x_stride, Index n, const float* panel, Index depth, float* out,
                                Index out_stride, Into into);
  Index (*arranged_size)(DType dtype, Index cols);
  void (*arrange)(DType dtype, const float* x, Index cols, float* out);
  void (*dot_rows)(DType dtype, const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x,
                   Index x_stride, Index n, float* y, Index y_stride);
  void (*softmax_columns)(const float* scores, Index rows, Index width, float* state);
  float (*exponentiate_row)(float* scores, Index count, Index padded, float scale);
  float (*largest_of)(const float* x, Index n);
  double (*sum_exponentials)(const float* x, Index n, float maximum);
  void (*weighted_sum)(const float* weights, const float* values, Index stride, Index rows, Index cols, float* out);
  void (*counted_exponentials)(const float* mature, const float* x, Index n, float* maximum, double* sum_of);
  void (*reference_divergences)(const float* mature, const float* layers, Index stride, Index count, Index n,
                                const DivergenceRow* rows, double* sums);
  void (*jensen_shannon_divergences)(const float* mature, const float* layers, Index stride, Index count, Index n,
                                     const DivergenceRow* rows, double* sums);
  void (*silu_multiply)(const float* gate, const float* up, Index n, float* y);
  void (*rms_norm)(const float* x, const float* weight, Index d, float eps, float* y);
};

namespace portable {
#include "activation_trace/ops/kernels/simd_portable.inl"
//
#include "activation_trace/ops/kernels/decode.inl"
#include "activation_trace/ops/kernels/dot_portable.inl"
#include "activation_trace/ops/kernels/gemm.inl"
#include "activation_trace/ops/kernels/vector_math.inl"
//
#include "activation_trace/ops/kernels/divergence.inl"
//
#include "activation_trace/ops/kernels/table.inl"
}  // namespace portable

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
namespace avx2 {
#include "activation_trace/ops/kernels/simd_avx2.inl"
//
#include "activation_trace/ops/kernels/decode.inl"
#include "activation_trace/ops/kernels/dot_q8_0_avx2.inl"
//
#include "activation_trace/ops/kernels/dot_avx2.inl"
#include "activation_trace/ops/kernels/gemm.inl"
#include "activation_trace/ops/kernels/vector_math.inl"
//
#include "activation_trace/ops/kernels/divergence.inl"
//
#include "activation_trace/ops/kernels/table.inl"
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
namespace avx512 {
using avx2::arrange;
using avx2::arranged_size;
using avx2::dot_rows;
#include "activation_trace/ops/kernels/simd_avx512.inl"
//
#include "activation_trace/ops/kernels/decode.inl"
#include "activation_trace/ops/kernels/gemm.inl"
#include "activation_trace/ops/kernels/vector_math.inl"
//
#include "activation_trace/ops/kernels/divergence.inl"
//
#include "activation_trace/ops/kernels/table.inl"
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // x86-64

/// The kernels of `isa`, which this processor must support.
inline const Kernels& kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return avx512::table;
  if (isa == Isa::avx2) return avx2::table;
#else
  static_cast<void>(isa);
#endif
  return portable::table;
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
