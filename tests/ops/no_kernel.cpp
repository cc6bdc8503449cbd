// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Weight types without kernels, which must not compile: KERNEL is one that asks for them.
#include "activation_trace/ops/kernels/kernels.hpp"

namespace activation_trace {

/// An 8-bit float that nobody has said how to load.
struct Scalar {
  std::uint8_t bits;
  constexpr operator float() const noexcept { return static_cast<float>(bits); }
};

/// A block that nobody decodes but itself.
template <int n>
struct BlockOf {
  static constexpr int elements = n;
  std::uint8_t q[n];
  void decode(float* y) const noexcept {
    for (int j = 0; j < n; ++j) y[j] = static_cast<float>(q[j]);
  }
};
using Block = BlockOf<32>;
using LongBlock = BlockOf<256>;

[[maybe_unused]] const auto kernel = &detail::KERNEL;

}  // namespace activation_trace
