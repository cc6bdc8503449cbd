// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <string>

#include "activation_trace/config.hpp"
#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/finish_logits.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// How the fused kernel cuts its work, in positive numbers, as MatmulTuning. Only `row_block`, by which sums are cut,
/// is seen in the last bits of a result.
struct SoftmaxTuning {
  Index row_block = 96;   ///< positions whose scores are made before they are taken into a panel's states
  Index together = 8;     ///< panels that pass over the context together, at most,
  Index cached = 40'960;  ///< and as many as have this many floats: a quarter of a small second-level cache
};

/// Appends T context positions to the softmax over the context of every vocabulary entry: states[v] is merged
/// with the logits that `logits` makes of hidden w_v^T (processors/README.md 1.1). hidden [T, d], w [V, d], states [V].
/// The T x V logits exist only as tiles in cache. Throws ShapeError.
void softmax_states(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix<>& w,
                    std::span<SoftmaxState> states, const LogitOptions& logits = {}, const SoftmaxTuning& tuning = {});

/// The same for chosen entries: states[i] belongs to row ids[i] of w; an id may occur more than once.
/// Throws ArgumentError for an id outside w.
void softmax_states(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix<>& w,
                    std::span<const TokenId> ids, std::span<SoftmaxState> states, const LogitOptions& logits = {},
                    const SoftmaxTuning& tuning = {});

/// entropy[v] in nats of the softmax over all T positions; NaN without a finite logit. Works in `entropy`
/// and a tile per worker: nothing else is allocated. Throws ShapeError.
void softmax_entropy(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix<>& w,
                     std::span<float> entropy, const LogitOptions& logits = {}, const SoftmaxTuning& tuning = {});

namespace detail {

/// Scores of hidden rows [begin, end) as a tile [end - begin][panel_width]. The order of additions is matmul's, and
/// the same for narrow panels: an entry's state does not depend on which entries are computed with it.
void score_panel(const Kernels& kernels, MatrixView<const float> hidden, Index begin, Index end, Index columns,
                 DType dtype, const float* packed, float* tile);

/// `consume(i, state)` for i < count with the softmax state of row `row_of(i)` of w over all rows of hidden: w is taken
/// in panels, which pass over the context one after the other or some together.
template <class RowOf, class Consume>
class SoftmaxRows {
 public:
  SoftmaxRows(Execution<Host>& execution, MatrixView<const float> hidden, const StoredMatrix<>& w, Index count,
              const LogitOptions& logits, const SoftmaxTuning& tuning, RowOf row_of, Consume consume)
      : execution_(execution),
        kernels_(kernels(execution.isa())),
        hidden_(hidden),
        w_(w),
        count_(count),
        logits_(logits),
        tuning_(tuning),
        row_of_(row_of),
        consume_(consume),
        width_(kernels_.panel_width),
        packed_size_(w.cols() * width_) {
    check_extent("softmax_states: columns of w", w.cols(), hidden.extent(1));
    check_contiguous_rows("softmax_states: hidden", hidden);
  }

  void run() {
    const Index panels = (count_ + width_ - 1) / width_;
    if (panels < 2 * execution_.threads())
      share_positions(panels);
    else
      share_panels(panels);
  }

 private:
  [[nodiscard]] Index columns_of(Index panel) const { return std::min(width_, count_ - panel * width_); }
  [[nodiscard]] Index columns_computed(Index panel) const {
    return columns_of(panel) <= kernels_.lanes ? kernels_.lanes : width_;
  }

  void prepare(Index panel, float* packed, float* state, float* row_buffer) const {
    const std::byte* source[max_panel_width];
    for (Index r = 0; r < columns_of(panel); ++r) source[r] = w_.row(row_of_(panel * width_ + r));
    kernels_.pack(kernels_.decode_of(w_.dtype()), source, columns_of(panel), 0, w_.cols(), row_buffer, packed);
    std::fill(state, state + width_, -std::numeric_limits<float>::infinity());
    std::fill(state + width_, state + 3 * width_, 0.0f);
  }

  void score(Index panel, Index begin, Index end, const float* packed, float* scores) const {
    score_panel(kernels_, hidden_, begin, end, columns_of(panel), w_.dtype(), packed, scores);
    if (logits_ == LogitOptions{}) return;
    for (Index row = 0; row < end - begin; ++row)
      finish_logits({scores + row * width_, static_cast<std::size_t>(columns_of(panel))}, logits_);
  }

  void finish(Index panel, const float* state) const {
    for (Index c = 0; c < columns_of(panel); ++c)
      consume_(panel * width_ + c, SoftmaxState{state[c], state[width_ + c], state[2 * width_ + c]});
  }

  /// Candidates: workers share the positions of a panel.
  void share_positions(Index panels) {
    const Index T = hidden_.extent(0);
    float* packed = execution_.scratch(0, packed_size_ + (pack_depth + 3 + T) * width_).data();
    float* row_buffer = packed + packed_size_;
    float* state = row_buffer + pack_depth * width_;
    float* scores = state + 3 * width_;
    for (Index panel = 0; panel < panels; ++panel) {
      prepare(panel, packed, state, row_buffer);
      execution_.for_each_range(T, tuning_.row_block, [&](Index begin, Index end, int) {
        score(panel, begin, end, packed, scores + begin * width_);
      });
      for (Index t = 0; t < T; t += tuning_.row_block)
        kernels_.softmax_columns(scores + t * width_, std::min(tuning_.row_block, T - t), columns_computed(panel),
                                 state);
      finish(panel, state);
    }
  }

