// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/model/config.hpp"
#include "activation_trace/model/kv_cache.hpp"
#include "activation_trace/model/llama_batch.hpp"
#include "activation_trace/model/rope_frequencies.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/ops/add_bias.hpp"
#include "activation_trace/ops/attention.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/gelu_tanh_multiply.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/rms_norm.hpp"
#include "activation_trace/ops/rope.hpp"
#include "activation_trace/ops/silu_multiply.hpp"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// The decoder blocks of a LLaMA, and the keys and values of its sequences: hidden states of one batch at a time.
/// Every run of the batch is computed by the kernels that it takes alone, so it does not show who else is there.
class LlamaBlocks {
 public:
  /// A cache of `max_context` for each of `sequences`, and memory for batches of `max_batch` rows.
  LlamaBlocks(LlamaConfig config, LlamaWeights weights, Index max_context, Index max_batch, Index sequences,
              Execution<Host>& execution);

  [[nodiscard]] const LlamaConfig& config() const noexcept { return config_; }
  [[nodiscard]] const LlamaWeights& weights() const noexcept { return weights_; }
  [[nodiscard]] Execution<Host>& execution() const noexcept { return *execution_; }
  [[nodiscard]] std::span<KvCache> caches() noexcept { return caches_; }
  [[nodiscard]] std::span<const KvCache> caches() const noexcept { return caches_; }

  /// Writes the batch's keys and values behind those that the caches count, and calls show(k) for h_0 to h_N in turn:
  /// h_k(row) of the batch is then row `row` of what it is given, as show(k, states). `needed_rows(run)` is how many
  /// of a run's last rows have a reader of h_N: the others leave the batch in the last block.
  template <class NeededRows, class Show>
  void run(LlamaBatch& batch, const NeededRows& needed_rows, const Show& show);

 private:
  [[nodiscard]] const LlamaLayerWeights& block(Index i) const { return weights_.layers[static_cast<std::size_t>(i)]; }
  [[nodiscard]] KvCache& cache(const LlamaRun& run) { return caches_[static_cast<std::size_t>(run.sequence)]; }

  /// k and v of all rows, and q too if the same rows are wanted; keys and values enter the caches.
  enum class Queries { with_keys, later };
  void project(Index i, MatrixView<const float> y, Queries queries);
  /// Adds a bias to each row of x and normalises each head, where the block has them; not rotated yet.
  void finish_heads(MatrixView<float> x, std::span<const float> bias, std::span<const float> norm) const;
  /// y <- W_o attention(q).
  void attend(Index i, MatrixView<float> y);
  /// y <- W_down (activation(W_gate y) * W_up y).
  void feed_forward(Index i, MatrixView<float> y);
  /// x <- x + y, then y <- RMSNorm(x): the end of one half of a block and the start of the next in one pass.
  void add_and_norm(MatrixView<float> x, MatrixView<float> y, std::span<const float> weight);

  /// y_i = x w_i^T for every target, x and y_i with the batch's rows.
  void multiply(MatrixView<const float> x, std::initializer_list<MatmulTarget> targets);
  /// [n, heads * D] as [n, heads, D].
  [[nodiscard]] TensorView<float, 3> in_heads(MatrixView<float> m) const;
  /// The batch's rows of a buffer.
  [[nodiscard]] MatrixView<float> rows(Buffer<float>& buffer, Index cols) {
    return buffer.matrix(batch_->rows(), cols);
  }
  [[nodiscard]] MatrixView<float> q() { return rows(q_, config_.heads * config_.head_dim); }
  /// Calls f(begin, end) for ranges of [0, rows), in parallel; one row is not worth waking the workers.
  template <class F>
  void for_each_rows(Index rows, const F& f);
  /// The same for the batch's rows: f(run, begin, end), counted within the run.
  template <class F>
  void for_each_run(const F& f);

  LlamaConfig config_;
  LlamaWeights weights_;
  Execution<Host>* execution_;
  std::vector<KvCache> caches_;  // one per sequence
  RopeTable rope_;
  const LlamaBatch* batch_ = nullptr;  // that is computed
  Buffer<float> x_;                    // [max_batch, d] residual stream
  Buffer<float> y_;                    // [max_batch, d] its norm, then what is added to it next
  Buffer<float> q_;                    // [max_batch, heads * D] queries, then attention's output
  Buffer<float> k_;                    // [max_batch, kv_heads * D] on their way to the caches
  Buffer<float> v_;                    // the same
  Buffer<float> gate_;                 // [max_batch, F]
  Buffer<float> up_;                   // [max_batch, F]
  std::vector<AttentionPart> parts_;   // one per run
};

