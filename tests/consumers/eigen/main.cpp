// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "activation_trace/tensor/eigen.hpp"

int main() {
  std::array<float, 6> values{0, 1, 2, 3, 4, 5};
  const activation_trace::MatrixView<float> matrix(values.data(), {2, 3});
  return activation_trace::as_eigen(matrix).sum() == 15 ? 0 : 1;
}
