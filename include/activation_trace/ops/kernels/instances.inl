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

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
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
//
#include "activation_trace/ops/kernels/simd_integers_portable.inl"
//
#include "activation_trace/ops/kernels/integers.inl"
//
#include "activation_trace/ops/kernels/integer_products.inl"
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
//
#include "activation_trace/ops/kernels/simd_integers_avx2.inl"
//
#include "activation_trace/ops/kernels/integers.inl"
//
#include "activation_trace/ops/kernels/integer_products.inl"
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
#include "activation_trace/ops/kernels/simd_avx512.inl"
//
#include "activation_trace/ops/kernels/decode.inl"
#include "activation_trace/ops/kernels/dot_avx512.inl"
#include "activation_trace/ops/kernels/gemm.inl"
#include "activation_trace/ops/kernels/vector_math.inl"
//
#include "activation_trace/ops/kernels/divergence.inl"
//
#include "activation_trace/ops/kernels/table.inl"
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
namespace vnni {
using namespace avx512;
#include "activation_trace/ops/kernels/simd_integers_vnni.inl"
//
#include "activation_trace/ops/kernels/integers.inl"
//
#include "activation_trace/ops/kernels/integer_products.inl"
}  // namespace vnni
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(                                                                          \
    __attribute__((target("avx512bf16,avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512bf16,avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
namespace avx512bf16 {
using namespace vnni;
#include "activation_trace/ops/kernels/bf16_products.inl"
}  // namespace avx512bf16
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else  // of other processors
namespace avx2 = portable;
namespace avx512 = portable;
namespace vnni = portable;
#endif

/// Whether this processor multiplies bytes by AVX-512's VNNI, and then also pairs of BF16.
inline bool has_vnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni") != 0;
#else
  return false;
#endif
}
inline bool has_bf16() {
#if defined(__x86_64__)
  return has_vnni() && __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

#if defined(__aarch64__)
namespace neon {
#include "activation_trace/ops/kernels/simd_neon.inl"
//
#include "activation_trace/ops/kernels/decode.inl"
#include "activation_trace/ops/kernels/dot_portable.inl"
#include "activation_trace/ops/kernels/gemm.inl"
#include "activation_trace/ops/kernels/vector_math.inl"
//
#include "activation_trace/ops/kernels/divergence.inl"
//
#include "activation_trace/ops/kernels/table.inl"
//
#include "activation_trace/ops/kernels/simd_integers_portable.inl"
//
#include "activation_trace/ops/kernels/integers.inl"
//
#include "activation_trace/ops/kernels/integer_products.inl"
}  // namespace neon
#else
namespace neon = portable;
#endif

/// The one of `isa` among those of portable, avx2, avx512 and neon.
template <class Table>
constexpr const Table& table_of(Isa isa, const Table& of_portable, const Table& of_avx2, const Table& of_avx512,
                                const Table& of_neon) {
  switch (isa) {
    case Isa::portable: break;
    case Isa::avx2: return of_avx2;
    case Isa::avx512: return of_avx512;
    case Isa::neon: return of_neon;
  }
  return of_portable;
}

ACTIVATION_TRACE_COMPILED_INLINE const Kernels& kernels(Isa isa) {
  return table_of(isa, portable::table, avx2::table, avx512::table, neon::table);
}

ACTIVATION_TRACE_COMPILED_INLINE const DotKernels& dot_kernels(Isa isa, DType dtype) {
  return table_of(isa, portable::dot_table, avx2::dot_table, avx512::dot_table,
                  neon::dot_table)[static_cast<std::size_t>(dtype)];
}

ACTIVATION_TRACE_COMPILED_INLINE const FastKernels& fast_kernels(Isa isa, DType dtype) {
#if defined(__x86_64__)
  if (isa == Isa::avx512 && dtype == DType::bf16 && has_bf16()) return avx512bf16::bf16_kernels;
#endif
  // Processors with AVX-512 and without VNNI take AVX2's, whose results are the same bits.
  const auto& of_avx512 = has_vnni() ? vnni::fast_table : avx2::fast_table;
  return table_of(isa, portable::fast_table, avx2::fast_table, of_avx512,
                  neon::fast_table)[static_cast<std::size_t>(dtype)];
}

ACTIVATION_TRACE_COMPILED_INLINE const DivergenceKernels& divergence_kernels(Isa isa) {
  return table_of(isa, portable::divergence_table, avx2::divergence_table, avx512::divergence_table,
                  neon::divergence_table);
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
