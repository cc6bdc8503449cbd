// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/ops/thread_pool.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// How far the distribution q of an early layer is from that of the mature one, p; with M = (p + q) / 2.
enum class LayerDivergence {
  reference,       ///< (KL(M || p) + KL(M || q)) / (2 V), as the published DoLa computes it (ALGORITHMS.md 3.2)
  jensen_shannon,  ///< (KL(p || M) + KL(q || M)) / 2, in nats: what that is called
};

/// normalizers[0] of mature[V] and normalizers[1 + j] of layers[j], layers [C, V], all over those entries where mature
/// is above -inf, as if the others had not been given. log_sum is NaN for a row that holds NaN or +inf there, or
/// nothing above -inf. The same for any number of threads. `partial` is work memory, enlarged as needed.
/// Throws ShapeError.
void log_normalizers(ThreadPool& pool, std::span<const float> mature, MatrixView<const float> layers,
                     std::span<LogNormalizer> normalizers, std::vector<double>& partial);

/// divergences[j] of layers[j] from mature, over those V entries where mature is above -inf; `normalizers` are those of
/// log_normalizers. Not finite where a layer is not finite or a normalizer is NaN. Relative error about 1e-6, never
/// negative; the same for any number of threads. Throws ShapeError.
void layer_divergences(ThreadPool& pool, std::span<const float> mature, MatrixView<const float> layers,
                       std::span<const LogNormalizer> normalizers, LayerDivergence kind, std::span<double> divergences,
                       std::vector<double>& partial);

inline void log_normalizers(ThreadPool& pool, std::span<const float> mature, MatrixView<const float> layers,
                            std::span<LogNormalizer> normalizers, std::vector<double>& partial) {
  static_cast<void>(pool), static_cast<void>(partial);
  for (Index j = 0; j <= layers.extent(0); ++j) {
    LogNormalizer n;
    double sum = 0;
    const auto at = [&](Index v) { return j == 0 ? mature[static_cast<std::size_t>(v)] : layers(j - 1, v); };
    for (Index v = 0; v < layers.extent(1); ++v)
      if (mature[static_cast<std::size_t>(v)] != -std::numeric_limits<float>::infinity())
        n.max = std::max(n.max, at(v));
    for (Index v = 0; v < layers.extent(1); ++v)
      if (mature[static_cast<std::size_t>(v)] != -std::numeric_limits<float>::infinity())
        sum += std::exp(static_cast<double>(at(v)) - static_cast<double>(n.max));
    n.log_sum = sum > 0 ? std::log(sum) : std::numeric_limits<double>::quiet_NaN();
    normalizers[static_cast<std::size_t>(j)] = n;
  }
}

inline void layer_divergences(ThreadPool& pool, std::span<const float> mature, MatrixView<const float> layers,
                              std::span<const LogNormalizer> normalizers, LayerDivergence kind,
                              std::span<double> divergences, std::vector<double>& partial) {
  static_cast<void>(pool), static_cast<void>(partial);
  for (Index j = 0; j < layers.extent(0); ++j) {
    double total = 0;
    Index entries = 0;
    for (Index v = 0; v < layers.extent(1); ++v) {
      const float x = mature[static_cast<std::size_t>(v)];
      if (x == -std::numeric_limits<float>::infinity()) continue;
      ++entries;
      const LogNormalizer& n = normalizers[static_cast<std::size_t>(j + 1)];
      const double a = static_cast<double>(x) - static_cast<double>(normalizers[0].max) - normalizers[0].log_sum;
      const double b = static_cast<double>(layers(j, v)) - static_cast<double>(n.max) - n.log_sum;
      const double m = (std::exp(a) + std::exp(b)) / 2;
      const double h = std::abs(b - a) / 2;
      const double log_cosh = h + std::log1p(std::exp(-2 * h)) - std::log(2.0);
      total += m * (kind == LayerDivergence::reference ? log_cosh : h * std::tanh(h) - log_cosh);
    }
    divergences[static_cast<std::size_t>(j)] =
        kind == LayerDivergence::reference ? total / static_cast<double>(entries) : total;
  }
}

}  // namespace v0
}  // namespace activation_trace
