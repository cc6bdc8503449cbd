// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <span>
#include <string>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
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

namespace detail {

/// Few queries: one head of one query at a time.
void attend_by_row(ThreadPool& pool, TensorView<const float, 3> q, TensorView<const float, 3> k,
                   TensorView<const float, 3> v, TensorView<float, 3> out);

/// Many queries: both products run on packed panels, the scores of a few queries at a time stay in cache.
void attend_by_tile(ThreadPool& pool, TensorView<const float, 3> q, TensorView<const float, 3> k,
                    TensorView<const float, 3> v, TensorView<float, 3> out);

}  // namespace detail

inline void attention(ThreadPool& pool, TensorView<const float, 3> q, TensorView<const float, 3> k,
                      TensorView<const float, 3> v, TensorView<float, 3> out) {
  const Index n = q.extent(0);
  const Index heads = q.extent(1);
  const Index t = k.extent(0);
  const Index groups = k.extent(1);
  if (t < n) throw ShapeError("attention: " + std::to_string(n) + " queries but only " + std::to_string(t) + " keys");
  if (groups == 0 || heads % groups != 0)
    throw ShapeError("attention: " + std::to_string(heads) + " heads cannot share " + std::to_string(groups) +
                     " kv heads");
  detail::check_extent("attention: head size of k", k.extent(2), q.extent(2));
  for (int dim = 0; dim < 3; ++dim) {
    detail::check_extent("attention: extent of v", v.extent(dim), k.extent(dim));
    detail::check_extent("attention: extent of out", out.extent(dim), q.extent(dim));
  }
  detail::check_contiguous_rows("attention: q", q);
  detail::check_contiguous_rows("attention: k", k);
  detail::check_contiguous_rows("attention: v", v);
  detail::check_contiguous_rows("attention: out", out);
  if (n < 4)
    detail::attend_by_row(pool, q, k, v, out);
  else
    detail::attend_by_tile(pool, q, k, v, out);
}

inline void detail::attend_by_row(ThreadPool& pool, TensorView<const float, 3> q, TensorView<const float, 3> k,
                                  TensorView<const float, 3> v, TensorView<float, 3> out) {
  const Kernels& kernels = detail::kernels(pool.isa());
  const Index n = q.extent(0);
  const Index heads = q.extent(1);
  const Index D = q.extent(2);
  const Index t = k.extent(0);
  const Index sharing = heads / k.extent(1);
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  pool.for_each_range(n * heads, 1, [&](Index begin, Index end, int worker) {
    const std::span<float> scratch = pool.scratch(worker, t + kernels.lanes);
    for (Index item = begin; item < end; ++item) {
      const Index i = item / heads;
      const Index h = item % heads;
      const Index visible = t - n + i + 1;
      const float* keys = k.data() + h / sharing * k.stride(1);
      float* weights = scratch.data();
      kernels.dot_rows(DType::f32, reinterpret_cast<const std::byte*>(keys),
                       k.stride(0) * static_cast<Index>(sizeof(float)), visible, D,
                       q.data() + i * q.stride(0) + h * q.stride(1), nullptr, weights);
      const Index padded = (visible + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
      const float total = kernels.exponentiate_row(weights, visible, padded, scale);
      float* result = out.data() + i * out.stride(0) + h * out.stride(1);
      kernels.weighted_sum(weights, v.data() + h / sharing * v.stride(1), v.stride(0), visible, D, result);
      for (Index c = 0; c < D; ++c) result[c] /= total;
    }
  });
}

inline void detail::attend_by_tile(ThreadPool& pool, TensorView<const float, 3> q, TensorView<const float, 3> k,
                                   TensorView<const float, 3> v, TensorView<float, 3> out) {
  constexpr Index tile = 96;     // queries that share a packed copy of their keys and values
  constexpr Index subtile = 24;  // of them, those whose scores are held at once
  const Kernels& kernels = detail::kernels(pool.isa());
  const Index width = kernels.panel_width;
  const Index n = q.extent(0);
  const Index D = q.extent(2);
  const Index t = k.extent(0);
  const Index sharing = q.extent(1) / k.extent(1);
  const Index tiles = (n + tile - 1) / tile;
  const Index key_panels = (t + width - 1) / width;
  const Index value_panels = (D + width - 1) / width;
  const Index score_stride = key_panels * width + 16;  // not a power of two: rows would compete for cache sets
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  pool.for_each_range(k.extent(1) * tiles, 1, [&](Index begin, Index end, int worker) {
    const Index sizes[] = {key_panels * D * width, value_panels * key_panels * width * width, pack_depth * width,
                           subtile * score_stride, subtile * value_panels * width};
    float* packed_keys = pool.scratch(worker, std::accumulate(std::begin(sizes), std::end(sizes), Index{0})).data();
    float* packed_values = packed_keys + sizes[0];
    float* row_buffer = packed_values + sizes[1];
    float* scores = row_buffer + sizes[2];
    float* results = scores + sizes[3];
    for (Index item = begin; item < end; ++item) {
      const Index g = item / tiles;
      // Tiles from both ends in turn: later ones see more keys, and workers get equal shares.
      const Index order = item % tiles;
      const Index first = (order % 2 == 0 ? order / 2 : tiles - 1 - order / 2) * tile;
      const Index last = std::min(first + tile, n);
      const Index visible = t - n + last;
      const Index panels = (visible + width - 1) / width;
      for (Index p = 0; p < panels; ++p) {
        const std::byte* source[32];
        const Index rows = std::min(width, visible - p * width);
        for (Index r = 0; r < rows; ++r)
          source[r] = reinterpret_cast<const std::byte*>(k.data() + (p * width + r) * k.stride(0) + g * k.stride(1));
        kernels.pack(DType::f32, source, rows, 0, D, row_buffer, packed_keys + p * D * width);
      }
      for (Index p = 0; p < value_panels; ++p) {
        float* panel = packed_values + p * key_panels * width * width;
        const Index columns = std::min(width, D - p * width);
        for (Index r = 0; r < visible; ++r, panel += width) {
          const float* value = v.data() + r * v.stride(0) + g * v.stride(1) + p * width;
          std::copy(value, value + columns, panel);
          std::fill(panel + columns, panel + width, 0.0f);
        }
      }
      for (Index h = g * sharing; h < (g + 1) * sharing; ++h) {
        for (Index i = first; i < last; i += subtile) {
          const Index rows = std::min(subtile, last - i);
          const Index seen = t - n + i + rows;  // by the last of these rows
          const Index seen_panels = (seen + width - 1) / width;
          for (Index p = 0; p < seen_panels; ++p)
            kernels.multiply_panel(q.data() + i * q.stride(0) + h * q.stride(1), q.stride(0), rows,
                                   packed_keys + p * D * width, D, scores + p * width, score_stride, Into::set);
          float totals[subtile];
          for (Index r = 0; r < rows; ++r)
            totals[r] =
                kernels.exponentiate_row(scores + r * score_stride, t - n + i + r + 1, seen_panels * width, scale);
          for (Index p = 0; p < value_panels; ++p)
            kernels.multiply_panel(scores, score_stride, rows, packed_values + p * key_panels * width * width, seen,
                                   results + p * width, value_panels * width, Into::set);
          for (Index r = 0; r < rows; ++r) {
            float* result = out.data() + (i + r) * out.stride(0) + h * out.stride(1);
            for (Index c = 0; c < D; ++c) result[c] = results[r * value_panels * width + c] / totals[r];
          }
        }
      }
    }
  });
}

}  // namespace v0
}  // namespace activation_trace
