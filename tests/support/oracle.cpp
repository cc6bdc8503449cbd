// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/oracle.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace activation_trace::test {
namespace {

// Of their own and by pointers: of an accessor that is not inlined the linker takes any file's copy, and under clang's
// sanitizers test_ops spent seven eighths of its time in those that -O0 had made.

void copy(const float* from, Index stride, double* to, std::size_t n) {
  for (std::size_t c = 0; c < n; ++c) to[c] = static_cast<double>(from[static_cast<Index>(c) * stride]);
}

double dot(const double* a, const double* b, std::size_t n, Index stride_b = 1) {
  double sum = 0;
  for (std::size_t c = 0; c < n; ++c) sum += a[c] * b[static_cast<Index>(c) * stride_b];
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

namespace {

/// Vectors as doubles, in the view's order.
std::vector<double> doubles(Heads x) {
  const auto size = static_cast<std::size_t>(x.extent(2));
  std::vector<double> all(static_cast<std::size_t>(x.extent(0) * x.extent(1)) * size);
  double* to = all.data();
  for (Index i = 0; i < x.extent(0); ++i)
    for (Index h = 0; h < x.extent(1); ++h, to += size)
      copy(x.data() + i * x.stride(0) + h * x.stride(1), x.stride(2), to, size);
  return all;
}

}  // namespace

std::vector<double> attention(Heads q, Heads k, Heads v, const AttentionOptions& options) {
  const Index n = q.extent(0);
  const Index t = k.extent(0);
  const Index H = q.extent(1);
  const Index G = k.extent(1);
  const Index D = q.extent(2);
  const std::vector<double> queries = doubles(q), keys = doubles(k), values = doubles(v);
  std::vector<double> out;
  for (Index i = 0; i < n; ++i) {
    for (Index h = 0; h < H; ++h) {
      const Index g = h / (H / G);
      const double* query = queries.data() + (i * H + h) * D;
      std::vector<double> weights;
      double max = -1e300;
      const Index last = t - n + i;
      const Index first = options.window == 0 ? 0 : std::max(Index{0}, last - options.window + 1);
      for (Index p = first; p <= last; ++p) {
        double score = dot(query, keys.data() + (p * G + g) * D, static_cast<std::size_t>(D));
        score *= options.scale ? double{*options.scale} : 1 / std::sqrt(static_cast<double>(D));
        if (options.soft_cap) score = double{*options.soft_cap} * std::tanh(score / double{*options.soft_cap});
        weights.push_back(score);
        max = std::max(max, weights.back());
      }
      double sum = 0;
      for (double& w : weights) sum += w = std::exp(w - max);
      for (double& w : weights) w /= sum;
      for (Index c = 0; c < D; ++c)
        out.push_back(dot(weights.data(), values.data() + (first * G + g) * D + c, weights.size(), G * D));
    }
  }
  return out;
}

}  // namespace activation_trace::test