inline LlamaBlocks::LlamaBlocks(LlamaConfig config, LlamaWeights weights, Index max_context, Index max_batch,
                                Index sequences, Execution<Host>& execution)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      execution_(&execution),
      rope_(rope_frequencies(config_.rope, config_.head_dim), max_context),
      x_(max_batch * config_.hidden),
      y_(max_batch * config_.hidden),
      q_(max_batch * config_.heads * config_.head_dim),
      k_(max_batch * config_.kv_heads * config_.head_dim),
      v_(max_batch * config_.kv_heads * config_.head_dim),
      gate_(max_batch * config_.ffn),
      up_(max_batch * config_.ffn) {
  for (Index i = 0; i < sequences; ++i)
    caches_.emplace_back(config_.layers, max_context, config_.kv_heads * config_.head_dim);
  parts_.reserve(static_cast<std::size_t>(sequences));
}

template <class NeededRows, class Show>
void LlamaBlocks::run(LlamaBatch& batch, const NeededRows& needed_rows, const Show& show) {
  batch_ = &batch;
  const Index layers = config_.layers;
  MatrixView<float> x = rows(x_, config_.hidden);
  MatrixView<float> y = rows(y_, config_.hidden);
  const float scale = config_.embedding_scale;
  for_each_run([&](const LlamaRun& run, Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const std::span<float> row = x.row(run.row + i).span();
      weights_.embedding.decode_row(run.ids[static_cast<std::size_t>(i)], row);
      if (scale != 1)
        for (float& element : row) element *= scale;
    }
    rms_norm(x.slice(0, run.row + begin, run.row + end), block(0).attention_norm, config_.rms_norm_eps,
             y.slice(0, run.row + begin, run.row + end), execution_->isa());
  });
  for (Index i = 0; i < layers; ++i) {
    show(i, x);
    const bool last = i + 1 == layers;
    const bool trims =
        last && std::ranges::any_of(batch.runs(), [&](const LlamaRun& run) { return needed_rows(run) < run.rows; });
    project(i, y, trims ? Queries::later : Queries::with_keys);
    if (trims) {
      batch.trim(needed_rows, [&](Index from, Index to, Index count) {
        for (const MatrixView<float>& m : {x, y})
          std::ranges::copy(m.slice(0, from, from + count).span(), m.slice(0, to, to + count).data());
      });
      if (batch.rows() == 0) return;
      x = rows(x_, config_.hidden);
      y = rows(y_, config_.hidden);
      multiply(y, {{block(i).q, q()}});
    }
    attend(i, y);
    add_and_norm(x, y, block(i).ffn_norm);
    feed_forward(i, y);
    add_and_norm(x, y, last ? weights_.final_norm : block(i + 1).attention_norm);
  }
  show(layers, y);
}

inline void LlamaBlocks::project(Index i, MatrixView<const float> y, Queries queries) {
  const LlamaLayerWeights& w = block(i);
  const MatrixView<float> k = rows(k_, config_.kv_heads * config_.head_dim);
  const MatrixView<float> v = rows(v_, config_.kv_heads * config_.head_dim);
  if (queries == Queries::with_keys)
    multiply(y, {{w.k, k}, {w.v, v}, {w.q, q()}});
  else
    multiply(y, {{w.k, k}, {w.v, v}});
  for_each_run([&](const LlamaRun& run, Index begin, Index end) {
    const MatrixView<float> keys = k.slice(0, run.row + begin, run.row + end);
    const MatrixView<float> values = v.slice(0, run.row + begin, run.row + end);
    finish_heads(keys, w.k_bias, w.k_norm);
    finish_heads(values, w.v_bias, {});
    rope(keys, config_.kv_heads, run.position + begin, rope_, config_.rope.layout);
    std::ranges::copy(keys.span(), cache(run).keys(i, run.position + begin, run.position + end).data());
    std::ranges::copy(values.span(), cache(run).values(i, run.position + begin, run.position + end).data());
  });
}

inline void LlamaBlocks::finish_heads(MatrixView<float> x, std::span<const float> bias,
                                      std::span<const float> norm) const {
  if (!bias.empty()) add_bias(x, bias);
  if (norm.empty()) return;
  const Index dim = config_.head_dim;
  const MatrixView<float> heads(x.data(), {x.extent(0) * x.extent(1) / dim, dim});  // the rows of a buffer have no gaps
  rms_norm(heads, norm, config_.rms_norm_eps, heads, execution_->isa());
}

