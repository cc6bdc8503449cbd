// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "activation_trace/tensor/stored_matrix.hpp"
#include "support/oracle.hpp"

// processors/README.md 1.1 and 1.2 in double precision, step by step as written there.
namespace activation_trace::test {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

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

/// -sum p ln p of the softmax over positions [begin, end) of W[v] . h[i].
inline double reference_entropy(const Matrix& hidden, const Matrix& w, Index v, Index begin, Index end) {
  return test::entropy(test::scores(hidden.view(begin, end), w.view(), v));
}

inline std::vector<double> reference_entropies(const Matrix& hidden, const Matrix& w) {
  std::vector<double> result;
  for (Index v = 0; v < w.rows; ++v) result.push_back(reference_entropy(hidden, w, v, 0, hidden.rows));
  return result;
}

/// Equal within `bound`, where an infinity equals only itself.
inline void check_close(std::span<const float> got, std::span<const double> expected, double bound) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t v = 0; v < expected.size(); ++v) {
    CAPTURE(v);
    if (std::isinf(expected[v]))
      CHECK(static_cast<double>(got[v]) == expected[v]);
    else
      CHECK(std::abs(static_cast<double>(got[v]) - expected[v]) <= bound);
  }
}

/// x - log sum e^x over what is above -inf.
inline std::vector<double> reference_log_softmax(std::span<const float> x) {
  return test::log_softmax({x.begin(), x.end()});
}

/// A full row as a shuffled candidate list.
struct ShuffledRow {
  ShuffledRow(std::mt19937& random, std::span<const float> row) : ids(row.size()) {
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random);
    scores = pick(row);
  }
  [[nodiscard]] std::vector<float> pick(std::span<const float> row) const {
    std::vector<float> picked;
    for (const TokenId id : ids) picked.push_back(row[static_cast<std::size_t>(id)]);
    return picked;
  }

  std::vector<TokenId> ids;
  std::vector<float> scores;
};

/// Scores of one step. No logit may be NaN, one must be finite.
inline std::vector<double> reference_scores(const std::vector<float>& logits, const std::vector<double>& entropy,
                                            double alpha, double relative_top, std::size_t min_tokens_to_keep = 1) {
  std::vector<double> score = reference_log_softmax(logits);
  std::vector<double> sorted = score;
  std::sort(sorted.rbegin(), sorted.rend());
  const double kth = min_tokens_to_keep <= sorted.size() ? sorted[min_tokens_to_keep - 1] : -kInfinity;
  const double threshold = std::min(kth, sorted[0] + std::log(relative_top));
  for (std::size_t v = 0; v < score.size(); ++v) {
    if (score[v] < threshold) score[v] = -kInfinity;
    if (alpha == 0) continue;
    score[v] = score[v] < -1000 ? -kInfinity : score[v] - alpha * entropy[v];
  }
  return score;
}

}  // namespace activation_trace::test
