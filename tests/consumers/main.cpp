// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/activation_trace.hpp"

// From other.cpp, which includes the same headers.
activation_trace::Index other_rows(const activation_trace::StoredMatrix<>& matrix);

int main() {
  activation_trace::Buffer<float> buffer(6);
  const activation_trace::StoredMatrix<> matrix = buffer.matrix(2, 3);
  return other_rows(matrix) == 2 ? 0 : 1;
}
