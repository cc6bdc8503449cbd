// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "activation_trace/model/llama.hpp"
#include "support/tiny_llama.hpp"

namespace activation_trace::test {

/// Token ids that do not repeat soon.
inline std::vector<TokenId> some_ids(Index count, Index vocab, std::uint32_t seed = 1) {
  std::vector<TokenId> ids;
  for (Index i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    ids.push_back(static_cast<TokenId>((seed >> 8) % static_cast<std::uint32_t>(vocab)));
  }
  return ids;
}

/// Every hidden state that an observer was shown, and the logits of the last call.
struct Trace {
  std::vector<std::vector<std::vector<float>>> hidden;  ///< [N + 1][T][d]
  std::vector<float> logits;                            ///< [V]

  explicit Trace(Index blocks) : hidden(static_cast<std::size_t>(blocks + 1)) {}

  [[nodiscard]] LayerObserver<> observer() {
    LayerObserver<> result;
    for (std::size_t i = 0; i < hidden.size(); ++i) result.layers.push_back(static_cast<Index>(i));
    result.on_states = [this](Index layer, Index first, MatrixView<const float> states) {
      auto& rows = hidden[static_cast<std::size_t>(layer)];
      rows.resize(static_cast<std::size_t>(first));  // after a rewind the later positions are written anew
      for (Index i = 0; i < states.extent(0); ++i) {
        const auto row = states.row(i).span();
        rows.emplace_back(row.begin(), row.end());
      }
    };
    return result;
  }

  /// Appends `ids` in calls of `piece` tokens.
  void run(Llama<>& model, std::span<const TokenId> ids, std::size_t piece = std::numeric_limits<std::size_t>::max()) {
    const LayerObserver<> all = observer();
    for (std::size_t i = 0; i < ids.size(); i += std::min(piece, ids.size() - i)) {
      const auto out = model.forward(ids.subspan(i, std::min(piece, ids.size() - i)), all);
      logits.assign(out.begin(), out.end());
    }
  }

  friend bool operator==(const Trace&, const Trace&) = default;
};

/// Rounding error that a float forward pass may show against exact arithmetic, relative to the largest element of
/// a state: a sum of K float products is off by about sqrt(K) units of 2^-24 of its result, and a block chains
/// four of them (v, o, up, down) on top of what it is given.
inline double rounding_tolerance(const LlamaConfig& config) {
  const auto longest = static_cast<double>(std::max({config.hidden, config.ffn, config.heads * config.head_dim}));
  return 4 * static_cast<double>(config.layers) * std::sqrt(longest) * 0x1p-24;
}

/// Largest difference over largest magnitude of `expected`.
template <class A, class B>
double relative_error(const A& actual, const B& expected) {
  double difference = 0;
  double magnitude = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    // A NaN must fail every comparison, and std::max would drop it.
    difference = error > difference || std::isnan(error) ? error : difference;
    magnitude = std::max(magnitude, std::abs(static_cast<double>(expected[i])));
  }
  return actual.size() == expected.size() ? difference / magnitude : std::numeric_limits<double>::infinity();
}

}  // namespace activation_trace::test
