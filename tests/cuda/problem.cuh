// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "activation_trace/cuda/ops/softmax_entropy.cuh"
#include "support.cuh"

namespace activation_trace::test {

using cuda::SoftmaxKernel;

/// A problem in host and device memory.
template <class T>
struct Problem {
  Index positions, d, vocabulary;
  std::vector<T> hidden, w;
  Buffer<T, Cuda> device_hidden, device_w;

  Problem(Index t, Index columns, Index v, std::vector<T> h, std::vector<T> weights)
      : positions(t),
        d(columns),
        vocabulary(v),
        hidden(std::move(h)),
        w(std::move(weights)),
        device_hidden(to_device(hidden)),
        device_w(to_device(w)) {}

  /// Entropies by `kernel`, or nothing if it cannot be used here. The output is poisoned before.
  [[nodiscard]] std::optional<std::vector<float>> entropy(SoftmaxKernel kernel) {
    const std::vector<float> poison(static_cast<std::size_t>(vocabulary), -7.0f);
    Buffer<float, Cuda> result = to_device(poison);
    const Index needed = cuda::softmax_workspace_size(positions, vocabulary);
    Buffer<SoftmaxState, Cuda> workspace(needed);
    cudaMemset(workspace.data(), 0xff, static_cast<std::size_t>(needed) * sizeof(SoftmaxState));
    try {
      cuda::softmax_entropy(Execution<Cuda>{}, device_hidden.matrix(positions, d), device_w.matrix(vocabulary, d),
                            result.view(), workspace.view(), {.kernel = kernel});
    } catch (const ArgumentError&) {
      return std::nullopt;
    }
    return to_host(result);
  }

  /// The first, the last and some random items.
  [[nodiscard]] std::vector<Index> sample(Index count) const {
    std::vector<Index> items;
    Random random(static_cast<std::uint64_t>(vocabulary));
    for (Index i = 0; i < std::min(count, vocabulary); ++i)
      items.push_back(vocabulary <= count ? i
                      : i == 0            ? 0
                      : i == 1            ? vocabulary - 1
                                          : static_cast<Index>(random.bits() % static_cast<std::uint64_t>(vocabulary)));
    return items;
  }
};

template <class T>
Problem<T> normal_problem(Index t, Index d, Index v, float scale) {
  // Logits have the standard deviation `scale`.
  const float width = std::sqrt(scale / std::sqrt(static_cast<float>(d)));
  return {t, d, v, normal_vector<T>(t * d, width, static_cast<std::uint64_t>(t + d)),
          normal_vector<T>(v * d, width, static_cast<std::uint64_t>(v + 3 * d))};
}

/// Largest |E - oracle| over a sample of the items, in units of what it may be; every item must have been
/// written, and NaN must agree. Tensor cores cut off the sum after every 16 (f32: 8) products, which can shift a
/// logit by that many units of the last place of the largest partial sum, here taken as the largest logit.
template <class T>
double worst_error(Problem<T>& problem, const std::vector<float>& entropies, Index samples,
                   double* absolute = nullptr) {
  for (const float e : entropies) REQUIRE(e != -7.0f);
  double worst = 0;
  for (const Index v : problem.sample(samples)) {
    const std::vector<double> logits = logits_oracle(problem.hidden, problem.w, problem.d, v);
    const double expected = entropy_oracle(logits);
    const double got = entropies[static_cast<std::size_t>(v)];
    CAPTURE(v);
    REQUIRE(std::isnan(got) == std::isnan(expected));
    double largest = 1;
    for (const double x : logits)
      if (std::isfinite(x)) largest = std::max(largest, std::abs(x));
    const double allowed = 1e-5 + static_cast<double>(problem.d / 16 + 1) * 0x1p-24 * largest;
    if (absolute != nullptr && !std::isnan(got)) *absolute = std::max(*absolute, std::abs(got - expected));
    if (!std::isnan(got)) worst = std::max(worst, std::abs(got - expected) / allowed);
  }
  return worst;
}

}  // namespace activation_trace::test
