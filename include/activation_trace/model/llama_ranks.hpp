// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/model/config.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// One of several places that compute every block together (tensor parallelism, Shoeybi et al. 2019): it has some of
/// the heads, some rows of gate and up, and some rows of the LM head. Weights are such as shard_weights() makes, in the
/// memory of the place.
template <class Space = Host>
struct LlamaRank {
  Execution<Space>* execution;  ///< must outlive the model
  LlamaWeights<Space> weights;  ///< its share of them
};

/// Makes each of the given vectors, one of every rank in their order, all of one size, the sum of all: in the order of
/// the ranks' executions, whose work goes on when all have come so far.
template <class Space = Host>
using AllReduce = std::function<void(std::span<const VectorView<float, Space>>)>;

/// All of them. Every rank computes the same residual stream; logits are where the first is.
template <class Space = Host>
struct LlamaRanks {
  std::vector<LlamaRank<Space>> ranks;  ///< in the order of heads, rows and tokens
  AllReduce<Space> all_reduce;          ///< over these
};

namespace detail {

/// The shape of a rank's share of a model.
template <class Space>
LlamaConfig rank_config(LlamaConfig config, const LlamaWeights<Space>& weights) {
  if (weights.layers.empty()) return config;
  const LlamaLayerWeights<Space>& block = weights.layers.front();
  config.heads = block.q.rows() / config.head_dim;
  config.kv_heads = block.k.rows() / config.head_dim;
  config.ffn = block.gate.rows();
  return config;
}

/// Throws ArgumentError unless the ranks have all of a model, ShapeError for weights that do not fit.
template <class Space>
void check_ranks(const LlamaConfig& config, const LlamaRanks<Space>& all) {
  if (all.ranks.empty()) throw ArgumentError("LlamaRanks: expected a rank or more, got none");
  if (!all.all_reduce && all.ranks.size() > 1)
    throw ArgumentError("LlamaRanks: expected an all_reduce over the " + std::to_string(all.ranks.size()) +
                        " ranks, got none");
  Index heads = 0, kv_heads = 0, ffn = 0, vocab = 0;
  for (const LlamaRank<Space>& rank : all.ranks) {
    const LlamaConfig share = rank_config(config, rank.weights);
    share.validate();
    rank.weights.validate(share, rank.weights.lm_head.rows());
    if (share.heads * config.kv_heads != share.kv_heads * config.heads)
      throw ArgumentError("LlamaRanks: expected " + std::to_string(config.heads / config.kv_heads) +
                          " heads to each kv head, got " + std::to_string(share.heads) + " to " +
                          std::to_string(share.kv_heads));
    heads += share.heads;
    kv_heads += share.kv_heads;
    ffn += share.ffn;
    vocab += rank.weights.lm_head.rows();
  }
  const auto check = [&](const char* what, Index expected, Index found) {
    if (found != expected)
      throw ArgumentError(std::string("LlamaRanks: expected ") + std::to_string(expected) + " " + what +
                          " in all ranks together, got " + std::to_string(found));
  };
  check("heads", config.heads, heads);
  check("kv_heads", config.kv_heads, kv_heads);
  check("rows of gate and up", config.ffn, ffn);
  check("rows of the LM head", config.vocab, vocab);
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
