// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/attention_options.hpp"
#include "activation_trace/ops/attention_part.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/tensor/dtype.hpp"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/view.hpp"

// Attention of few queries, one at a time: what it waits for is reading keys and values, of each position those of
// several kv heads, for all heads that share them.

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Positions whose keys, and then values, are read at a time, kv head after kv head of a pass.
constexpr Index row_step = 16;
/// Bytes that a position has for the kv heads of a pass, or those of one: what is read in its order comes fastest.
constexpr Index row_bytes_of_pass = 1024;

/// Those of `parts` that have few queries.
template <class T>
void attend_by_row(Execution<Host>& execution, std::span<const AttentionPart<Host, T>> parts,
                   const AttentionOptions& options);

/// Query i of a part.
template <class T>
struct AttentionRow {
  const AttentionPart<Host, T>& part;
  Index i;
  Index hidden;   ///< positions before its window
  Index visible;  ///< those that it sees

  AttentionRow(const AttentionPart<Host, T>& of, Index query, const AttentionOptions& options)
      : part(of), i(query), hidden(window_begin(options, end())), visible(end() - hidden) {}

  /// The first position that it does not see.
  [[nodiscard]] Index end() const { return part.k.extent(0) - part.q.extent(0) + i + 1; }
  [[nodiscard]] Index heads() const { return part.q.extent(1); }
  [[nodiscard]] Index sharing() const { return heads() / part.k.extent(1); }
  /// Of position r that it sees, as kv head g has it in `m`.
  [[nodiscard]] const T* at(TensorView<const T, 3> m, Index r, Index g) const {
    return m.data() + (hidden + r) * m.stride(0) + g * m.stride(1);
  }
  /// Heads that are attended to in a pass.
  [[nodiscard]] Index pass() const {
    const auto bytes = part.q.extent(2) * static_cast<Index>(sizeof(T));
    return std::max<Index>(1, row_bytes_of_pass / std::max<Index>(1, bytes)) * sharing();
  }

  /// Calls f(r, rows, g, head, heads) for positions [r, r + rows), a few at a time, and of these for every kv head g
  /// that some of heads [begin, behind) read, which are `heads` from `head` on.
  template <class F>
  void for_each_piece(Index begin, Index behind, const F& f) const {
    for (Index r = 0; r < visible; r += row_step)
      for (Index head = begin, count = 0; head < behind; head += count) {
        const Index g = head / sharing();
        count = std::min((g + 1) * sharing(), behind) - head;
        f(r, std::min(row_step, visible - r), g, head, count);
      }
  }
};

/// Rows of D elements, on their way to the second-level cache: most kernels that multiply rows of weights fetch none
/// that others lie between. On Zen 4 scores by AVX2, f32, came from memory at 11.5 GB/s in place of 5.7.
template <class T>
void fetch_rows(const T* at, Index stride, Index rows, Index D) {
  for (Index r = 0; r < rows; ++r, at += stride)
    for (Index c = 0; c < D; c += 64 / static_cast<Index>(sizeof(T))) __builtin_prefetch(at + c, 0, 2);
}

/// Heads [begin, behind) of a row, with memory for `stride` floats for each and one more.
template <class T>
void attend_heads(Isa isa, const AttentionRow<T>& row, const AttentionOptions& options, Index begin, Index behind,
                  float* memory, Index stride);

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

template <class T>
void detail::attend_by_row(Execution<Host>& execution, std::span<const AttentionPart<Host, T>> parts,
                           const AttentionOptions& options) {
  Index work = 0;  // in positions that a head sees
  Index longest = 0;
  Index pass = 0;
  const auto for_each_row = [&](const auto& f) {
    for (const AttentionPart<Host, T>& part : parts)
      for (Index i = 0; has_few_queries(part) && i < part.q.extent(0); ++i) f(AttentionRow<T>(part, i, options));
  };
  for_each_row([&](const AttentionRow<T>& row) {
    work += row.heads() * row.visible;
    longest = std::max(longest, row.visible);
    pass = std::min(row.pass(), row.heads());
  });
  execution.for_each_range(work, 1, [&](Index begin, Index end, int worker) {
    const Index stride = longest + kernels(execution.isa()).lanes;
    float* memory = execution.scratch(worker, pass * (stride + 1)).data();
    Index first = 0;  // of this row, whose heads are those of the range that they begin in
    for_each_row([&](const AttentionRow<T>& row) {
      const auto head_from = [&](Index place) {
        return std::clamp<Index>((place - first + row.visible - 1) / row.visible, 0, row.heads());
      };
      const Index behind = end <= first ? 0 : head_from(end);
      for (Index head = begin <= first ? 0 : head_from(begin), next = 0; head < behind; head = next) {
        next = std::min((head / pass + 1) * pass, behind);
        attend_heads(execution.isa(), row, options, head, next, memory, stride);
      }
      first += row.heads() * row.visible;
    });
  });
}

template <class T>
void detail::attend_heads(Isa isa, const AttentionRow<T>& row, const AttentionOptions& options, Index begin,
                          Index behind, float* memory, Index stride) {
  const Kernels& kernels = detail::kernels(isa);
  const DotKernels& dot_kernels = detail::dot_kernels(isa, dtype_of<T>);
  const AttentionPart<Host, T>& part = row.part;  // clang 14 captures no bindings
  const Index D = part.q.extent(2);
  const auto weights = [&](Index head) { return memory + (head - begin) * stride; };
  const auto result = [&](Index head) {
    return part.out.data() + row.i * part.out.stride(0) + head * part.out.stride(1);
  };
  row.for_each_piece(begin, behind, [&](Index r, Index rows, Index g, Index head, Index heads) {
    fetch_rows(row.at(part.k, r + row_step, g), part.k.stride(0), rows, D);
    dot_kernels.dot_rows(reinterpret_cast<const std::byte*>(row.at(part.k, r, g)),
                         part.k.stride(0) * static_cast<Index>(sizeof(T)), rows, D,
                         part.q.data() + row.i * part.q.stride(0) + head * part.q.stride(1), part.q.stride(1), heads,
                         weights(head) + r, stride);
  });
  float* totals = memory + (behind - begin) * stride;
  const Index padded = (row.visible + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
  for (Index head = begin; head < behind; ++head)
    totals[head - begin] = weigh_scores(kernels, options, D, weights(head), 0, row.visible, padded);
  row.for_each_piece(begin, behind, [&](Index r, Index rows, Index g, Index head, Index heads) {
    const Into into = r == 0 ? Into::set : Into::add;
    if constexpr (std::is_same_v<T, Half>)
      kernels.weighted_sum_f16(weights(head) + r, stride, heads, row.at(part.v, r, g), part.v.stride(0), rows, D,
                               result(head), part.out.stride(1), into);
    else
      kernels.weighted_sum(weights(head) + r, stride, heads, row.at(part.v, r, g), part.v.stride(0), rows, D,
                           result(head), part.out.stride(1), into);
  });
  for (Index head = begin; head < behind; ++head)
    for (Index c = 0; c < D; ++c) result(head)[c] /= totals[head - begin];
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
