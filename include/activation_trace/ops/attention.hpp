// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <type_traits>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/attention_options.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/ops/soft_cap.hpp"
#include "activation_trace/tensor/dtype.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Causal grouped-query attention: the n queries are the last n of the t positions whose keys and values are given, so
/// query i sees positions 0 .. t - n + i, or the last `window` of them.
///
/// q and out [n, H, D], k and v [t, G, D], where head h reads kv head h / (H / G). Any strides as long as the D
/// elements of a head are contiguous: a cache stored as [G, positions, D] reads fastest. out may be q.
/// Throws ShapeError, and ArgumentError for options that are not positive and finite.
void attention(Execution<Host>& execution, TensorView<const float, 3> q, TensorView<const float, 3> k,
               TensorView<const float, 3> v, TensorView<float, 3> out, const AttentionOptions& options = {});

/// How attention of many queries cuts its work, in positive numbers, as MatmulTuning; no result depends on it.
struct AttentionTuning {
  Index query_tile = 96;     ///< queries that share a packed copy of their keys and values
  Index query_subtile = 24;  ///< of them, those whose scores are held at once
};

/// Attention of one sequence among several, as above; keys and values are floats or halves, which are widened exactly.
template <class Space = Host, class T = float>
struct AttentionPart {
  TensorView<const float, 3, Space> q;  ///< [n, H, D]
  TensorView<const T, 3, Space> k;      ///< [t, G, D]
  TensorView<const T, 3, Space> v;      ///< [t, G, D]
  TensorView<float, 3, Space> out;      ///< [n, H, D], may be q
};

/// Attention of every part, which share H, G and D, in one parallel region, or two: parts of few queries go through
/// another kernel. The result of a part does not depend on the others. Throws as above.
void attention(Execution<Host>& execution, std::span<const AttentionPart<>> parts, const AttentionOptions& options = {},
               const AttentionTuning& tuning = {});
/// The same with keys and values of half the size.
void attention(Execution<Host>& execution, std::span<const AttentionPart<Host, Half>> parts,
               const AttentionOptions& options = {}, const AttentionTuning& tuning = {});

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

/// Few queries: one head of one query at a time.
constexpr Index few_queries = 4;
template <class T>
[[nodiscard]] bool has_few_queries(const AttentionPart<Host, T>& part) {
  return part.q.extent(0) < few_queries;
}
template <class T>
void attend_by_row(Execution<Host>& execution, std::span<const AttentionPart<Host, T>> parts,
                   const AttentionOptions& options);

/// Many queries: both products run on packed panels, the scores of a few queries at a time stay in cache.
template <class T>
void attend_by_tile(Execution<Host>& execution, std::span<const AttentionPart<Host, T>> parts,
                    const AttentionOptions& options, const AttentionTuning& tuning);

/// Keys before a tile's window are left out in steps that are whole chains of the product and whole panels, so that
/// every sum is cut where it would be with them.
constexpr Index key_step = 96;

/// A worker's scratch memory, cut up for tiles of parts of up to `positions` keys.
struct TileScratch {
  AttentionTuning tuning;
  Index key_panels;
  Index value_panels;
  Index score_stride;  // not a power of two: rows would compete for cache sets
  float* packed_keys;
  float* packed_values;
  float* row_buffer;
  float* scores;
  float* results;
  float* totals;

  TileScratch(Execution<Host>& execution, int worker, const AttentionTuning& how, Index positions, Index D,
              Index width);
};

/// Keys and values of kv head g, packed.
template <class T>
void pack_tile(const Kernels& kernels, TensorView<const T, 3> k, TensorView<const T, 3> v, Index g,
               const TileScratch& scratch);

/// Tile number `tile` of a part's queries, in the heads that read kv head g.
template <class T>
void attend_tile(const Kernels& kernels, const AttentionPart<Host, T>& part, const AttentionOptions& options, Index g,
                 Index tile, const TileScratch& scratch);

/// attention() of keys and values that are T.
template <class T>
void attend(Execution<Host>& execution, std::span<const AttentionPart<Host, T>> parts, const AttentionOptions& options,
            const AttentionTuning& tuning);

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void attention(Execution<Host>& execution, TensorView<const float, 3> q,
                                                TensorView<const float, 3> k, TensorView<const float, 3> v,
                                                TensorView<float, 3> out, const AttentionOptions& options) {
  const AttentionPart<> part{q, k, v, out};
  attention(execution, std::span(&part, 1), options);
}

ACTIVATION_TRACE_COMPILED_INLINE void attention(Execution<Host>& execution, std::span<const AttentionPart<>> parts,
                                                const AttentionOptions& options, const AttentionTuning& tuning) {
  detail::attend(execution, parts, options, tuning);
}

ACTIVATION_TRACE_COMPILED_INLINE void attention(Execution<Host>& execution,
                                                std::span<const AttentionPart<Host, Half>> parts,
                                                const AttentionOptions& options, const AttentionTuning& tuning) {
  detail::attend(execution, parts, options, tuning);
}

