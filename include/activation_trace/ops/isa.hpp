// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// The instruction set that a kernel is compiled for. Results agree between sets to rounding only; within
/// one set they are the same bit for bit, for any number of threads.
enum class Isa {
  portable,  ///< what the compiler's flags allow
  avx2,      ///< x86 with AVX2, FMA and F16C
  avx512,    ///< x86 with AVX-512 F, BW, DQ and VL besides
  neon,      ///< 64-bit ARM, whose every processor has Advanced SIMD
};

/// All of them.
inline constexpr std::array all_isas{Isa::portable, Isa::avx2, Isa::avx512, Isa::neon};

/// As in manifests of runs, because sets differ in their last bits.
[[nodiscard]] constexpr std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::portable: return "portable";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::neon: return "neon";
  }
  return "?";
}

/// Whether this processor runs kernels of `isa`.
[[nodiscard]] bool supports(Isa isa);

/// The widest instruction set that this processor runs.
[[nodiscard]] inline Isa best_isa() {
  if (supports(Isa::neon)) return Isa::neon;
  if (supports(Isa::avx512)) return Isa::avx512;
  return supports(Isa::avx2) ? Isa::avx2 : Isa::portable;
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE bool supports(Isa isa) {
  if (isa == Isa::portable) return true;
#if defined(__x86_64__)
  if (isa == Isa::neon) return false;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;  // clang 14's __builtin_cpu_supports does not know F16C
  const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
  const bool avx2 = f16c && __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  if (isa == Isa::avx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
#elif defined(__aarch64__)
  return isa == Isa::neon;
#else
  return false;
#endif
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
