// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <string>

#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Appends T context positions to the softmax over the context of every vocabulary entry: states[v] is merged
/// with the logits hidden w_v^T (processors/README.md 1.1). hidden [T, d], w [V, d], states [V]. The T x V scores exist
/// only as tiles in cache. Throws ShapeError.
void softmax_states(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix& w,
                    std::span<SoftmaxState> states);

/// The same for chosen entries: states[i] belongs to row ids[i] of w; an id may occur more than once.
/// Throws ArgumentError for an id outside w.
void softmax_states(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix& w,
                    std::span<const TokenId> ids, std::span<SoftmaxState> states);

/// entropy[v] in nats of the softmax over all T positions; NaN without a finite logit. Works in `entropy`
/// and a tile per worker: nothing else is allocated. Throws ShapeError.
void softmax_entropy(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix& w,
                     std::span<float> entropy);

namespace detail {

/// Scores of hidden rows [begin, end) as a tile [end - begin][panel_width]. The order of additions is matmul's, and
/// the same for narrow panels: an entry's state does not depend on which entries are computed with it.
inline void score_panel(const Kernels& kernels, MatrixView<const float> hidden, Index begin, Index end, Index columns,
                        DType dtype, const float* packed, float* tile) {
  const auto multiply = columns <= kernels.lanes ? kernels.multiply_narrow_panel : kernels.multiply_panel;
  const Index d = hidden.extent(1);
  const Index depth = depth_of_pack(d, dtype);
  for (Index k = 0; k < d; k += depth)
    multiply(hidden.data() + begin * hidden.stride(0) + k, hidden.stride(0), end - begin,
             packed + k * kernels.panel_width, std::min(depth, d - k), tile, kernels.panel_width,
             k == 0 ? Into::set : Into::add);
}

/// `consume(i, state)` for i < count with the softmax state of row `row_of(i)` of w over all rows of hidden.
template <class RowOf, class Consume>
void softmax_rows(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix& w, Index count,
                  RowOf row_of, Consume consume) {
  check_extent("softmax_states: columns of w", w.cols(), hidden.extent(1));
  check_contiguous_rows("softmax_states: hidden", hidden);
  const Kernels& kernels = detail::kernels(execution.isa());
  const Index width = kernels.panel_width;
  const Index T = hidden.extent(0);
  const Index panels = (count + width - 1) / width;
  const Index packed_size = w.cols() * width;
  const auto columns_of = [&](Index panel) { return std::min(width, count - panel * width); };
  const auto prepare = [&](Index panel, float* packed, float* state, float* row_buffer) {
    const std::byte* source[max_panel_width];
    for (Index r = 0; r < columns_of(panel); ++r) source[r] = w.row(row_of(panel * width + r));
    kernels.rows_of(w.dtype()).pack(source, columns_of(panel), 0, w.cols(), row_buffer, packed);
    std::fill(state, state + width, -std::numeric_limits<float>::infinity());
    std::fill(state + width, state + 3 * width, 0.0f);
  };
  const auto finish = [&](Index panel, const float* state) {
    for (Index c = 0; c < columns_of(panel); ++c)
      consume(panel * width + c, SoftmaxState{state[c], state[width + c], state[2 * width + c]});
  };
  const auto columns_computed = [&](Index panel) { return columns_of(panel) <= kernels.lanes ? kernels.lanes : width; };

  if (panels < 2 * execution.threads()) {  // candidates: workers share the positions of a panel
    const std::span<float> shared = execution.scratch(0, packed_size + (pack_depth + 3 + T) * width);
    float* packed = shared.data();
    float* row_buffer = packed + packed_size;
    float* state = row_buffer + pack_depth * width;
    float* scores = state + 3 * width;
    for (Index panel = 0; panel < panels; ++panel) {
      prepare(panel, packed, state, row_buffer);
      execution.for_each_range(T, row_block, [&](Index begin, Index end, int) {
        score_panel(kernels, hidden, begin, end, columns_of(panel), w.dtype(), packed, scores + begin * width);
      });
      for (Index t = 0; t < T; t += row_block)
        kernels.softmax_columns(scores + t * width, std::min(row_block, T - t), columns_computed(panel), state);
      finish(panel, state);
    }
    return;
  }

  // As many panels as a quarter of a small second-level cache holds pass over the context together.
  const Index together = std::clamp<Index>(40960 / std::max<Index>(packed_size, 1), 1, 8);
  execution.for_each_range(panels, 1, [&](Index begin, Index end, int worker) {
    const std::span<float> scratch =
        execution.scratch(worker, together * (packed_size + 3 * width) + (pack_depth + row_block) * width);
    float* packed = scratch.data();
    float* states = packed + together * packed_size;
    float* row_buffer = states + together * 3 * width;
    float* scores = row_buffer + pack_depth * width;
    for (Index first = begin; first < end; first += together) {
      const Index n = std::min(together, end - first);
      for (Index j = 0; j < n; ++j) prepare(first + j, packed + j * packed_size, states + j * 3 * width, row_buffer);
      for (Index t = 0; t < T; t += row_block) {
        const Index t_end = std::min(t + row_block, T);
        for (Index j = 0; j < n; ++j) {
          score_panel(kernels, hidden, t, t_end, columns_of(first + j), w.dtype(), packed + j * packed_size, scores);
          kernels.softmax_columns(scores, t_end - t, columns_computed(first + j), states + j * 3 * width);
        }
      }
      for (Index j = 0; j < n; ++j) finish(first + j, states + j * 3 * width);
    }
  });
}

}  // namespace detail

inline void softmax_states(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix& w,
                           std::span<SoftmaxState> states) {
  detail::check_extent("softmax_states: length of states", static_cast<Index>(states.size()), w.rows());
  detail::softmax_rows(
      execution, hidden, w, w.rows(), [](Index i) { return i; },
      [&](Index i, const SoftmaxState& state) { states[static_cast<std::size_t>(i)].merge(state); });
}

inline void softmax_states(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix& w,
                           std::span<const TokenId> ids, std::span<SoftmaxState> states) {
  detail::check_extent("softmax_states: length of states", static_cast<Index>(states.size()),
                       static_cast<Index>(ids.size()));
  for (const TokenId id : ids)
    if (id < 0 || id >= w.rows())
      throw ArgumentError("softmax_states: id " + std::to_string(id) + " lies outside the " + std::to_string(w.rows()) +
                          " rows of w");
  detail::softmax_rows(
      execution, hidden, w, static_cast<Index>(ids.size()),
      [&](Index i) { return static_cast<Index>(ids[static_cast<std::size_t>(i)]); },
      [&](Index i, const SoftmaxState& state) { states[static_cast<std::size_t>(i)].merge(state); });
}

inline void softmax_entropy(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix& w,
                            std::span<float> entropy) {
  detail::check_extent("softmax_entropy: length of entropy", static_cast<Index>(entropy.size()), w.rows());
  detail::softmax_rows(
      execution, hidden, w, w.rows(), [](Index i) { return i; },
      [&](Index i, const SoftmaxState& state) { entropy[static_cast<std::size_t>(i)] = state.entropy(); });
}

}  // namespace v0
}  // namespace activation_trace
