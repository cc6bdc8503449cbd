// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/finish_logits.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/softmax_entropy.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"

namespace activation_trace {
inline namespace v0 {

/// What turns a hidden state into the engine's logits: the matrix W[V, d], as an engine can offer it, in memory in any
/// stored form or by rows on request, and the scale and soft cap of its products, where the model has them. Does not
/// own: the memory, or what the callback refers to, must outlive its use.
///
/// What multiplies by it asks it, and need not know which of the two it is. `memory` there is the caller's, for rows
/// that come on request, a block at a time; it grows once and is not touched otherwise.
template <class Space = Host>
class LmHead {
 public:
  /// Writes rows [begin, end) as float into `out`[end - begin, d]. Called on the thread that called the processor.
  using Rows = std::function<void(Index begin, Index end, MatrixView<float, Space> out)>;

  LmHead() = default;

  /// Memory: a StoredMatrix or a matrix view of float, Half or BFloat16.
  template <class Matrix>
  // NOLINTNEXTLINE(google-explicit-constructor): it is an LM head
  requires std::convertible_to<const Matrix&, StoredMatrix<Space>> LmHead(const Matrix& matrix,
                                                                          const LogitOptions& options = {})
      : stored_(matrix), vocab_(stored_.rows()), hidden_(stored_.cols()), options_(options) {}

  /// Rows on request, for engines whose weights have a form of their own. Throws ArgumentError without a callback or
  /// for negative extents.
  LmHead(Index vocab, Index hidden, Rows rows, const LogitOptions& options = {})
      : rows_(std::move(rows)), vocab_(vocab), hidden_(hidden), options_(options) {
    if (!rows_) throw ArgumentError("LmHead: rows is an empty function");
    if (vocab < 0 || hidden < 0)
      throw ArgumentError("LmHead: [" + std::to_string(vocab) + ", " + std::to_string(hidden) + "] is negative");
  }

  /// V, the rows.
  [[nodiscard]] Index vocab() const noexcept { return vocab_; }
  /// d, the columns.
  [[nodiscard]] Index hidden() const noexcept { return hidden_; }
  /// What is made of products with W.
  [[nodiscard]] const LogitOptions& options() const noexcept { return options_; }

  /// Row `id` as float into `out`[d], whatever form it has.
  void row(TokenId id, std::span<float> out) const requires(Space::host_accessible) {
    if (on_request())
      rows_(id, id + 1, MatrixView<float>(out.data(), {1, hidden_}));
    else
      stored_.decode_row(id, out);
  }

  /// logits[n, V] of states[n, d]. Throws ShapeError.
  void logits(Execution<Space>& execution, MatrixView<const float, Space> states, MatrixView<float, Space> logits,
              Buffer<float, Space>& memory) const;

  /// The same, each row as it would be alone, to the bit: by matmul_by_row, the faster one for the layers of a step.
  void logits_by_row(Execution<Space>& execution, MatrixView<const float, Space> states,
                     MatrixView<float, Space> logits, Buffer<float, Space>& memory) const;

  /// The same for chosen tokens: logits(i, j) is that of ids[j]. Throws ShapeError.
  void logits(Execution<Space>& execution, MatrixView<const float, Space> states, std::span<const TokenId> ids,
              MatrixView<float, Space> logits, Buffer<float, Space>& memory) const;

  /// Appends T positions hidden[T, d] to the softmax over the context of every token: softmax_states() of states[V].
  void softmax(Execution<Space>& execution, MatrixView<const float, Space> hidden, std::span<SoftmaxState> states,
               Buffer<float, Space>& memory) const;

  /// The same for chosen tokens: states[i] belongs to ids[i].
  void softmax(Execution<Space>& execution, MatrixView<const float, Space> hidden, std::span<const TokenId> ids,
               std::span<SoftmaxState> states, Buffer<float, Space>& memory) const;

  /// Whether both are the same head, as far as can be seen: callbacks are compared by shape only.
  [[nodiscard]] bool same_as(const LmHead& other) const noexcept {
    return vocab_ == other.vocab_ && hidden_ == other.hidden_ && options_ == other.options_ &&
           on_request() == other.on_request() &&
           (on_request() || (stored_.data() == other.stored_.data() && stored_.dtype() == other.stored_.dtype() &&
                             stored_.row_bytes() == other.stored_.row_bytes()));
  }

 private:
  [[nodiscard]] bool on_request() const noexcept { return static_cast<bool>(rows_); }

  /// What logits() does, by product(w, columns) for W or each block of its rows.
  void multiply(Execution<Space>& execution, MatrixView<float, Space> logits, Buffer<float, Space>& memory,
                auto&& product) const;
  /// read(begin, end, rows[end - begin, d]) and then use() of the same, for `count` rows in order, some at a time.
  void for_each_block(Index count, Buffer<float, Space>& memory, auto&& read, auto&& use) const;
  /// The same for the rows of `ids`.
  void for_each_block_of(std::span<const TokenId> ids, Buffer<float, Space>& memory, auto&& use) const;

  StoredMatrix<Space> stored_;
  Rows rows_;
  Index vocab_ = 0;
  Index hidden_ = 0;
  LogitOptions options_;
};

/// Rows on request are the host's where nothing else is said.
template <class Rows>
LmHead(Index vocab, Index hidden, Rows rows) -> LmHead<Host>;

template <class Space>
void LmHead<Space>::for_each_block(Index count, Buffer<float, Space>& memory, auto&& read, auto&& use) const {
  // About 1 MB, so that a block is still in the cache when it is multiplied.
  const Index length = std::clamp<Index>((Index{1} << 18) / std::max<Index>(hidden_, 1), 16, 1024);
  if (memory.size() < length * hidden_) memory = Buffer<float, Space>(length * hidden_);
  for (Index begin = 0; begin < count; begin += length) {
    const Index end = std::min(begin + length, count);
    const MatrixView<float, Space> rows(memory.data(), {end - begin, hidden_});
    read(begin, end, rows);
    use(begin, end, rows);
  }
}

template <class Space>
void LmHead<Space>::for_each_block_of(std::span<const TokenId> ids, Buffer<float, Space>& memory, auto&& use) const {
  const auto read = [&](Index begin, Index end, MatrixView<float, Space> rows) {
    for (Index i = begin; i < end; ++i) row(ids[static_cast<std::size_t>(i)], rows.row(i - begin).span());
  };
  for_each_block(static_cast<Index>(ids.size()), memory, read, use);
}

template <class Space>
void LmHead<Space>::multiply(Execution<Space>& execution, MatrixView<float, Space> logits, Buffer<float, Space>& memory,
                             auto&& product) const {
  detail::check_extent("LmHead: columns of logits", logits.extent(1), vocab_);
  if (on_request())
    for_each_block(vocab_, memory, rows_, [&](Index begin, Index end, MatrixView<float, Space> rows) {
      product(StoredMatrix<Space>(rows), logits.slice(1, begin, end));
    });
  else
    product(stored_, logits);
  finish_logits(execution, logits, options_);
}

template <class Space>
void LmHead<Space>::logits(Execution<Space>& execution, MatrixView<const float, Space> states,
                           MatrixView<float, Space> logits, Buffer<float, Space>& memory) const {
  multiply(execution, logits, memory, [&](const StoredMatrix<Space>& w, MatrixView<float, Space> columns) {
    matmul(execution, states, w, columns);
  });
}

template <class Space>
void LmHead<Space>::logits_by_row(Execution<Space>& execution, MatrixView<const float, Space> states,
                                  MatrixView<float, Space> logits, Buffer<float, Space>& memory) const {
  multiply(execution, logits, memory, [&](const StoredMatrix<Space>& w, MatrixView<float, Space> columns) {
    const MatmulTarget<Space> target{w, columns};
    matmul_by_row(execution, states, std::span(&target, 1));
  });
}

template <class Space>
void LmHead<Space>::logits(Execution<Space>& execution, MatrixView<const float, Space> states,
                           std::span<const TokenId> ids, MatrixView<float, Space> logits,
                           Buffer<float, Space>& memory) const {
  detail::check_extent("LmHead: columns of logits", logits.extent(1), static_cast<Index>(ids.size()));
  for_each_block_of(ids, memory, [&](Index begin, Index end, MatrixView<float, Space> rows) {
    matmul(execution, states, rows, logits.slice(1, begin, end));
  });
  finish_logits(execution, logits, options_);
}

template <class Space>
void LmHead<Space>::softmax(Execution<Space>& execution, MatrixView<const float, Space> hidden,
                            std::span<SoftmaxState> states, Buffer<float, Space>& memory) const {
  if (!on_request()) return softmax_states(execution, hidden, stored_, states, options_);
  detail::check_extent("LmHead: length of states", static_cast<Index>(states.size()), vocab_);
  for_each_block(vocab_, memory, rows_, [&](Index begin, Index end, MatrixView<float, Space> rows) {
    softmax_states(execution, hidden, rows,
                   states.subspan(static_cast<std::size_t>(begin)).first(static_cast<std::size_t>(end - begin)),
                   options_);
  });
}

template <class Space>
void LmHead<Space>::softmax(Execution<Space>& execution, MatrixView<const float, Space> hidden,
                            std::span<const TokenId> ids, std::span<SoftmaxState> states,
                            Buffer<float, Space>& memory) const {
  if (!on_request()) return softmax_states(execution, hidden, stored_, ids, states, options_);
  detail::check_extent("LmHead: length of states", static_cast<Index>(states.size()), static_cast<Index>(ids.size()));
  for_each_block_of(ids, memory, [&](Index begin, Index end, MatrixView<float, Space> rows) {
    softmax_states(execution, hidden, rows,
                   states.subspan(static_cast<std::size_t>(begin)).first(static_cast<std::size_t>(end - begin)),
                   options_);
  });
}

}  // namespace v0
}  // namespace activation_trace
