// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

// MSVC says what it compiles in _MSVC_LANG, and __cplusplus is old there without /Zc:__cplusplus.
#if defined(_MSVC_LANG) ? _MSVC_LANG < 202002L : __cplusplus < 202002L
#error "activation_trace is C++20: compile with -std=c++20 or later. From C++17 and C, use embed/activation_trace_c.h"
#endif
#if !defined(__cpp_exceptions)
#error \
    "activation_trace reports errors by exceptions, which -fno-exceptions takes away: compile without it, or use \
embed/activation_trace_c.h, the C interface, which returns codes"
#endif

// -Ofast is one of them, too. clang and g++ define __FINITE_MATH_ONLY__ as 0 otherwise.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error \
    "activation_trace needs infinities and NaNs (a masked token's score is -inf), which -ffast-math, -Ofast and \
-ffinite-math-only take away: compile without them, or put -fno-fast-math behind them for this file"
#endif

// Decorates a function for both sides under nvcc, nothing otherwise. It never changes a body: a body that
// differs between compilers is an ODR violation as soon as one program mixes .cpp and .cu files.
#if defined(__CUDACC__)
#define ACTIVATION_TRACE_HOST_DEVICE __host__ __device__
#else
#define ACTIVATION_TRACE_HOST_DEVICE
#endif

// Long bodies stand in every file that includes this library, or once, in CMake's target activation_trace::kernels,
// which defines ACTIVATION_TRACE_COMPILED_KERNELS for all who link it. Without CMake: define it everywhere, and compile
// cmake/kernels.cpp and cmake/bodies.cpp, which alone of such files asks for ACTIVATION_TRACE_BODIES.
#if !defined(ACTIVATION_TRACE_COMPILED_KERNELS)
#define ACTIVATION_TRACE_COMPILED_INLINE inline
#define ACTIVATION_TRACE_BODIES 1
#else
#define ACTIVATION_TRACE_COMPILED_INLINE
#if !defined(ACTIVATION_TRACE_BODIES)
#define ACTIVATION_TRACE_BODIES 0
#endif
#endif

/// Decoding language models by in-context sharpness (Chen et al., ICML 2024).
namespace activation_trace {
/// The version of the interface: libraries that were compiled against two of them can meet in one program.
inline namespace v0 {

/// Signed index type of every extent, stride and position: differences and loop bounds stay free of
/// unsigned wrap-around. Sizes read from files are checked before they become one.
using Index = std::ptrdiff_t;

/// Id of one vocabulary entry. Signed, because -1 is "none" in every file format that is read here.
using TokenId = int;

}  // namespace v0
}  // namespace activation_trace
