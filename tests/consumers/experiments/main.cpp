// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/experiments.hpp"

int main() {
  // A right answer's score above both wrong ones': MC1 and MC3 are 1.
  const auto metrics = activation_trace::multiple_choice(std::vector<double>{-1}, std::vector<double>{-2, -3}, 0);
  return metrics.mc1 == 1 && metrics.mc3 == 1 ? 0 : 1;
}
