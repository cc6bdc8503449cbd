// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <string>

#include "activation_trace/ops/isa.hpp"

namespace activation_trace::test {

/// Runs `f(isa)` for every instruction set of this architecture; says which ones this processor lacks. Under
/// ThreadSanitizer for the best alone: races do not depend on it, and all take several times as long.
template <class F>
void each_isa(F&& f) {
#if defined(__SANITIZE_THREAD__)
  return f(best_isa());
#endif
#if defined(__aarch64__)
  constexpr std::array sets{Isa::portable, Isa::neon};
#else
  constexpr std::array sets{Isa::portable, Isa::avx2, Isa::avx512};
#endif
  for (const Isa isa : sets) {
    const std::string label = "isa: " + std::string(name(isa));
    if (!supports(isa)) {
      static bool said = false;
      if (!said) MESSAGE("skipped, this processor does not support it: " << label);
      said = true;
      continue;
    }
    CAPTURE(label);
    f(isa);
  }
}

}  // namespace activation_trace::test
