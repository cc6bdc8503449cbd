// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/model/config.hpp"
#include "activation_trace/model/kv_cache.hpp"
#include "activation_trace/model/llama_batch.hpp"
#include "activation_trace/model/llama_options.hpp"
#include "activation_trace/model/llama_steps.hpp"
#include "activation_trace/model/rope_frequencies.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/ops/add_bias.hpp"
#include "activation_trace/ops/attention.hpp"
#include "activation_trace/ops/copy.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/fast_matmul.hpp"
#include "activation_trace/ops/gated_multiply.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/rms_norm.hpp"
#include "activation_trace/ops/rope.hpp"
#include "activation_trace/ops/scale.hpp"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// y_i = x w_i^T for every target, of rows each as it is alone, or of many. Exact where a space has nothing else.
template <class Space>
void multiply(Execution<Space>& execution, MatrixView<const float, Space> x,
              std::span<const MatmulTarget<Space>> targets, bool by_row, [[maybe_unused]] Arithmetic arithmetic) {
  if constexpr (HasFastProducts<Space>)
    by_row ? matmul_by_row(execution, x, targets, arithmetic) : matmul(execution, x, targets, arithmetic);
  else
    by_row ? matmul_by_row(execution, x, targets) : matmul(execution, x, targets);
}

/// The decoder blocks of a LLaMA, and the keys and values of its sequences: hidden states of one batch at a time.
/// The order of a layer's work is here and nowhere else: ops of the space, which see to the work itself.
/// Every run of the batch is computed by the kernels that it takes alone, so it does not show who else is there.
template <class Space>
class LlamaBlocks {
 public:
  using Matrix = MatrixView<float, Space>;
  using ConstMatrix = MatrixView<const float, Space>;
  using ConstVector = VectorView<const float, Space>;
  using Weights = LlamaWeights<Space>;
  using Run = LlamaRun<Space>;
  using Batch = LlamaBatch<Space>;
  using Target = MatmulTarget<Space>;

  /// A cache for each sequence of `options`, and memory for batches of `max_batch` rows.
  LlamaBlocks(LlamaConfig config, Weights weights, const LlamaOptions& options, Index max_batch,
              Execution<Space>& execution);

  [[nodiscard]] const LlamaConfig& config() const noexcept { return config_; }
  [[nodiscard]] const Weights& weights() const noexcept { return weights_; }
  [[nodiscard]] Execution<Space>& execution() const noexcept { return *execution_; }
  [[nodiscard]] Arithmetic arithmetic() const noexcept { return arithmetic_; }
  [[nodiscard]] std::span<KvCache<Space>> caches() noexcept { return caches_; }
  [[nodiscard]] std::span<const KvCache<Space>> caches() const noexcept { return caches_; }
  [[nodiscard]] LlamaSteps<Space>& steps() noexcept { return steps_; }

  /// Writes the batch's keys and values behind those that the caches count, and calls show(k) for h_0 to h_N in turn:
  /// h_k(row) of the batch is then row `row` of what it is given, as show(k, states). `needed_rows(run)` is how many
  /// of a run's last rows have a reader of h_N: the others leave the batch in the last block.
  template <class NeededRows, class Show>
  void run(Batch& batch, const NeededRows& needed_rows, const Show& show);

