// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/attention_options.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/ops/soft_cap.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Attention of one sequence among several, as above; keys and values are floats or halves, which are widened exactly.
template <class Space = Host, class T = float>
struct AttentionPart {
  TensorView<const float, 3, Space> q;  ///< [n, H, D]
  TensorView<const T, 3, Space> k;      ///< [t, G, D]
  TensorView<const T, 3, Space> v;      ///< [t, G, D]
  TensorView<float, 3, Space> out;      ///< [n, H, D], may be q
};

namespace detail {

void check_attention(const AttentionOptions& options);

template <class Space, class T>
void check_attention(const AttentionPart<Space, T>& part) {
  const auto& [q, k, v, out] = part;
  const Index n = q.extent(0);
  const Index heads = q.extent(1);
  const Index t = k.extent(0);
  const Index groups = k.extent(1);
  if (t < n) throw ShapeError("attention: " + std::to_string(n) + " queries but only " + std::to_string(t) + " keys");
  if (groups == 0 || heads % groups != 0)
    throw ShapeError("attention: " + std::to_string(heads) + " heads cannot share " + std::to_string(groups) +
                     " kv heads");
  check_extent("attention: head size of k", k.extent(2), q.extent(2));
  for (int dim = 0; dim < 3; ++dim) {
    check_extent("attention: extent of v", v.extent(dim), k.extent(dim));
    check_extent("attention: extent of out", out.extent(dim), q.extent(dim));
  }
  check_contiguous_rows("attention: q", q);
  check_contiguous_rows("attention: k", k);
  check_contiguous_rows("attention: v", v);
  check_contiguous_rows("attention: out", out);
}

/// All that attention() throws for, in any space.
template <class Space, class T>
void check_attention(std::span<const AttentionPart<Space, T>> parts, const AttentionOptions& options) {
  check_attention(options);
  for (const AttentionPart<Space, T>& part : parts) {
    check_attention(part);
    check_extent("attention: heads of a part", part.q.extent(1), parts[0].q.extent(1));
    check_extent("attention: kv heads of a part", part.k.extent(1), parts[0].k.extent(1));
    check_extent("attention: head size of a part", part.q.extent(2), parts[0].q.extent(2));
  }
}

/// The first of `visible` positions that a query which is the last of them sees.
[[nodiscard]] inline Index window_begin(const AttentionOptions& options, Index visible) {
  return options.window == 0 ? 0 : std::max(Index{0}, visible - options.window);
}

/// The scale that has a value, of heads of D elements.
[[nodiscard]] inline float attention_scale(const AttentionOptions& options, Index D) {
  return options.scale.value_or(1.0f / std::sqrt(static_cast<float>(D)));
}

/// Scores [0, count) of a query become the weights of its values, 0 before `begin` and from count to padded, a multiple
/// of lanes. Returns their sum.
float weigh_scores(const Kernels& kernels, const AttentionOptions& options, Index D, float* scores, Index begin,
                   Index count, Index padded);

/// Fewer queries than this are attended to one by one.
constexpr Index few_queries = 4;
template <class T>
[[nodiscard]] bool has_few_queries(const AttentionPart<Host, T>& part) {
  return part.q.extent(0) < few_queries;
}

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void detail::check_attention(const AttentionOptions& options) {
  // Words are made only where they are needed: this is called for every block and token.
  const auto positive = [](const std::optional<float>& x, const char* name) {
    if (x && !(*x > 0 && std::isfinite(*x)))
      throw ArgumentError(std::string("AttentionOptions: ") + name + " must be positive and finite, got " +
                          std::to_string(*x));
  };
  positive(options.scale, "scale");
  positive(options.soft_cap, "soft_cap");
  if (options.window < 0)
    throw ArgumentError("AttentionOptions: window must not be negative, got " + std::to_string(options.window));
}

ACTIVATION_TRACE_COMPILED_INLINE float detail::weigh_scores(const Kernels& kernels, const AttentionOptions& options,
                                                            Index D, float* scores, Index begin, Index count,
                                                            Index padded) {
  std::fill(scores, scores + begin, -std::numeric_limits<float>::infinity());
  const float scale = attention_scale(options, D);
  if (!options.soft_cap) return kernels.exponentiate_row(scores, count, padded, scale);
  const std::span<float> seen(scores + begin, scores + count);
  for (float& score : seen) score *= scale;
  detail::soft_cap(seen, *options.soft_cap);
  return kernels.exponentiate_row(scores, count, padded, 1.0f);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
