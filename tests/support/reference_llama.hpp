// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <complex>
#include <cstddef>
#include <numbers>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/model/config.hpp"
#include "activation_trace/model/weights.hpp"

// A LLaMA in double, and what other families change in it, written line by line from model/README.md 2 with one token
// at a time and no cache layout, no batching and no code of the library but the weights' values. Slow and plain on
// purpose: it is the oracle.
namespace activation_trace::test::reference {

using activation_trace::Index;
using activation_trace::TokenId;
using Vector = std::vector<double>;

struct ForwardResult {
  std::vector<std::vector<Vector>> hidden;  ///< [N + 1][T][d], index convention of model/README.md 1
  std::vector<Vector> logits;               ///< [T][V]
};

// The loops that take nearly all of the time, in reference_llama.cpp: compiled once and optimised.
Vector row(const activation_trace::StoredMatrix<>& m, Index r);
Vector times(const activation_trace::StoredMatrix<>& m, const Vector& x);
Vector normalised(const Vector& x, const std::vector<float>& weight, double eps);

inline Vector plus(Vector x, const std::vector<float>& bias) {
  for (std::size_t i = 0; i < bias.size(); ++i) x[i] += double{bias[i]};
  return x;
}

/// Each head of x on its own, if there is a weight.
inline Vector heads_normalised(const Vector& x, const std::vector<float>& weight, double eps) {
  if (weight.empty()) return x;
  Vector y;
  for (auto head = x.begin(); head != x.end(); head += static_cast<std::ptrdiff_t>(weight.size()))
    for (const double v : normalised(Vector(head, head + static_cast<std::ptrdiff_t>(weight.size())), weight, eps))
      y.push_back(v);
  return y;
}

inline double capped(double x, const std::optional<float>& cap) {
  return cap ? double{*cap} * std::tanh(x / double{*cap}) : x;
}

inline double activated(double g, activation_trace::FfnActivation activation) {
  if (activation == activation_trace::FfnActivation::silu) return g / (1 + std::exp(-g));
  return g / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g)));
}

/// Radians per position of pair j, model/README.md 2, in a model of sequences of at most `longest`.
inline double frequency(const activation_trace::RopeConfig& rope, std::size_t j, Index head_dim, Index longest = 0) {
  using activation_trace::RopeScaling;
  const auto turned = static_cast<double>(rope.rotary_dim > 0 ? rope.rotary_dim : head_dim);
  double f = 1 / std::pow(double{rope.theta}, 2 * static_cast<double>(j) / turned);
  if (rope.scaling == RopeScaling::linear) f = f / double{rope.factor};
  if (rope.scaling == RopeScaling::llama3) {
    const double wavelength = 2 * std::numbers::pi / f;
    const double longest_kept = double{rope.original_context} / double{rope.high_freq_factor};
    const double shortest_scaled = double{rope.original_context} / double{rope.low_freq_factor};
    if (wavelength > shortest_scaled) {
      f = f / double{rope.factor};
    } else if (wavelength >= longest_kept) {
      const double s = (double{rope.original_context} / wavelength - double{rope.low_freq_factor}) /
                       (double{rope.high_freq_factor} - double{rope.low_freq_factor});
      f = (1 - s) * f / double{rope.factor} + s * f;
    }
  }
  if (!rope.long_divisors.empty() && static_cast<double>(longest) > double{rope.original_context})
    return f / double{rope.long_divisors[j]};
  return rope.divisors.empty() ? f : f / double{rope.divisors[j]};
}

/// Turns each pair of the part of each head that is rotated, its first, as one complex number.
inline void rotate(Vector& x, std::size_t position, const activation_trace::RopeConfig& rope, Index head_dim,
                   Index longest) {
  const auto d = static_cast<std::size_t>(head_dim);
  const auto part = static_cast<std::size_t>(rope.rotary_dim > 0 ? rope.rotary_dim : head_dim);
  const bool split = rope.layout == activation_trace::RopeLayout::half_split;
  for (std::size_t head = 0; head < x.size(); head += d) {
    for (std::size_t j = 0; j < part / 2; ++j) {
      double& re = x[head + (split ? j : 2 * j)];
      double& im = x[head + (split ? j + part / 2 : 2 * j + 1)];
      const double angle = static_cast<double>(position) * frequency(rope, j, head_dim, longest);
      const std::complex<double> turned = std::complex<double>(re, im) * std::polar(double{rope.amplitude}, angle);
      re = turned.real();
      im = turned.imag();
    }
  }
}

