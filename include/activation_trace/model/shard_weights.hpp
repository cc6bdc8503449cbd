// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/model/config.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/tensor/dtype.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"

namespace activation_trace {
inline namespace v0 {

/// A LLaMA's weights shared out over `ranks` (LlamaRanks), as views into what `weights` are views of; vectors are
/// copies. A rank has a range of the kv heads with the queries of their groups: rows of q, k, v and their biases, and
/// columns of o; a range of rows of gate and up, the same columns of down; and a range of the LM head's tokens. All
/// have the embedding and the norms. Columns are cut between blocks of what they are stored in, as evenly as those
/// allow: a rank may have more than another. Throws ArgumentError naming what cannot be cut in so many, ShapeError as
/// LlamaWeights::validate.
[[nodiscard]] std::vector<LlamaWeights<>> shard_weights(const LlamaConfig& config, const LlamaWeights<>& weights,
                                                        Index ranks);

#if ACTIVATION_TRACE_BODIES

namespace detail {

/// The borders of `ranks` ranges of `count` of `what`, which are cut at multiples of `unit` only.
inline std::vector<Index> shard_borders(const std::string& what, Index count, Index unit, Index ranks) {
  const Index units = (count + unit - 1) / unit;
  if (ranks < 1 || ranks > units)
    throw ArgumentError("shard_weights: expected 1 to " + std::to_string(units) + " ranks, got " +
                        std::to_string(ranks) + ": the model's " + std::to_string(count) + " " + what +
                        (unit == 1 ? " are" : ", cut in multiples of " + std::to_string(unit) + ", are") +
                        " shared out over them");
  std::vector<Index> borders;
  for (Index rank = 0; rank <= ranks; ++rank) borders.push_back(std::min(units * rank / ranks * unit, count));
  return borders;
}

/// A range of a matrix's rows, of its columns, or of a vector's elements.
class ShardRange {
 public:
  ShardRange(const std::vector<Index>& borders, std::size_t rank, Index unit = 1)
      : begin_(borders[rank] * unit), end_(borders[rank + 1] * unit) {}

  [[nodiscard]] StoredMatrix<> rows(const StoredMatrix<>& m) const { return m.slice(begin_, end_); }
  [[nodiscard]] StoredMatrix<> columns(const StoredMatrix<>& m) const {
    return {m.dtype(), m.data() + StoredMatrix<>::row_bytes_of(m.dtype(), begin_), m.rows(), end_ - begin_,
            m.row_bytes()};
  }
  [[nodiscard]] std::vector<float> elements(const std::vector<float>& v) const {
    return v.empty() ? v : std::vector<float>(v.begin() + begin_, v.begin() + end_);
  }

 private:
  Index begin_, end_;
};

}  // namespace detail

ACTIVATION_TRACE_COMPILED_INLINE std::vector<LlamaWeights<>> shard_weights(const LlamaConfig& config,
                                                                           const LlamaWeights<>& weights, Index ranks) {
  config.validate();
  weights.validate(config);
  const Index group = config.heads / config.kv_heads * config.head_dim;  // elements of o's rows to a kv head
  Index o_block = 1, down_block = 1;
  for (const LlamaLayerWeights<>& w : weights.layers) {
    o_block = std::lcm(o_block, block_elements(w.o.dtype()));
    down_block = std::lcm(down_block, block_elements(w.down.dtype()));
  }
  const std::vector<Index> kv_heads =
      detail::shard_borders("kv heads", config.kv_heads, o_block / std::gcd(o_block, group), ranks);
  const std::vector<Index> ffn = detail::shard_borders("rows of gate and up", config.ffn, down_block, ranks);
  const std::vector<Index> tokens = detail::shard_borders("tokens", config.vocab, 1, ranks);
  std::vector<LlamaWeights<>> result;
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(ranks); ++rank) {
    const detail::ShardRange queries(kv_heads, rank, group);
    const detail::ShardRange keys(kv_heads, rank, config.head_dim);
    const detail::ShardRange ffn_rows(ffn, rank);
    LlamaWeights<>& share = result.emplace_back(weights);
    share.lm_head = detail::ShardRange(tokens, rank).rows(weights.lm_head);
    for (LlamaLayerWeights<>& w : share.layers) {
      w.q = queries.rows(w.q);
      w.k = keys.rows(w.k);
      w.v = keys.rows(w.v);
      w.o = queries.columns(w.o);
      w.gate = ffn_rows.rows(w.gate);
      w.up = ffn_rows.rows(w.up);
      w.down = ffn_rows.columns(w.down);
      w.q_bias = queries.elements(w.q_bias);
      w.k_bias = keys.elements(w.k_bias);
      w.v_bias = keys.elements(w.v_bias);
    }
  }
  return result;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
