// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"

namespace activation_trace {
inline namespace v0 {

/// The matrix W[V, d] that turns a hidden state into logits, as an engine can offer it: memory in any stored form, or
/// rows on request. Does not own: the memory, or what the callback refers to, must outlive its use.
class LmHead {
 public:
  /// Writes rows [begin, end) as float into `out`[end - begin, d]. Called on the thread that called the processor.
  using Rows = std::function<void(Index begin, Index end, MatrixView<float> out)>;

  LmHead() = default;

  /// Memory: a StoredMatrix or a matrix view of float, Half or BFloat16.
  template <class Matrix>
  requires std::convertible_to<const Matrix&, StoredMatrix> LmHead(const Matrix& matrix)  // NOLINT: it is an LM head
      : stored_(matrix), vocab_(stored_.rows()), hidden_(stored_.cols()) {}

  /// Rows on request, for engines whose weights have a form of their own. Throws ArgumentError without a callback or
  /// for negative extents.
  LmHead(Index vocab, Index hidden, Rows rows) : rows_(std::move(rows)), vocab_(vocab), hidden_(hidden) {
    if (!rows_) throw ArgumentError("LmHead: rows is an empty function");
    if (vocab < 0 || hidden < 0)
      throw ArgumentError("LmHead: [" + std::to_string(vocab) + ", " + std::to_string(hidden) + "] is negative");
  }

  /// V, the rows.
  [[nodiscard]] Index vocab() const noexcept { return vocab_; }
  /// d, the columns.
  [[nodiscard]] Index hidden() const noexcept { return hidden_; }
  /// Whether it is rows(); if not, it is stored().
  [[nodiscard]] bool on_request() const noexcept { return static_cast<bool>(rows_); }
  /// The matrix in memory; an empty one if the rows are given on request.
  [[nodiscard]] const StoredMatrix& stored() const noexcept { return stored_; }
  /// Calls the callback for rows [begin, end) into `out`[end - begin, d]; only for rows on request.
  void rows(Index begin, Index end, MatrixView<float> out) const { rows_(begin, end, out); }

  /// Row `id` as float into `out`[d], whatever form it has.
  void row(TokenId id, std::span<float> out) const {
    if (on_request())
      rows_(id, id + 1, MatrixView<float>(out.data(), {1, hidden_}));
    else
      stored_.decode_row(id, out);
  }

  /// Whether both are the same matrix, as far as can be seen: callbacks are compared by shape only.
  [[nodiscard]] bool same_as(const LmHead& other) const noexcept {
    return vocab_ == other.vocab_ && hidden_ == other.hidden_ && on_request() == other.on_request() &&
           (on_request() || (stored_.data() == other.stored_.data() && stored_.dtype() == other.stored_.dtype() &&
                             stored_.row_bytes() == other.stored_.row_bytes()));
  }

 private:
  StoredMatrix stored_;
  Rows rows_;
  Index vocab_ = 0;
  Index hidden_ = 0;
};

}  // namespace v0
}  // namespace activation_trace