template <class T>
void detail::attend(Execution<Host>& execution, std::span<const AttentionPart<Host, T>> parts,
                    const AttentionOptions& options, const AttentionTuning& tuning) {
  check_attention(parts, options);
  if (std::ranges::any_of(parts, has_few_queries<T>)) attend_by_row(execution, parts, options);
  if (!std::ranges::all_of(parts, has_few_queries<T>)) attend_by_tile(execution, parts, options, tuning);
}

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

template <class T>
void detail::attend_by_row(Execution<Host>& execution, std::span<const AttentionPart<Host, T>> parts,
                           const AttentionOptions& options) {
  const Kernels& kernels = detail::kernels(execution.isa());
  const DotKernels& dot_kernels = detail::dot_kernels(execution.isa(), dtype_of<T>);
  const Index D = parts[0].q.extent(2);
  const Index groups = parts[0].k.extent(1);
  const Index sharing = parts[0].q.extent(1) / groups;
  Index rows = 0;
  Index longest = 0;
  for (const AttentionPart<Host, T>& part : parts)
    if (has_few_queries(part)) {
      rows += part.q.extent(0);
      longest = std::max(longest, part.k.extent(0));
    }
  // The groups outermost: parts of different length, cut in the middle of the groups, make equal shares.
  execution.for_each_range(groups * rows * sharing, 1, [&](Index begin, Index end, int worker) {
    const Index stride = longest + kernels.lanes;
    float* weights = execution.scratch(worker, sharing * stride).data();
    Index item = 0;
    for (Index g = 0; g < groups; ++g) {
      for (const auto& [q, k, v, out] : parts) {
        const Index n = q.extent(0);
        if (n >= few_queries) continue;
        const Index first = item;
        item += n * sharing;
        const Index last = std::min(end, item);
        for (Index j = std::max(begin, first), heads = 0; j < last; j += heads) {
          const Index i = (j - first) / sharing;
          const Index h = g * sharing + (j - first) % sharing;
          heads = std::min((g + 1) * sharing - h, last - j);  // of one query, that read the same keys
          const Index all = k.extent(0) - n + i + 1;
          const Index hidden = window_begin(options, all);
          const Index visible = all - hidden;
          dot_kernels.dot_rows(reinterpret_cast<const std::byte*>(k.data() + hidden * k.stride(0) + g * k.stride(1)),
                               k.stride(0) * static_cast<Index>(sizeof(T)), visible, D,
                               q.data() + i * q.stride(0) + h * q.stride(1), q.stride(1), heads, weights, stride);
          const Index padded = (visible + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
          for (Index head = 0; head < heads; ++head) {
            float* row = weights + head * stride;
            const float total = weigh_scores(kernels, options, D, row, 0, visible, padded);
            float* result = out.data() + i * out.stride(0) + (h + head) * out.stride(1);
            const T* values = v.data() + hidden * v.stride(0) + g * v.stride(1);
            if constexpr (std::is_same_v<T, Half>)
              kernels.weighted_sum_f16(row, values, v.stride(0), visible, D, result);
            else
              kernels.weighted_sum(row, values, v.stride(0), visible, D, result);
            for (Index c = 0; c < D; ++c) result[c] /= total;
          }
        }
      }
    }
  });
}

template <class T>
void detail::attend_by_tile(Execution<Host>& execution, std::span<const AttentionPart<Host, T>> parts,
                            const AttentionOptions& options, const AttentionTuning& tuning) {
  const Index groups = parts[0].k.extent(1);
  const Index width = kernels(execution.isa()).panel_width;
  const auto tiles_of = [&](const AttentionPart<Host, T>& part) {
    return has_few_queries(part) ? 0 : (part.q.extent(0) + tuning.query_tile - 1) / tuning.query_tile;
  };
  Index tiles = 0;
  Index longest = 0;
  for (const AttentionPart<Host, T>& part : parts) {
    tiles += tiles_of(part);
    if (tiles_of(part) > 0) longest = std::max(longest, part.k.extent(0));
  }
  execution.for_each_range(groups * tiles, 1, [&](Index begin, Index end, int worker) {
    const TileScratch scratch(execution, worker, tuning, longest, parts[0].q.extent(2), width);
    Index item = 0;
    for (Index g = 0; g < groups; ++g) {
      for (const AttentionPart<Host, T>& part : parts) {
        const Index own = tiles_of(part);
        const Index first = item;
        item += own;
        for (Index j = std::max(begin, first); j < std::min(end, item); ++j) {
          // Tiles from both ends in turn: later ones see more keys, and workers get equal shares.
          const Index order = j - first;
          attend_tile(kernels(execution.isa()), part, options, g, order % 2 == 0 ? order / 2 : own - 1 - order / 2,
                      scratch);
        }
      }
    }
  });
}

ACTIVATION_TRACE_COMPILED_INLINE detail::TileScratch::TileScratch(Execution<Host>& execution, int worker,
                                                                  const AttentionTuning& how, Index positions, Index D,
                                                                  Index width)
    : tuning(how),
      key_panels((positions + width - 1) / width),
      value_panels((D + width - 1) / width),
      score_stride(key_panels * width + 16) {
  const Index sizes[] = {key_panels * D * width,
                         value_panels * key_panels * width * width,
                         pack_depth * width,
                         tuning.query_subtile * score_stride,
                         tuning.query_subtile * value_panels * width,
                         tuning.query_subtile};
  packed_keys = execution.scratch(worker, std::accumulate(std::begin(sizes), std::end(sizes), Index{0})).data();
  packed_values = packed_keys + sizes[0];
  row_buffer = packed_values + sizes[1];
  scores = row_buffer + sizes[2];
  results = scores + sizes[3];
  totals = results + sizes[4];
}

template <class T>
void detail::pack_tile(const Kernels& kernels, TensorView<const T, 3> k, TensorView<const T, 3> v, Index g,
                       const TileScratch& scratch) {
  const Index width = kernels.panel_width;
  const Index D = k.extent(2);
  const Index visible = k.extent(0);
  const Index panels = (visible + width - 1) / width;
  for (Index p = 0; p < panels; ++p) {
    const std::byte* source[max_panel_width];
    const Index rows = std::min(width, visible - p * width);
    for (Index r = 0; r < rows; ++r)
      source[r] = reinterpret_cast<const std::byte*>(k.data() + (p * width + r) * k.stride(0) + g * k.stride(1));
    kernels.pack(kernels.decode_of(dtype_of<T>), source, rows, 0, D, scratch.row_buffer,
                 scratch.packed_keys + p * D * width);
  }
  for (Index p = 0; p < scratch.value_panels; ++p) {
    float* panel = scratch.packed_values + p * scratch.key_panels * width * width;
    const Index columns = std::min(width, D - p * width);
    for (Index r = 0; r < visible; ++r, panel += width) {
      const T* value = v.data() + r * v.stride(0) + g * v.stride(1) + p * width;
      std::copy(value, value + columns, panel);
      std::fill(panel + columns, panel + width, 0.0f);
    }
  }
}

template <class T>
void detail::attend_tile(const Kernels& kernels, const AttentionPart<Host, T>& part, const AttentionOptions& options,
                         Index g, Index tile, const TileScratch& scratch) {
  const auto& [q, all_keys, all_values, out] = part;
  const Index width = kernels.panel_width;
  const Index n = q.extent(0);
  const Index D = q.extent(2);
  const Index sharing = q.extent(1) / all_keys.extent(1);
  const Index value_panel_size = scratch.key_panels * width * width;
  const Index result_stride = scratch.value_panels * width;
  const Index first = tile * scratch.tuning.query_tile;
  const Index last = std::min(first + scratch.tuning.query_tile, n);
  const Index query_subtile = scratch.tuning.query_subtile;
  const Index skipped = window_begin(options, all_keys.extent(0) - n + first + 1) / key_step * key_step;
  const auto k = all_keys.slice(0, skipped, all_keys.extent(0));
  const auto v = all_values.slice(0, skipped, all_values.extent(0));
  const Index t = k.extent(0);
  const Index visible = t - n + last;
  pack_tile(kernels, k.slice(0, 0, visible), v.slice(0, 0, visible), g, scratch);
  for (Index h = g * sharing; h < (g + 1) * sharing; ++h) {
    for (Index i = first; i < last; i += query_subtile) {
      const Index rows = std::min(query_subtile, last - i);
      const Index seen = t - n + i + rows;  // by the last of these rows
      const Index seen_panels = (seen + width - 1) / width;
      for (Index p = 0; p < seen_panels; ++p)
        kernels.multiply_panel(q.data() + i * q.stride(0) + h * q.stride(1), q.stride(0), rows,
                               scratch.packed_keys + p * D * width, D, scratch.scores + p * width, scratch.score_stride,
                               Into::set);
      for (Index r = 0; r < rows; ++r) {
        const Index count = t - n + i + r + 1;
        scratch.totals[r] = weigh_scores(kernels, options, D, scratch.scores + r * scratch.score_stride,
                                         window_begin(options, skipped + count) - skipped, count, seen_panels * width);
      }
      for (Index p = 0; p < scratch.value_panels; ++p)
        kernels.multiply_panel(scratch.scores, scratch.score_stride, rows, scratch.packed_values + p * value_panel_size,
                               seen, scratch.results + p * width, result_stride, Into::set);
      for (Index r = 0; r < rows; ++r) {
        float* result = out.data() + (i + r) * out.stride(0) + h * out.stride(1);
        for (Index c = 0; c < D; ++c) result[c] = scratch.results[r * result_stride + c] / scratch.totals[r];
      }
    }
  }
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
