// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/reference_llama.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

namespace activation_trace::test::reference {

Vector row(const activation_trace::StoredMatrix<>& m, Index r) {
  std::vector<float> values(static_cast<std::size_t>(m.cols()));
  m.decode_row(r, values);
  return {values.begin(), values.end()};
}

Vector times(const activation_trace::StoredMatrix<>& m, const Vector& x) {
  Vector y;
  for (Index r = 0; r < m.rows(); ++r) {
    const Vector w = row(m, r);
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += w[i] * x[i];
    y.push_back(sum);
  }
  return y;
}

Vector normalised(const Vector& x, const std::vector<float>& weight, double eps) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
  Vector y;
  for (std::size_t i = 0; i < x.size(); ++i) y.push_back(x[i] * scale * static_cast<double>(weight[i]));
  return y;
}

}  // namespace activation_trace::test::reference
