// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "activation_trace/model/llama_blocks.hpp"
#include "activation_trace/model/llama_options.hpp"
#include "activation_trace/model/llama_part.hpp"
#include "activation_trace/model/llama_work.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// The states that a call's logits are made of, and their products with the LM head, whose rows ranks may share.
template <class Space>
class LlamaHead {
 public:
  using Matrix = MatrixView<float, Space>;
  using ConstMatrix = MatrixView<const float, Space>;

  LlamaHead(const LlamaBlocks<Space>& blocks, const LlamaOptions& options) {
    const LlamaConfig& config = blocks.config();
    const Index rows = options.sequences * (config.layers + 1);
    const std::span<const LlamaPart<Space>> ranks = blocks.last_ranks();
    hidden_ = config.hidden;
    room_ = std::min(rows, std::max(options.sequences, most_rows));
    const MemoryScope<Space> memory(*ranks.front().execution);
    states_ = Buffer<float, Space>(rows * hidden_);
    for (const LlamaPart<Space>& rank : ranks.subspan(1)) {
      const MemoryScope<Space> there(*rank.execution);
      others_.emplace_back(rows * hidden_, room_ * rank.weights->lm_head.rows());
    }
  }

  /// [rows, d], which no call before reads any more. Where logits are.
  [[nodiscard]] Matrix states(Index rows) { return states_.matrix(rows, hidden_); }
  /// The same.
  [[nodiscard]] ConstMatrix states(Index rows) const { return states_.matrix(rows, hidden_); }

  /// `logits` [rows, V] <- the products of the first rows of the states, each as it is alone.
  void multiply(const LlamaBlocks<Space>& blocks, Matrix logits) {
    const std::span<const LlamaPart<Space>> ranks = blocks.last_ranks();
    const ConstMatrix x = states(logits.extent(0));
    Index token = 0;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      const StoredMatrix<Space>& w = ranks[r].weights->lm_head;
      const Matrix y(logits.data() + token, {logits.extent(0), w.rows()}, {logits.stride(0), 1});
      if (r == 0)
        product(blocks, ranks[r], x, y);
      else
        multiply_elsewhere(blocks, ranks[r], others_[r - 1], x, y);
      token += w.rows();
    }
  }

 private:
  static constexpr Index most_rows = 16;  // that kernels multiply in one pass over the LM head

  /// The memory of another rank than the first.
  struct Elsewhere {
    Elsewhere(Index states_size, Index logits_size) : states(states_size), logits(logits_size) {}
    Buffer<float, Space> states;  // a copy
    Buffer<float, Space> logits;  // [room, its tokens]
  };

  static void product(const LlamaBlocks<Space>& blocks, const LlamaPart<Space>& rank, ConstMatrix x, Matrix y) {
    const MatmulTarget<Space> target{rank.weights->lm_head, y};
    detail::multiply<Space>(*rank.execution, x, std::span(&target, 1), true, blocks.arithmetic());
  }

  /// Who writes to the memory of another need not wait: since a call before read it, all ranks have met in a sum.
  void multiply_elsewhere(const LlamaBlocks<Space>& blocks, const LlamaPart<Space>& rank, Elsewhere& there,
                          ConstMatrix x, Matrix y) const {
    const Matrix copied = there.states.matrix(x.extent(0), hidden_);
    bring(blocks.execution(), *rank.execution, x, copied);
    for (Index begin = 0; begin < x.extent(0); begin += room_) {
      const Index end = std::min(begin + room_, x.extent(0));
      const Matrix made = there.logits.matrix(end - begin, y.extent(1));
      product(blocks, rank, copied.slice(0, begin, end), made);
      bring(*rank.execution, blocks.execution(), ConstMatrix(made), y.slice(0, begin, end));
    }
  }

  Index hidden_ = 0;
  Index room_ = 0;
  Buffer<float, Space> states_;
  std::vector<Elsewhere> others_;
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
