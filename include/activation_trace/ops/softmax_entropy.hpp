// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/thread_pool.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Appends T context positions to the softmax over the context of every vocabulary entry: states[v] is merged
/// with the logits hidden w_v^T (ALGORITHMS.md 1.1). hidden [T, d], w [V, d], states [V]. The T x V scores exist
/// only as tiles in cache. Throws ShapeError.
void softmax_states(ThreadPool& pool, MatrixView<const float> hidden, const StoredMatrix& w,
                    std::span<SoftmaxState> states);

/// The same for chosen entries: states[i] belongs to row ids[i] of w; an id may occur more than once.
/// Throws ArgumentError for an id outside w.
void softmax_states(ThreadPool& pool, MatrixView<const float> hidden, const StoredMatrix& w,
                    std::span<const TokenId> ids, std::span<SoftmaxState> states);

/// entropy[v] in nats of the softmax over all T positions; NaN without a finite logit. Works in `entropy`
/// and a tile per worker: nothing else is allocated. Throws ShapeError.
void softmax_entropy(ThreadPool& pool, MatrixView<const float> hidden, const StoredMatrix& w, std::span<float> entropy);

namespace detail {

template <class RowOf, class Consume>
void softmax_rows(ThreadPool& pool, MatrixView<const float> hidden, const StoredMatrix& w, Index count, RowOf row_of,
                  Consume consume) {
  check_extent("softmax_states: columns of w", w.cols(), hidden.extent(1));
  check_contiguous_rows("softmax_states: hidden", hidden);
  pool.for_each_range(count, 1, [&](Index begin, Index end, int worker) {
    const std::span<float> row = pool.scratch(worker, w.cols());
    for (Index i = begin; i < end; ++i) {
      w.decode_row(row_of(i), row);
      SoftmaxState state;
      for (Index first = 0; first < hidden.extent(0); first += 512) {
        SoftmaxState part;
        for (Index t = first; t < std::min(first + 512, hidden.extent(0)); ++t)
          part.push(dot(hidden.data() + t * hidden.stride(0), row.data(), w.cols()));
        state.merge(part);
      }
      consume(i, state);
    }
  });
}

}  // namespace detail

inline void softmax_states(ThreadPool& pool, MatrixView<const float> hidden, const StoredMatrix& w,
                           std::span<SoftmaxState> states) {
  detail::check_extent("softmax_states: length of states", static_cast<Index>(states.size()), w.rows());
  detail::softmax_rows(
      pool, hidden, w, w.rows(), [](Index i) { return i; },
      [&](Index i, const SoftmaxState& state) { states[static_cast<std::size_t>(i)].merge(state); });
}

inline void softmax_states(ThreadPool& pool, MatrixView<const float> hidden, const StoredMatrix& w,
                           std::span<const TokenId> ids, std::span<SoftmaxState> states) {
  detail::check_extent("softmax_states: length of states", static_cast<Index>(states.size()),
                       static_cast<Index>(ids.size()));
  for (const TokenId id : ids)
    if (id < 0 || id >= w.rows())
      throw ArgumentError("softmax_states: id " + std::to_string(id) + " lies outside the " + std::to_string(w.rows()) +
                          " rows of w");
  detail::softmax_rows(
      pool, hidden, w, static_cast<Index>(ids.size()),
      [&](Index i) { return static_cast<Index>(ids[static_cast<std::size_t>(i)]); },
      [&](Index i, const SoftmaxState& state) { states[static_cast<std::size_t>(i)].merge(state); });
}

inline void softmax_entropy(ThreadPool& pool, MatrixView<const float> hidden, const StoredMatrix& w,
                            std::span<float> entropy) {
  detail::check_extent("softmax_entropy: length of entropy", static_cast<Index>(entropy.size()), w.rows());
  detail::softmax_rows(
      pool, hidden, w, w.rows(), [](Index i) { return i; },
      [&](Index i, const SoftmaxState& state) { entropy[static_cast<std::size_t>(i)] = state.entropy(); });
}

}  // namespace v0
}  // namespace activation_trace
