// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/tensor/half.hpp"

// Test data, transfers, and the double-precision oracle of the device kernels. What is tested works on streams that
// have no order with the default one: a transfer is done when it returns, and begins when all that was queued is done.
namespace activation_trace::test {

template <class T>
[[nodiscard]] Buffer<T, Cuda> to_device(const std::vector<T>& host) {
  Buffer<T, Cuda> buffer(static_cast<Index>(host.size()));
  cuda::copy(Execution<Cuda>{}, VectorView<const T>(host), buffer.view());
  Execution<Cuda>{}.synchronize();
  return buffer;
}

template <class T>
[[nodiscard]] std::vector<T> to_host(VectorView<const T, Cuda> view) {
  cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  std::vector<T> host(static_cast<std::size_t>(view.size()));
  cuda::copy(Execution<Cuda>{}, view, VectorView<T>(host));
  Execution<Cuda>{}.synchronize();
  return host;
}
template <class T>
[[nodiscard]] std::vector<T> to_host(const Buffer<T, Cuda>& buffer) {
  return to_host(buffer.view());
}

/// xorshift with Box-Muller: the same numbers everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}
  [[nodiscard]] std::uint64_t bits() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545f4914f6cdd1dull;
  }
  [[nodiscard]] double uniform() { return (static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53; }
  [[nodiscard]] float normal() {
    return static_cast<float>(std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi * uniform()));
  }

 private:
  std::uint64_t state_;
};

template <class T>
[[nodiscard]] std::vector<T> normal_vector(Index n, float scale, std::uint64_t seed) {
  Random random(seed);
  std::vector<T> x(static_cast<std::size_t>(n));
  for (T& value : x) value = T(scale * random.normal());
  return x;
}

/// Entropy of a sequence of logits: two passes in long double, straight from the definition. -inf is probability 0.
[[nodiscard]] inline double entropy_oracle(const std::vector<double>& logits) {
  long double maximum = -INFINITY;
  for (const double x : logits) {
    if (std::isnan(x) || x == INFINITY) return NAN;
    maximum = std::max<long double>(maximum, x);
  }
  if (maximum == -INFINITY) return NAN;
  long double sum = 0;
  for (const double x : logits) sum += std::exp(static_cast<long double>(x) - maximum);
  long double result = 0;
  for (const double x : logits) {
    const long double p = std::exp(static_cast<long double>(x) - maximum) / sum;
    if (p > 0) result -= p * std::log(p);
  }
  return static_cast<double>(result);
}

/// Logits of item `v` over all positions, from the stored numbers widened to double.
template <class T>
[[nodiscard]] std::vector<double> logits_oracle(const std::vector<T>& hidden, const std::vector<T>& w, Index d,
                                                Index v) {
  const std::size_t columns = static_cast<std::size_t>(d);
  const T* const row = w.data() + static_cast<std::size_t>(v) * columns;
  std::vector<double> wide(columns);
  for (std::size_t k = 0; k < columns; ++k) wide[k] = static_cast<double>(static_cast<float>(row[k]));
  std::vector<double> logits(columns == 0 ? 0 : hidden.size() / columns);
  for (std::size_t t = 0; t < logits.size(); ++t) {
    double sum[4] = {};
    for (std::size_t k = 0; k < columns; ++k)
      sum[k % 4] += wide[k] * static_cast<double>(static_cast<float>(hidden[t * columns + k]));
    logits[t] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }
  return logits;
}

}  // namespace activation_trace::test
