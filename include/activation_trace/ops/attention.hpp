// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/thread_pool.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Causal grouped-query attention with scale 1 / sqrt(D): the n queries are the last n of the t positions whose
/// keys and values are given, so query i sees positions 0 .. t - n + i.
///
/// q and out [n, H, D], k and v [t, G, D], where head h reads kv head h / (H / G). Any strides as long as the D
/// elements of a head are contiguous: a cache stored as [G, positions, D] reads fastest. out may be q.
/// Throws ShapeError.
void attention(ThreadPool& pool, TensorView<const float, 3> q, TensorView<const float, 3> k,
               TensorView<const float, 3> v, TensorView<float, 3> out);

inline void attention(ThreadPool& pool, TensorView<const float, 3> q, TensorView<const float, 3> k,
                      TensorView<const float, 3> v, TensorView<float, 3> out) {
  const Index n = q.extent(0);
  const Index heads = q.extent(1);
  const Index D = q.extent(2);
  const Index t = k.extent(0);
  const Index groups = k.extent(1);
  if (t < n) throw ShapeError("attention: " + std::to_string(n) + " queries but only " + std::to_string(t) + " keys");
  if (groups == 0 || heads % groups != 0)
    throw ShapeError("attention: " + std::to_string(heads) + " heads cannot share " + std::to_string(groups) +
                     " kv heads");
  detail::check_extent("attention: head size of k", k.extent(2), D);
  for (int dim = 0; dim < 3; ++dim) {
    detail::check_extent("attention: extent of v", v.extent(dim), k.extent(dim));
    detail::check_extent("attention: extent of out", out.extent(dim), q.extent(dim));
  }
  detail::check_contiguous_rows("attention: q", q);
  detail::check_contiguous_rows("attention: k", k);
  detail::check_contiguous_rows("attention: v", v);
  detail::check_contiguous_rows("attention: out", out);
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  pool.for_each_range(n * heads, 1, [&](Index begin, Index end, int worker) {
    float* scores = pool.scratch(worker, t).data();
    for (Index item = begin; item < end; ++item) {
      const Index i = item / heads;
      const Index h = item % heads;
      const Index g = h / (heads / groups);
      const Index visible = t - n + i + 1;
      const float* query = q.data() + i * q.stride(0) + h * q.stride(1);
      float max = -std::numeric_limits<float>::infinity();
      for (Index p = 0; p < visible; ++p) {
        scores[p] = scale * detail::dot(query, k.data() + p * k.stride(0) + g * k.stride(1), D);
        max = std::max(max, scores[p]);
      }
      float sum = 0;
      for (Index p = 0; p < visible; ++p) sum += scores[p] = std::exp(scores[p] - max);
      float* result = out.data() + i * out.stride(0) + h * out.stride(1);
      for (Index c = 0; c < D; ++c) result[c] = 0;
      for (Index p = 0; p < visible; ++p) {
        const float probability = scores[p] / sum;
        const float* value = v.data() + p * v.stride(0) + g * v.stride(1);
        for (Index c = 0; c < D; ++c) result[c] += probability * value[c];
      }
    }
  });
}

}  // namespace v0
}  // namespace activation_trace
