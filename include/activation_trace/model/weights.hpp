// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "activation_trace/model/config.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

template <class Space>
struct SmallWeightsOf {
  using type = VectorView<const float, Space>;
};
template <>
struct SmallWeightsOf<Host> {
  using type = std::vector<float>;
};

}  // namespace detail

/// A norm's weights or a bias, as float: owned on the host, where files are widened; elsewhere a view, as matrices are.
template <class Space = Host>
using SmallWeights = typename detail::SmallWeightsOf<Space>::type;

/// One decoder block. H heads, G kv heads, D head size, F ffn size. Norm weights are small and kept as float.
template <class Space = Host>
struct LlamaLayerWeights {
  SmallWeights<Space> attention_norm;  ///< [d]
  StoredMatrix<Space> q;               ///< [H * D, d]
  StoredMatrix<Space> k;               ///< [G * D, d]
  StoredMatrix<Space> v;               ///< [G * D, d]
  StoredMatrix<Space> o;               ///< [d, H * D]
  SmallWeights<Space> ffn_norm;        ///< [d]
  StoredMatrix<Space> gate;            ///< [F, d]
  StoredMatrix<Space> up;              ///< [F, d]
  StoredMatrix<Space> down;            ///< [d, F]

  // Of other families than LLaMA; empty where a block has none.
  SmallWeights<Space> q_bias;              ///< [H * D]
  SmallWeights<Space> k_bias;              ///< [G * D]
  SmallWeights<Space> v_bias;              ///< [G * D]
  SmallWeights<Space> o_bias;              ///< [d]
  SmallWeights<Space> q_norm;              ///< [D], of every head of q before it is rotated
  SmallWeights<Space> k_norm;              ///< [D], of every head of k
  SmallWeights<Space> attention_out_norm;  ///< [d], of what attention adds to the residual stream
  SmallWeights<Space> ffn_out_norm;        ///< [d], of what gate, up and down add
};

/// Views of a model's weights, usually into a mapped file, which must outlive them.
template <class Space = Host>
struct LlamaWeights {
  StoredMatrix<Space> embedding;                 ///< [V, d]
  std::vector<LlamaLayerWeights<Space>> layers;  ///< [N]
  SmallWeights<Space> final_norm;                ///< [d]
  StoredMatrix<Space> lm_head;                   ///< [V, d]; the embedding itself when tied

  /// Throws ShapeError naming the first tensor whose shape does not follow from `config`.
  void validate(const LlamaConfig& config) const { validate(config, config.vocab); }
  /// The same with an LM head of `tokens` rows, a rank's share of them (LlamaRank).
  void validate(const LlamaConfig& config, Index tokens) const;
};

template <class Space>
void LlamaWeights<Space>::validate(const LlamaConfig& config, Index tokens) const {
  const auto matrix = [](const StoredMatrix<Space>& m, Index rows, Index cols, const std::string& tensor) {
    if (m.rows() != rows || m.cols() != cols)
      throw ShapeError(tensor + ": expected [" + std::to_string(rows) + ", " + std::to_string(cols) + "], got [" +
                       std::to_string(m.rows()) + ", " + std::to_string(m.cols()) + "]");
  };
  const auto vector = [](const SmallWeights<Space>& v, Index size, const std::string& tensor) {
    if (static_cast<Index>(v.size()) != size)
      throw ShapeError(tensor + ": expected [" + std::to_string(size) + "], got [" + std::to_string(v.size()) + "]");
  };
  const auto optional = [&](const SmallWeights<Space>& v, Index size, const std::string& tensor) {
    if (!v.empty()) vector(v, size, tensor);
  };
  const Index d = config.hidden;
  const Index queries = config.heads * config.head_dim;
  const Index keys = config.kv_heads * config.head_dim;
  matrix(embedding, config.vocab, d, "embedding");
  matrix(lm_head, tokens, d, "lm_head");
  vector(final_norm, d, "final_norm");
  if (static_cast<Index>(layers.size()) != config.layers)
    throw ShapeError("layers: expected " + std::to_string(config.layers) + ", got " + std::to_string(layers.size()));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LlamaLayerWeights<Space>& layer = layers[i];
    const std::string prefix = "layer " + std::to_string(i) + " ";
    vector(layer.attention_norm, d, prefix + "attention_norm");
    matrix(layer.q, queries, d, prefix + "q");
    matrix(layer.k, keys, d, prefix + "k");
    matrix(layer.v, keys, d, prefix + "v");
    matrix(layer.o, d, queries, prefix + "o");
    vector(layer.ffn_norm, d, prefix + "ffn_norm");
    matrix(layer.gate, config.ffn, d, prefix + "gate");
    matrix(layer.up, config.ffn, d, prefix + "up");
    matrix(layer.down, d, config.ffn, prefix + "down");
    optional(layer.q_bias, queries, prefix + "q_bias");
    optional(layer.k_bias, keys, prefix + "k_bias");
    optional(layer.v_bias, keys, prefix + "v_bias");
    optional(layer.o_bias, d, prefix + "o_bias");
    optional(layer.q_norm, config.head_dim, prefix + "q_norm");
    optional(layer.k_norm, config.head_dim, prefix + "k_norm");
    optional(layer.attention_out_norm, d, prefix + "attention_out_norm");
    optional(layer.ffn_out_norm, d, prefix + "ffn_out_norm");
  }
}

}  // namespace v0
}  // namespace activation_trace
