// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/model/sequence_piece.hpp"
#include "activation_trace/ops/matmul.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

/// While it lives, a pass is under way.
class Turn {
 public:
  /// Throws StateError if one is already.
  explicit Turn(bool& passing) : passing_(passing) {
    check(passing);
    passing_ = true;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { passing_ = false; }

  static void check(bool passing) {
    if (passing) throw StateError("Llama: a pass is under way, which an observer must not change");
  }

 private:
  bool& passing_;
};

/// Consecutive positions of one piece, among the rows that a model computes at once.
template <class Space>
struct LlamaRun {
  Index sequence;
  Index piece;                           // which of the call's
  std::span<const TokenId> ids;          // all that were added
  Index position;                        // of the first row that is still computed
  Index row;                             // where that is in the batch
  Index rows;                            // how many follow
  bool ends_piece;                       // the last row is the piece's last
  const LayerObserver<Space>* observer;  // or nullptr

  [[nodiscard]] bool shows(Index layer, Index blocks) const {
    return observer != nullptr && observed_begin() < observed_end() &&
           std::ranges::any_of(observer->layers, [&](Index l) { return resolve_layer(l, blocks) == layer; });
  }
  /// The rows that the observer's positions cover, counted from `row`.
  [[nodiscard]] Index observed_begin() const { return std::clamp(observer->begin - position, Index{0}, rows); }
  [[nodiscard]] Index observed_end() const { return std::clamp(observer->end - position, observed_begin(), rows); }
  /// The rows, counted from the end, whose h_N somebody needs: for logits of `exits`, or to be shown it.
  [[nodiscard]] Index needed_rows(std::span<const Index> exits, Index blocks) const {
    const bool ends = ends_piece && std::ranges::find(exits, blocks) != exits.end();
    return std::max<Index>(ends ? 1 : 0, shows(blocks, blocks) ? rows - observed_begin() : 0);
  }
};

/// The rows that a model computes at once: one run after another.
template <class Space>
class LlamaBatch {
 public:
  LlamaBatch(Index max_runs, Index max_rows) : max_rows_(max_rows) {
    runs_.reserve(static_cast<std::size_t>(max_runs));
  }

  [[nodiscard]] std::span<const LlamaRun<Space>> runs() const noexcept { return runs_; }
  [[nodiscard]] Index rows() const noexcept { return rows_; }
  [[nodiscard]] bool full() const noexcept { return rows_ == max_rows_; }

  void clear() noexcept {
    runs_.clear();
    rows_ = 0;
  }

  /// Adds the ids of piece number `index` from `done` on, as many as there is room for, and returns their number.
  /// `position` is that of the first.
  Index add(const SequencePiece<Space>& piece, Index index, Index done, Index position) {
    const auto left = static_cast<Index>(piece.ids.size()) - done;
    const Index count = std::min(left, max_rows_ - rows_);
    runs_.push_back({.sequence = piece.sequence,
                     .piece = index,
                     .ids = piece.ids.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count)),
                     .position = position,
                     .row = rows_,
                     .rows = count,
                     .ends_piece = count == left,
                     .observer = piece.observer});
    rows_ += count;
    return count;
  }

  /// Short runs first, then the others: few changes from one kernel to another.
  void arrange() {
    std::ranges::sort(runs_, {}, [](const LlamaRun<Space>& run) { return std::pair(run.rows >= few_rows, run.piece); });
    Index row = 0;
    for (LlamaRun<Space>& run : runs_) {
      run.row = row;
      row += run.rows;
    }
  }

  /// Keeps the last `kept_rows(run)` rows of every run. Calls move(from, to, count) where rows of the batch lie
  /// elsewhere from now on, in ascending order, to <= from.
  template <class KeptRows, class Move>
  void trim(const KeptRows& kept_rows, const Move& move) {
    rows_ = 0;
    for (LlamaRun<Space>& run : runs_) {
      const Index kept = kept_rows(run);
      const Index dropped = run.rows - kept;
      if (run.row + dropped != rows_) move(run.row + dropped, rows_, kept);
      run.position += dropped;
      run.row = rows_;
      run.rows = kept;
      rows_ += kept;
    }
  }

 private:
  Index max_rows_;
  Index rows_ = 0;
  std::vector<LlamaRun<Space>> runs_;
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
