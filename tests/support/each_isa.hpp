// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "activation_trace/ops/isa.hpp"

namespace activation_trace::testing {

/// Runs `f(isa)` for every instruction set; says which ones this processor lacks.
template <class F>
void each_isa(F&& f) {
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
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

}  // namespace activation_trace::testing