  void share_panels(Index panels) {
    const Index together = std::clamp<Index>(tuning_.cached / std::max<Index>(packed_size_, 1), 1, tuning_.together);
    execution_.for_each_range(panels, 1, [&](Index begin, Index end, int worker) {
      const Index floats = together * (packed_size_ + 3 * width_) + (pack_depth + tuning_.row_block) * width_;
      float* packed = execution_.scratch(worker, floats).data();
      for (Index first = begin; first < end; first += together)
        pass(first, std::min(together, end - first), packed, packed + together * packed_size_);
    });
  }

  /// Panels [first, first + n), of which `states` and what is behind it hold together.
  void pass(Index first, Index n, float* packed, float* states) const {
    float* row_buffer = states + n * 3 * width_;
    float* scores = row_buffer + pack_depth * width_;
    for (Index j = 0; j < n; ++j) prepare(first + j, packed + j * packed_size_, states + j * 3 * width_, row_buffer);
    for (Index t = 0; t < hidden_.extent(0); t += tuning_.row_block) {
      const Index t_end = std::min(t + tuning_.row_block, hidden_.extent(0));
      for (Index j = 0; j < n; ++j) {
        score(first + j, t, t_end, packed + j * packed_size_, scores);
        kernels_.softmax_columns(scores, t_end - t, columns_computed(first + j), states + j * 3 * width_);
      }
    }
    for (Index j = 0; j < n; ++j) finish(first + j, states + j * 3 * width_);
  }

  Execution<Host>& execution_;
  const Kernels& kernels_;
  MatrixView<const float> hidden_;
  const StoredMatrix<>& w_;
  Index count_;
  LogitOptions logits_;
  SoftmaxTuning tuning_;
  RowOf row_of_;
  Consume consume_;
  Index width_;
  Index packed_size_;  // of a panel
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void score_panel(const Kernels& kernels, MatrixView<const float> hidden, Index begin,
                                                  Index end, Index columns, DType dtype, const float* packed,
                                                  float* tile) {
  const auto multiply = columns <= kernels.lanes ? kernels.multiply_narrow_panel : kernels.multiply_panel;
  const Index d = hidden.extent(1);
  const Index depth = depth_of_pack(d, dtype, MatmulTuning{}.depth);
  for (Index k = 0; k < d; k += depth)
    multiply(hidden.data() + begin * hidden.stride(0) + k, hidden.stride(0), end - begin,
             packed + k * kernels.panel_width, std::min(depth, d - k), tile, kernels.panel_width,
             k == 0 ? Into::set : Into::add);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void softmax_states(Execution<Host>& execution, MatrixView<const float> hidden,
                                                     const StoredMatrix<>& w, std::span<SoftmaxState> states,
                                                     const LogitOptions& logits, const SoftmaxTuning& tuning) {
  detail::check_extent("softmax_states: length of states", static_cast<Index>(states.size()), w.rows());
  detail::SoftmaxRows(
      execution, hidden, w, w.rows(), logits, tuning, [](Index i) { return i; },
      [&](Index i, const SoftmaxState& state) { states[static_cast<std::size_t>(i)].merge(state); })
      .run();
}

ACTIVATION_TRACE_COMPILED_INLINE void softmax_states(Execution<Host>& execution, MatrixView<const float> hidden,
                                                     const StoredMatrix<>& w, std::span<const TokenId> ids,
                                                     std::span<SoftmaxState> states, const LogitOptions& logits,
                                                     const SoftmaxTuning& tuning) {
  detail::check_extent("softmax_states: length of states", static_cast<Index>(states.size()),
                       static_cast<Index>(ids.size()));
  for (const TokenId id : ids)
    if (id < 0 || id >= w.rows())
      throw ArgumentError("softmax_states: id " + std::to_string(id) + " lies outside the " + std::to_string(w.rows()) +
                          " rows of w");
  detail::SoftmaxRows(
      execution, hidden, w, static_cast<Index>(ids.size()), logits, tuning,
      [&](Index i) { return static_cast<Index>(ids[static_cast<std::size_t>(i)]); },
      [&](Index i, const SoftmaxState& state) { states[static_cast<std::size_t>(i)].merge(state); })
      .run();
}

ACTIVATION_TRACE_COMPILED_INLINE void softmax_entropy(Execution<Host>& execution, MatrixView<const float> hidden,
                                                      const StoredMatrix<>& w, std::span<float> entropy,
                                                      const LogitOptions& logits, const SoftmaxTuning& tuning) {
  detail::check_extent("softmax_entropy: length of entropy", static_cast<Index>(entropy.size()), w.rows());
  detail::SoftmaxRows(
      execution, hidden, w, w.rows(), logits, tuning, [](Index i) { return i; },
      [&](Index i, const SoftmaxState& state) { entropy[static_cast<std::size_t>(i)] = state.entropy(); })
      .run();
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