/// What block b's heads see at position t: queries q, keys and values of all positions up to it.
inline Vector attended(const activation_trace::LlamaConfig& config, std::size_t b, std::size_t t, const Vector& q,
                       const std::vector<Vector>& keys, const std::vector<Vector>& values) {
  const auto heads = static_cast<std::size_t>(config.heads);
  const auto group = heads / static_cast<std::size_t>(config.kv_heads);
  const auto dim = static_cast<std::size_t>(config.head_dim);
  const std::size_t window = config.windows.empty() ? 0 : static_cast<std::size_t>(config.windows[b]);
  const std::size_t first = window == 0 || t + 1 < window ? 0 : t + 1 - window;
  Vector mixed(heads * dim);
  for (std::size_t h = 0; h < heads; ++h) {
    const std::size_t kv = h / group * dim;
    Vector score;
    double largest = -INFINITY;
    for (std::size_t s = first; s <= t; ++s) {
      double sum = 0;
      for (std::size_t i = 0; i < dim; ++i) sum += q[h * dim + i] * keys[s][kv + i];
      sum *= config.attention_scale ? double{*config.attention_scale} : 1 / std::sqrt(static_cast<double>(dim));
      score.push_back(capped(sum, config.attention_soft_cap));
      largest = std::max(largest, score.back());
    }
    double total = 0;
    for (double& s : score) total += s = std::exp(s - largest);
    for (std::size_t s = first; s <= t; ++s)
      for (std::size_t i = 0; i < dim; ++i) mixed[h * dim + i] += score[s - first] / total * values[s][kv + i];
  }
  return mixed;
}

/// As a model whose sequences have at most as many positions as there are ids.
inline ForwardResult forward(const activation_trace::LlamaConfig& config,
                             const activation_trace::LlamaWeights<>& weights, std::span<const TokenId> ids) {
  const auto longest = static_cast<Index>(ids.size());
  const auto blocks = static_cast<std::size_t>(config.layers);
  const double eps = static_cast<double>(config.rms_norm_eps);
  ForwardResult result;
  result.hidden.resize(blocks + 1);
  std::vector<std::vector<Vector>> keys(blocks);
  std::vector<std::vector<Vector>> values(blocks);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    Vector x = row(weights.embedding, ids[t]);
    for (double& element : x) element *= double{config.embedding_scale};
    for (std::size_t b = 0; b < blocks; ++b) {
      result.hidden[b].push_back(x);
      const auto& w = weights.layers[b];
      Vector y = normalised(x, w.attention_norm, eps);
      Vector q = heads_normalised(plus(times(w.q, y), w.q_bias), w.q_norm, eps);
      const bool slides = !config.windows.empty() && config.windows[b] > 0;
      const auto& rope = slides && config.window_rope ? *config.window_rope : config.rope;
      const bool turns = config.rotated.empty() || config.rotated[b];
      if (turns) rotate(q, t, rope, config.head_dim, longest);
      keys[b].push_back(heads_normalised(plus(times(w.k, y), w.k_bias), w.k_norm, eps));
      if (turns) rotate(keys[b].back(), t, rope, config.head_dim, longest);
      values[b].push_back(plus(times(w.v, y), w.v_bias));
      const Vector mixed = attended(config, b, t, q, keys[b], values[b]);
      Vector projected = plus(times(w.o, mixed), w.o_bias);
      if (!w.attention_out_norm.empty()) projected = normalised(projected, w.attention_out_norm, eps);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += double{config.residual_scale} * projected[i];
      y = normalised(x, w.ffn_norm, eps);
      Vector gated = times(w.gate, y);
      const Vector up = times(w.up, y);
      for (std::size_t i = 0; i < gated.size(); ++i) gated[i] = activated(gated[i], config.activation) * up[i];
      Vector down = times(w.down, gated);
      if (!w.ffn_out_norm.empty()) down = normalised(down, w.ffn_out_norm, eps);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += double{config.residual_scale} * down[i];
    }
    result.hidden[blocks].push_back(normalised(x, weights.final_norm, eps));
    Vector logits = times(weights.lm_head, result.hidden[blocks].back());
    for (double& logit : logits) logit = capped(double{config.logit_scale} * logit, config.logit_soft_cap);
    result.logits.push_back(std::move(logits));
  }
  return result;
}

}  // namespace activation_trace::test::reference
