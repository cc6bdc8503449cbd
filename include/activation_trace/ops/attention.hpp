// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/attention_by_row.hpp"
#include "activation_trace/ops/attention_by_tile.hpp"
#include "activation_trace/ops/attention_options.hpp"
#include "activation_trace/ops/attention_part.hpp"
#include "activation_trace/ops/execution.hpp"
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

/// Attention of every part, which share H, G and D, in one parallel region, or two: parts of few queries go through
/// another kernel. The result of a part does not depend on the others. Throws as above.
void attention(Execution<Host>& execution, std::span<const AttentionPart<>> parts, const AttentionOptions& options = {},
               const AttentionTuning& tuning = {});
/// The same with keys and values of half the size.
void attention(Execution<Host>& execution, std::span<const AttentionPart<Host, Half>> parts,
               const AttentionOptions& options = {}, const AttentionTuning& tuning = {});

namespace detail {

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

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
