// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include "activation_trace/tensor/stored_matrix.hpp"

// ALGORITHMS.md 1.1 and 1.2 in double precision, step by step as written there.
namespace activation_trace::test {

/// A row-major matrix that owns its elements.
struct Matrix {
  Index rows = 0;
  Index cols = 0;
  std::vector<float> data;

  [[nodiscard]] MatrixView<const float> view() const { return {data.data(), {rows, cols}}; }
  [[nodiscard]] MatrixView<const float> view(Index begin, Index end) const { return view().slice(0, begin, end); }
  [[nodiscard]] double at(Index r, Index c) const {
    return static_cast<double>(data[static_cast<std::size_t>(r * cols + c)]);
  }
};

inline Matrix random_matrix(std::mt19937& random, Index rows, Index cols, float deviation) {
  std::normal_distribution<float> normal(0, deviation);
  Matrix m{rows, cols, std::vector<float>(static_cast<std::size_t>(rows * cols))};
  for (float& x : m.data) x = normal(random);
  return m;
}

inline std::vector<float> random_logits(std::mt19937& random, Index vocab, float deviation = 2) {
  return random_matrix(random, 1, vocab, deviation).data;
}

/// -sum p ln p of the softmax over positions [begin, end) of W[v] . h[i], in two passes.
inline double reference_entropy(const Matrix& hidden, const Matrix& w, Index v, Index begin, Index end) {
  std::vector<double> s;
  for (Index i = begin; i < end; ++i) {
    double product = 0;
    for (Index k = 0; k < hidden.cols; ++k) product += hidden.at(i, k) * w.at(v, k);
    s.push_back(product);
  }
  const double largest = *std::max_element(s.begin(), s.end());
  double sum = 0;
  for (const double x : s) sum += std::exp(x - largest);
  double entropy = 0;
  for (const double x : s) {
    const double p = std::exp(x - largest) / sum;
    if (p > 0) entropy -= p * std::log(p);
  }
  return entropy;
}

inline std::vector<double> reference_entropies(const Matrix& hidden, const Matrix& w) {
  std::vector<double> result;
  for (Index v = 0; v < w.rows; ++v) result.push_back(reference_entropy(hidden, w, v, 0, hidden.rows));
  return result;
}

/// Scores of one step. No logit may be NaN, one must be finite.
inline std::vector<double> reference_scores(const std::vector<float>& logits, const std::vector<double>& entropy,
                                            double alpha, double relative_top, std::size_t min_tokens_to_keep = 1) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const double largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float z : logits) sum += std::exp(static_cast<double>(z) - largest);
  std::vector<double> score;
  for (const float z : logits) score.push_back(static_cast<double>(z) - largest - std::log(sum));
  std::vector<double> sorted = score;
  std::sort(sorted.rbegin(), sorted.rend());
  const double kth = min_tokens_to_keep <= sorted.size() ? sorted[min_tokens_to_keep - 1] : -infinity;
  const double threshold = std::min(kth, sorted[0] + std::log(relative_top));
  for (std::size_t v = 0; v < score.size(); ++v) {
    if (score[v] < threshold) score[v] = -infinity;
    if (alpha == 0) continue;
    score[v] = score[v] < -1000 ? -infinity : score[v] - alpha * entropy[v];
  }
  return score;
}

}  // namespace activation_trace::test
