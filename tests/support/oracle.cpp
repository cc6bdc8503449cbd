// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/oracle.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace activation_trace::test {
namespace {

// Of their own and by pointers: of an accessor that is not inlined the linker takes any file's copy, and under clang's
// sanitizers test_ops spent 88 % of its time in those that -O0 had made.

void copy(const float* from, Index stride, double* to, std::size_t n) {
  for (std::size_t c = 0; c < n; ++c) to[c] = static_cast<double>(from[static_cast<Index>(c) * stride]);
}

double dot(const double* a, const double* b, std::size_t n) {
  double sum = 0;
  for (std::size_t c = 0; c < n; ++c) sum += a[c] * b[c];
  return sum;
}

double sum_of_magnitudes(const double* a, std::size_t n) {
  double sum = 0;
  for (std::size_t c = 0; c < n; ++c) sum += std::abs(a[c]);
  return sum;
}

double largest_magnitude(const double* a, std::size_t n) {
  double largest = 0;
  for (std::size_t c = 0; c < n; ++c) largest = std::max(largest, std::abs(a[c]));
  return largest;
}

}  // namespace

std::vector<double> decoded(const StoredMatrix<>& w) {
  std::vector<double> all;
  std::vector<float> row(static_cast<std::size_t>(w.cols()));
  for (Index r = 0; r < w.rows(); ++r) {
    w.decode_row(r, row);
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

std::vector<DotProduct> products(MatrixView<const float> x, const StoredMatrix<>& w) {
  const std::vector<double> weights = decoded(w);
  const auto cols = static_cast<std::size_t>(w.cols());
  const auto rows = static_cast<std::size_t>(w.rows());
  std::vector<double> largest;
  for (std::size_t r = 0; r < rows; ++r) largest.push_back(largest_magnitude(weights.data() + r * cols, cols));
  std::vector<DotProduct> all;
  std::vector<double> row(cols);
  for (Index i = 0; i < x.extent(0); ++i) {
    copy(x.data() + i * x.stride(0), x.stride(1), row.data(), cols);
    const double magnitude = sum_of_magnitudes(row.data(), cols);
    for (std::size_t r = 0; r < rows; ++r)
      all.push_back({dot(row.data(), weights.data() + r * cols, cols), magnitude * largest[r]});
  }
  return all;
}

double entropy(std::span<const double> logits) {
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

std::vector<double> log_softmax(std::vector<double> z) {
  const double largest = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (const double x : z) sum += std::exp(x - largest);
  for (double& x : z) x -= largest + std::log(sum);
  return z;
}

double layer_divergence(std::span<const double> mature, std::span<const double> early, LayerDivergence kind) {
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

std::vector<double> scores(MatrixView<const float> hidden, const StoredMatrix<>& w, Index v) {
  std::vector<double> column;
  for (const DotProduct& dot : products(hidden, w.slice(v, v + 1))) column.push_back(dot.value);
  return column;
}

std::vector<double> attention(Heads q, Heads k, Heads v, const AttentionOptions& options) {
  const Index n = q.extent(0);
  const Index t = k.extent(0);
  const Index D = q.extent(2);
  std::vector<double> out;
  for (Index i = 0; i < n; ++i) {
    for (Index h = 0; h < q.extent(1); ++h) {
      const Index g = h / (q.extent(1) / k.extent(1));
      std::vector<double> weights;
      double max = -1e300;
      const Index last = t - n + i;
      const Index first = options.window == 0 ? 0 : std::max(Index{0}, last - options.window + 1);
      for (Index p = first; p <= last; ++p) {
        double dot = 0;
        for (Index c = 0; c < D; ++c) dot += static_cast<double>(q(i, h, c)) * static_cast<double>(k(p, g, c));
        dot *= options.scale ? double{*options.scale} : 1 / std::sqrt(static_cast<double>(D));
        if (options.soft_cap) dot = double{*options.soft_cap} * std::tanh(dot / double{*options.soft_cap});
        weights.push_back(dot);
        max = std::max(max, weights.back());
      }
      double sum = 0;
      for (double& w : weights) sum += w = std::exp(w - max);
      for (Index c = 0; c < D; ++c) {
        double value = 0;
        for (std::size_t p = 0; p < weights.size(); ++p)
          value += weights[p] / sum * static_cast<double>(v(first + static_cast<Index>(p), g, c));
        out.push_back(value);
      }
    }
  }
  return out;
}

}  // namespace activation_trace::test
