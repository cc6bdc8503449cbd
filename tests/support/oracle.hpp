// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "activation_trace/ops/layer_divergence.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

// What the ops compute, in double and in the plainest form: for tests only.
namespace activation_trace::testing {

/// w as doubles, [rows * cols].
inline std::vector<double> decoded(const StoredMatrix<>& w) {
  std::vector<double> all;
  std::vector<float> row(static_cast<std::size_t>(w.cols()));
  for (Index r = 0; r < w.rows(); ++r) {
    w.decode_row(r, row);
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

/// A sum of products with the magnitude that its rounding error is measured against.
struct DotProduct {
  double value = 0;
  double magnitude = 0;  ///< sum |x| times max |w|: blocks are computed as scale * sum q x + offset * sum x
};

/// x w^T, [rows of x * rows of w].
inline std::vector<DotProduct> products(MatrixView<const float> x, const StoredMatrix<>& w) {
  const std::vector<double> weights = decoded(w);
  std::vector<DotProduct> all;
  for (Index i = 0; i < x.extent(0); ++i) {
    for (Index r = 0; r < w.rows(); ++r) {
      DotProduct dot;
      double largest = 0;
      for (Index c = 0; c < w.cols(); ++c) {
        const double weight = weights[static_cast<std::size_t>(r * w.cols() + c)];
        dot.value += static_cast<double>(x(i, c)) * weight;
        dot.magnitude += std::abs(static_cast<double>(x(i, c)));
        largest = std::max(largest, std::abs(weight));
      }
      dot.magnitude *= largest;
      all.push_back(dot);
    }
  }
  return all;
}

/// Entropy in nats of softmax(logits), by its definition; NaN when nothing is finite or anything is not a number
/// or +inf.
inline double entropy(std::span<const double> logits) {
  double max = -std::numeric_limits<double>::infinity();
  for (const double x : logits) {
    if (std::isnan(x)) return x;
    max = std::max(max, x);
  }
  if (!std::isfinite(max)) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (const double x : logits) sum += std::exp(x - max);
  double e = 0;
  for (const double x : logits) {
    const double p = std::exp(x - max) / sum;
    if (p > 0) e -= p * std::log(p);
  }
  return e;
}

/// z - log sum e^z. One must be above -inf, none NaN.
inline std::vector<double> log_softmax(std::vector<double> z) {
  const double largest = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (const double x : z) sum += std::exp(x - largest);
  for (double& x : z) x -= largest + std::log(sum);
  return z;
}

/// processors/README.md 2.2, and the divergence that it is named after: of two rows of finite log-probabilities.
inline double layer_divergence(std::span<const double> mature, std::span<const double> early, LayerDivergence kind) {
  double sum = 0;
  for (std::size_t v = 0; v < mature.size(); ++v) {
    const double p = std::exp(mature[v]);
    const double q = std::exp(early[v]);
    const double m = (p + q) / 2;
    if (kind == LayerDivergence::reference)
      sum += (m * (std::log(m) - mature[v]) + m * (std::log(m) - early[v])) / 2 / static_cast<double>(mature.size());
    else
      sum += (p * (mature[v] - std::log(m)) + q * (early[v] - std::log(m))) / 2;
  }
  return sum;
}

/// Column v of the context scores, hidden w_v^T.
inline std::vector<double> scores(MatrixView<const float> hidden, const StoredMatrix<>& w, Index v) {
  std::vector<double> column;
  for (const DotProduct& dot : products(hidden, w.slice(v, v + 1))) column.push_back(dot.value);
  return column;
}

}  // namespace activation_trace::testing