 private:
  [[nodiscard]] const LlamaLayerWeights<Space>& block(Index i) const {
    return weights_.layers[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] KvCache<Space>& cache(const Run& run) { return caches_[static_cast<std::size_t>(run.sequence)]; }

  /// k and v of all rows, and q too if the same rows are wanted; keys and values enter the caches.
  enum class Queries { with_keys, later };
  void project(Index i, ConstMatrix y, Queries queries);
  /// Adds a bias to each row of x and normalises each head, where the block has them; not rotated yet.
  void finish_heads(Matrix x, ConstVector bias, ConstVector norm);
  /// Of what rotates sequences of at most `positions`.
  static RopeTable<Space> rope_table(const RopeConfig& rope, Index head_dim, Index positions) {
    return {rope_frequencies(rope, head_dim, positions), positions, head_dim, rope.amplitude};
  }
  /// Rotates each row of x by its position, as block i does, if it does.
  void rotate(Index i, Matrix x, Index heads);
  /// y <- W_o attention(q), ready to be added.
  void attend(Index i, Matrix y);
  /// y <- W_down (activation(W_gate y) * W_up y), ready to be added.
  void feed_forward(Index i, Matrix y);
  /// What half a block adds to the residual stream: normalised and scaled, where the model does that.
  void finish_half(Matrix y, ConstVector norm);

  /// y_i = x w_i^T for every target, x and y_i with the batch's rows.
  void multiply(ConstMatrix x, std::initializer_list<Target> targets);
  /// [n, heads * D] as [n, heads, D].
  [[nodiscard]] TensorView<float, 3, Space> in_heads(Matrix m) const;
  /// The batch's rows of a buffer.
  [[nodiscard]] Matrix rows(Buffer<float, Space>& buffer, Index cols) { return buffer.matrix(batch_->rows(), cols); }
  [[nodiscard]] Matrix q() { return rows(q_, config_.heads * config_.head_dim); }

  LlamaConfig config_;
  Weights weights_;
  Execution<Space>* execution_;
  Arithmetic arithmetic_;
  std::vector<KvCache<Space>> caches_;  // one per sequence
  LlamaSteps<Space> steps_;
  RopeTable<Space> rope_;
  std::optional<RopeTable<Space>> window_rope_;
  const Batch* batch_ = nullptr;             // that is computed
  Buffer<float, Space> x_;                   // [max_batch, d] residual stream
  Buffer<float, Space> y_;                   // [max_batch, d] its norm, then what is added to it next
  Buffer<float, Space> q_;                   // [max_batch, heads * D] queries, then attention's output
  Buffer<float, Space> k_;                   // [max_batch, kv_heads * D] on their way to the caches
  Buffer<float, Space> v_;                   // the same
  Buffer<float, Space> gate_;                // [max_batch, F]
  Buffer<float, Space> up_;                  // [max_batch, F]
  std::vector<AttentionPart<Space>> parts_;  // one per run
};

template <class Space>
LlamaBlocks<Space>::LlamaBlocks(LlamaConfig config, Weights weights, const LlamaOptions& options, Index max_batch,
                                Execution<Space>& execution)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      execution_(&execution),
      arithmetic_(options.arithmetic),
      steps_(options.max_context),
      rope_(rope_table(config_.rope, config_.head_dim, options.max_context)),
      x_(max_batch * config_.hidden),
      y_(max_batch * config_.hidden),
      q_(max_batch * config_.heads * config_.head_dim),
      k_(max_batch * config_.kv_heads * config_.head_dim),
      v_(max_batch * config_.kv_heads * config_.head_dim),
      gate_(max_batch * config_.ffn),
      up_(max_batch * config_.ffn) {
  for (Index i = 0; i < options.sequences; ++i)
    caches_.emplace_back(config_.layers, options.max_context, config_.kv_heads * config_.head_dim);
  if (config_.window_rope)
    window_rope_.emplace(rope_table(*config_.window_rope, config_.head_dim, options.max_context));
  parts_.reserve(static_cast<std::size_t>(options.sequences));
}

template <class Space>
template <class NeededRows, class Show>
void LlamaBlocks<Space>::run(Batch& batch, const NeededRows& needed_rows, const Show& show) {
  batch_ = &batch;
  const Index layers = config_.layers;
  Matrix x = rows(x_, config_.hidden);
  Matrix y = rows(y_, config_.hidden);
  for (const Run& run : batch.runs())
    steps_.embed(*execution_, weights_.embedding, run, x.slice(0, run.row, run.row + run.rows));
  if (config_.embedding_scale != 1) scale(*execution_, x, config_.embedding_scale);
  rms_norm(*execution_, x, block(0).attention_norm, config_.rms_norm_eps, y);
  for (Index i = 0; i < layers; ++i) {
    show(i, x);
    const bool last = i + 1 == layers;
    const bool trims =
        last && std::ranges::any_of(batch.runs(), [&](const Run& run) { return needed_rows(run) < run.rows; });
    project(i, y, trims ? Queries::later : Queries::with_keys);
    if (trims) {
      batch.trim(needed_rows, [&](Index from, Index to, Index count) {
        for (const Matrix& m : {x, y}) copy(*execution_, m.slice(0, from, from + count), m.slice(0, to, to + count));
      });
      if (batch.rows() == 0) return;
      x = rows(x_, config_.hidden);
      y = rows(y_, config_.hidden);
      multiply(y, {{block(i).q, q()}});
    }
    attend(i, y);
    add_rms_norm(*execution_, x, y, block(i).ffn_norm, config_.rms_norm_eps);
    feed_forward(i, y);
    add_rms_norm(*execution_, x, y, last ? weights_.final_norm : block(i + 1).attention_norm, config_.rms_norm_eps);
  }
  show(layers, y);
}

template <class Space>
void LlamaBlocks<Space>::project(Index i, ConstMatrix y, Queries queries) {
  const LlamaLayerWeights<Space>& w = block(i);
  const Matrix k = rows(k_, config_.kv_heads * config_.head_dim);
  const Matrix v = rows(v_, config_.kv_heads * config_.head_dim);
  if (queries == Queries::with_keys)
    multiply(y, {{w.k, k}, {w.v, v}, {w.q, q()}});
  else
    multiply(y, {{w.k, k}, {w.v, v}});
  finish_heads(k, w.k_bias, w.k_norm);
  rotate(i, k, config_.kv_heads);
  if (!w.v_bias.empty()) add_bias(*execution_, v, w.v_bias);
  for (const Run& run : batch_->runs())
    steps_.store(*execution_, run, k.slice(0, run.row, run.row + run.rows), v.slice(0, run.row, run.row + run.rows),
                 cache(run), i);
}

template <class Space>
void LlamaBlocks<Space>::finish_heads(Matrix x, ConstVector bias, ConstVector norm) {
  if (!bias.empty()) add_bias(*execution_, x, bias);
  if (norm.empty()) return;
  const Index dim = config_.head_dim;
  const Matrix heads(x.data(), {x.extent(0) * x.extent(1) / dim, dim});  // the rows of a buffer have no gaps
  rms_norm(*execution_, heads, norm, config_.rms_norm_eps, heads);
}

template <class Space>
void LlamaBlocks<Space>::rotate(Index i, Matrix x, Index heads) {
  if (!config_.rotates(i)) return;
  const RopeTable<Space>& table = config_.rotates_by_window(i) ? *window_rope_ : rope_;
  for (const Run& run : batch_->runs())
    steps_.rotate(*execution_, run, x.slice(0, run.row, run.row + run.rows), heads, table, config_.rope.layout);
}

template <class Space>
void LlamaBlocks<Space>::attend(Index i, Matrix y) {
  const LlamaLayerWeights<Space>& w = block(i);
  finish_heads(q(), w.q_bias, w.q_norm);
  rotate(i, q(), config_.heads);
  parts_.clear();
  for (const Run& run : batch_->runs()) {
    const TensorView<float, 3, Space> queries = in_heads(q().slice(0, run.row, run.row + run.rows));
    const Index end = steps_.seen(run);
    parts_.push_back({queries, in_heads(cache(run).keys(i, 0, end)), in_heads(cache(run).values(i, 0, end)), queries});
  }
  steps_.attend(*execution_, parts_, config_.attention(i));
  multiply(q(), {{w.o, y}});
  if (!w.o_bias.empty()) add_bias(*execution_, y, w.o_bias);
  finish_half(y, w.attention_out_norm);
}

template <class Space>
void LlamaBlocks<Space>::feed_forward(Index i, Matrix y) {
  const LlamaLayerWeights<Space>& w = block(i);
  const Matrix gate = rows(gate_, config_.ffn);
  const Matrix up = rows(up_, config_.ffn);
  multiply(y, {{w.gate, gate}, {w.up, up}});
  gated_multiply(*execution_, config_.activation, gate, up, gate);
  multiply(gate, {{w.down, y}});
  finish_half(y, w.ffn_out_norm);
}

template <class Space>
void LlamaBlocks<Space>::finish_half(Matrix y, ConstVector norm) {
  if (!norm.empty()) rms_norm(*execution_, y, norm, config_.rms_norm_eps, y);
  if (config_.residual_scale != 1) scale(*execution_, y, config_.residual_scale);
}

static_assert(few_queries <= few_rows, "a sequence's bits are the same from few_rows positions at once on");

template <class Space>
void LlamaBlocks<Space>::multiply(ConstMatrix x, std::initializer_list<Target> targets) {
  const auto is_short = [](const Run& run) { return run.rows < few_rows; };
  const std::span<const Run> runs = batch_->runs();
  for (std::size_t r = 0; r < runs.size();) {
    const bool by_row = is_short(runs[r]);
    const Index begin = runs[r].row;
    Index end = begin;
    for (; r < runs.size() && is_short(runs[r]) == by_row; ++r) end += runs[r].rows;
    if (begin == end) continue;
    std::array<Target, 3> parts;
    std::ranges::transform(targets, parts.begin(), [&](const Target& target) {
      return Target{target.w, target.y.slice(0, begin, end)};
    });
    const std::span<const Target> used = std::span(parts).first(targets.size());
    detail::multiply(*execution_, x.slice(0, begin, end), used, by_row, arithmetic_);
  }
}

template <class Space>
TensorView<float, 3, Space> LlamaBlocks<Space>::in_heads(Matrix m) const {
  const Index dim = config_.head_dim;
  return {m.data(), {m.extent(0), m.extent(1) / dim, dim}, {m.stride(0), dim, 1}};
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
