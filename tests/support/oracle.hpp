// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "activation_trace/ops/attention_options.hpp"
#include "activation_trace/ops/layer_divergence.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

// What the ops compute, in double and in the plainest form: for tests only. Compiled once and optimised (oracle.cpp):
// its loops are longer than those that they check.
namespace activation_trace::test {

/// w as doubles, [rows * cols].
std::vector<double> decoded(const StoredMatrix<>& w);

/// A sum of products with the magnitude that its rounding error is measured against.
struct DotProduct {
  double value = 0;
  double magnitude = 0;  ///< sum |x| times max |w|: blocks are computed as scale * sum q x + offset * sum x
};

/// x w^T, [rows of x * rows of w].
std::vector<DotProduct> products(MatrixView<const float> x, const StoredMatrix<>& w);

/// Entropy in nats of softmax(logits), by its definition; NaN when nothing is finite or anything is not a number
/// or +inf.
double entropy(std::span<const double> logits);

/// z - log sum e^z. One must be above -inf, none NaN.
std::vector<double> log_softmax(std::vector<double> z);

/// processors/README.md 2.2, and the divergence that it is named after: of two rows of finite log-probabilities.
double layer_divergence(std::span<const double> mature, std::span<const double> early, LayerDivergence kind);

/// Column v of the context scores, hidden w_v^T.
std::vector<double> scores(MatrixView<const float> hidden, const StoredMatrix<>& w, Index v);

using Heads = TensorView<const float, 3>;

/// Attention of q [n, H, D] over k and v [t, G, D], by its definition, [n * H * D].
std::vector<double> attention(Heads q, Heads k, Heads v, const AttentionOptions& options = {});

}  // namespace activation_trace::test