inline void LlamaBlocks::attend(Index i, MatrixView<float> y) {
  const LlamaLayerWeights& w = block(i);
  for_each_run([&](const LlamaRun& run, Index begin, Index end) {
    const MatrixView<float> queries = q().slice(0, run.row + begin, run.row + end);
    finish_heads(queries, w.q_bias, w.q_norm);
    rope(queries, config_.heads, run.position + begin, rope_, config_.rope.layout);
  });
  parts_.clear();
  for (const LlamaRun& run : batch_->runs()) {
    const TensorView<float, 3> queries = in_heads(q().slice(0, run.row, run.row + run.rows));
    const Index end = run.position + run.rows;
    parts_.push_back({queries, in_heads(cache(run).keys(i, 0, end)), in_heads(cache(run).values(i, 0, end)), queries});
  }
  attention(*execution_, parts_, config_.attention(i));
  multiply(q(), {{w.o, y}});
  if (!w.o_bias.empty()) add_bias(y, w.o_bias);
}

inline void LlamaBlocks::feed_forward(Index i, MatrixView<float> y) {
  const LlamaLayerWeights& w = block(i);
  const MatrixView<float> gate = rows(gate_, config_.ffn);
  const MatrixView<float> up = rows(up_, config_.ffn);
  multiply(y, {{w.gate, gate}, {w.up, up}});
  for_each_rows(y.extent(0), [&](Index begin, Index end) {
    const std::span<float> gated = gate.slice(0, begin, end).span();
    const std::span<const float> factors = up.slice(0, begin, end).span();
    switch (config_.activation) {
      case FfnActivation::silu: return silu_multiply(gated, factors, gated, execution_->isa());
      case FfnActivation::gelu_tanh: return gelu_tanh_multiply(gated, factors, gated, execution_->isa());
    }
  });
  multiply(gate, {{w.down, y}});
}

inline void LlamaBlocks::add_and_norm(MatrixView<float> x, MatrixView<float> y, std::span<const float> weight) {
  for_each_rows(x.extent(0), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      float* to = x.row(i).data();
      const float* term = y.row(i).data();
      for (Index c = 0; c < config_.hidden; ++c) to[c] += term[c];
    }
    rms_norm(x.slice(0, begin, end), weight, config_.rms_norm_eps, y.slice(0, begin, end), execution_->isa());
  });
}

static_assert(few_queries <= few_rows, "a sequence's bits are the same from few_rows positions at once on");

inline void LlamaBlocks::multiply(MatrixView<const float> x, std::initializer_list<MatmulTarget> targets) {
  const auto is_short = [](const LlamaRun& run) { return run.rows < few_rows; };
  const std::span<const LlamaRun> runs = batch_->runs();
  for (std::size_t r = 0; r < runs.size();) {
    const bool by_row = is_short(runs[r]);
    const Index begin = runs[r].row;
    Index end = begin;
    for (; r < runs.size() && is_short(runs[r]) == by_row; ++r) end += runs[r].rows;
    if (begin == end) continue;
    std::array<MatmulTarget, 3> parts;
    std::ranges::transform(targets, parts.begin(), [&](const MatmulTarget& target) {
      return MatmulTarget{target.w, target.y.slice(0, begin, end)};
    });
    const std::span<const MatmulTarget> used = std::span(parts).first(targets.size());
    if (by_row)
      matmul_by_row(*execution_, x.slice(0, begin, end), used);
    else
      matmul(*execution_, x.slice(0, begin, end), used);
  }
}

inline TensorView<float, 3> LlamaBlocks::in_heads(MatrixView<float> m) const {
  const Index dim = config_.head_dim;
  return {m.data(), {m.extent(0), m.extent(1) / dim, dim}, {m.stride(0), dim, 1}};
}

template <class F>
void LlamaBlocks::for_each_rows(Index rows, const F& f) {
  if (rows == 1)
    f(Index{0}, Index{1});
  else
    execution_->for_each_range(rows, 1, [&](Index begin, Index end, int) { f(begin, end); });
}

template <class F>
void LlamaBlocks::for_each_run(const F& f) {
  for_each_rows(batch_->rows(), [&](Index begin, Index end) {
    for (const LlamaRun& run : batch_->runs()) {
      const Index first = std::max(begin - run.row, Index{0});
      const Index last = std::min(end - run.row, run.rows);
      if (first < last) f(run, first, last);
    }
  });
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
