// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <span>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/attention_options.hpp"
#include "activation_trace/ops/attention_part.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/tensor/dtype.hpp"
#include "activation_trace/tensor/view.hpp"

// Attention of many queries: both products run on packed panels, the scores of a few queries at a time stay in cache.

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Those of `parts` that have not few queries.
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

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

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
