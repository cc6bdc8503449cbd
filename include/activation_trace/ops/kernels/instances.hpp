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

#include "activation_trace/config.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// The kernels, written once against a few names (load, multiply_add, ...) and compiled once per instruction set: each
// set has a namespace with its simd_*.inl and the same kernel files. Inside one, nothing may be a lambda or a std
// algorithm on the hot path: GCC does not give them the instruction set of the pragma.

namespace activation_trace {
inline namespace v0 {
namespace detail {

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
#include "activation_trace/ops/kernels/arrange_avx2.inl"
#include "activation_trace/ops/kernels/decode.inl"
#include "activation_trace/ops/kernels/dot_q8_0_avx2.inl"
//
#include "activation_trace/ops/kernels/dot_avx2.inl"
//
#include "activation_trace/ops/kernels/dot_pairs_avx2.inl"
//
#include "activation_trace/ops/kernels/dot_groups_avx2.inl"
//
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

ACTIVATION_TRACE_COMPILED_INLINE const Kernels& kernels(Isa isa) {
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
