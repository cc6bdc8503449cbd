// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/model/config.hpp"
#include "activation_trace/model/kv_cache.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/model/rope_frequencies.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/ops/attention.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/rms_norm.hpp"
#include "activation_trace/ops/rope.hpp"
#include "activation_trace/ops/silu_multiply.hpp"
#include "activation_trace/ops/thread_pool.hpp"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {

struct LlamaOptions {
  Index max_context = 512;  ///< positions that the KV cache holds: prompt and answer together
  Index max_batch = 512;    ///< positions computed at once; longer inputs are cut into pieces of this length
};

/// A LLaMA's forward pass over one sequence, in float (ALGORITHMS.md 0.1 and 0.2).
///
/// Tokens are appended: the keys and values of all earlier positions stay in the cache, so a prompt may arrive
/// in pieces, a generated token is one more call with one id, and rewind() keeps a common prefix. All memory is
/// allocated by the constructor. Not thread-safe.
///
/// Results are the same bit for bit for any number of threads, and for any cut of the tokens into batches of four
/// or more. Fewer rows go through other kernels and may differ by rounding: decoding against prefill, and the top
/// of the last position, which is computed alone unless h_N of others is observed.
class Llama {
 public:
  /// `weights` are views whose memory must outlive the model, and so must the pool. Throws ArgumentError for an
  /// impossible config or option or a context longer than the model's, ShapeError for weights that do not fit.
  Llama(LlamaConfig config, LlamaWeights weights, const LlamaOptions& options, ThreadPool& pool);

  [[nodiscard]] const LlamaConfig& config() const noexcept { return config_; }
  [[nodiscard]] const LlamaWeights& weights() const noexcept { return weights_; }
  /// The threads it works on, for those who work in turns with it.
  [[nodiscard]] ThreadPool& pool() const noexcept { return *pool_; }
  [[nodiscard]] Index max_context() const noexcept { return cache_.capacity(); }
  /// Tokens in the cache, which is also the position of the next one.
  [[nodiscard]] Index position() const noexcept { return cache_.size(); }
  /// Forgets the tokens from `position` on. Throws ArgumentError unless 0 <= position <= position().
  void rewind(Index position) { cache_.rewind(position); }

  /// Appends `ids` and returns the logits [V] at the last of them, valid until the next call. Throws
  /// ArgumentError if `ids` is empty or if it or the observer names a token or layer that does not exist,
  /// StateError if the context has no room for it. Whatever is thrown, no token has been appended.
  std::span<const float> forward(std::span<const TokenId> ids, const LayerObserver& observer = {});

  /// As forward, without logits: for all pieces of a prompt but the last, or to observe only.
  void fill(std::span<const TokenId> ids, const LayerObserver& observer = {});

  /// As forward, with logits [layers, V]: row i is W h_k at the last position, k = layers[i] as for
  /// resolve_layer, the final norm NOT applied for k < N (ALGORITHMS.md 0.1). One pass over the LM head.
  /// Throws ShapeError if `logits` has another shape, ArgumentError for more than N + 1 layers.
  void early_exit(std::span<const TokenId> ids, std::span<const Index> layers, MatrixView<float> logits,
                  const LayerObserver& observer = {});

 private:
  /// Positions computed at once.
  struct Batch {
    std::span<const TokenId> ids;
    Index first;     // position of ids[0]
    Index exit_row;  // the row whose states exits_ wants: the call's last, ids.size() if it is in a later batch
    const LayerObserver& observer;

    [[nodiscard]] Index rows() const noexcept { return static_cast<Index>(ids.size()); }
    /// The rows that the observer's positions cover.
    [[nodiscard]] Index observed_begin() const { return std::clamp(observer.begin - first, Index{0}, rows()); }
    [[nodiscard]] Index observed_end() const { return std::clamp(observer.end - first, observed_begin(), rows()); }
  };

  static Index checked_batch(const LlamaOptions& options, const LlamaConfig& config);
  void check(std::span<const TokenId> ids) const;

  /// Appends `ids`, and leaves the last position's h_exits_[i] in row i of exit_states_.
  void run(std::span<const TokenId> ids, const LayerObserver& observer);
  void run(const Batch& batch);
  /// The first row whose h_N somebody needs, batch.rows() if nobody does.
  [[nodiscard]] Index first_needed(const Batch& batch) const;
  /// Hands out h_layer; `states` are the rows of `batch` from `from` on.
  void show(Index layer, MatrixView<const float> states, Index from, const Batch& batch);

  /// y <- W_o attention(y). All rows enter the cache, the result is wanted for rows from.. only.
  void attend(Index block, MatrixView<float> y, Index first, Index from);
  /// [n, heads * D] as [n, heads, D].
  [[nodiscard]] TensorView<float, 3> in_heads(MatrixView<float> m) const;
  /// y <- W_down (silu(W_gate y) * W_up y).
  void feed_forward(Index block, MatrixView<float> y);
  /// x <- x + y, then y <- RMSNorm(x): the end of one half of a block and the start of the next in one pass.
  void add_and_norm(MatrixView<float> x, MatrixView<float> y, std::span<const float> weight);
  /// Calls f(begin, end) for ranges of [0, rows), in parallel; one row is not worth waking the workers.
  template <class F>
  void for_each_rows(Index rows, const F& f);

  LlamaConfig config_;
  LlamaWeights weights_;
  ThreadPool* pool_;
  Index max_batch_;
  KvCache cache_;
  RopeTable rope_;
  Buffer<float> x_;            // [max_batch, d] residual stream
  Buffer<float> y_;            // [max_batch, d] its norm, then what is added to it next
  Buffer<float> q_;            // [max_batch, heads * D] queries, then attention's output
  Buffer<float> gate_;         // [max_batch, F]
  Buffer<float> up_;           // [max_batch, F]
  Buffer<float> logits_;       // [V]
  Buffer<float> exit_states_;  // [N + 1, d]
  std::vector<Index> exits_;   // layers whose last state the current call returns logits of
  std::vector<char> wanted_;   // [N + 1] whether the current call's observer wants the layer
};

inline Llama::Llama(LlamaConfig config, LlamaWeights weights, const LlamaOptions& options, ThreadPool& pool)
    : config_((config.validate(), std::move(config))),
      weights_((weights.validate(config_), std::move(weights))),
      pool_(&pool),
      max_batch_(checked_batch(options, config_)),
      cache_(config_.layers, options.max_context, config_.kv_heads * config_.head_dim),
      rope_(rope_frequencies(config_.rope, config_.head_dim), options.max_context),
      x_(max_batch_ * config_.hidden),
      y_(max_batch_ * config_.hidden),
      q_(max_batch_ * config_.heads * config_.head_dim),
      gate_(max_batch_ * config_.ffn),
      up_(max_batch_ * config_.ffn),
      logits_(config_.vocab),
      exit_states_((config_.layers + 1) * config_.hidden) {
  exits_.reserve(static_cast<std::size_t>(config_.layers + 1));
  wanted_.resize(static_cast<std::size_t>(config_.layers + 1));
}

inline Index Llama::checked_batch(const LlamaOptions& options, const LlamaConfig& config) {
  if (options.max_context < 1 || options.max_context > config.max_context)
    throw ArgumentError("LlamaOptions: max_context must be in 1.." + std::to_string(config.max_context) +
                        ", the model's context, got " + std::to_string(options.max_context));
  if (options.max_batch < 1)
    throw ArgumentError("LlamaOptions: max_batch must be positive, got " + std::to_string(options.max_batch));
  return std::min(options.max_batch, options.max_context);
}

inline std::span<const float> Llama::forward(std::span<const TokenId> ids, const LayerObserver& observer) {
  exits_.assign(1, config_.layers);
  run(ids, observer);
  matmul(*pool_, exit_states_.matrix(1, config_.hidden), weights_.lm_head, logits_.matrix(1, config_.vocab));
  return logits_.view().span();
}

inline void Llama::fill(std::span<const TokenId> ids, const LayerObserver& observer) {
  exits_.clear();
  run(ids, observer);
}

inline void Llama::early_exit(std::span<const TokenId> ids, std::span<const Index> layers, MatrixView<float> logits,
                              const LayerObserver& observer) {
  const auto count = static_cast<Index>(layers.size());
  if (count > config_.layers + 1)
    throw ArgumentError("Llama: " + std::to_string(count) + " early exits asked of a model of " +
                        std::to_string(config_.layers) + " blocks");
  if (logits.extent(0) != count || logits.extent(1) != config_.vocab)
    throw ShapeError("Llama: expected early-exit logits of [" + std::to_string(count) + ", " +
                     std::to_string(config_.vocab) + "], got [" + std::to_string(logits.extent(0)) + ", " +
                     std::to_string(logits.extent(1)) + "]");
  exits_.clear();
  for (const Index layer : layers) exits_.push_back(resolve_layer(layer, config_.layers));
  run(ids, observer);
  matmul(*pool_, exit_states_.matrix(count, config_.hidden), weights_.lm_head, logits);
}

inline void Llama::check(std::span<const TokenId> ids) const {
  if (ids.empty()) throw ArgumentError("Llama: ids must not be empty");
  const auto count = static_cast<Index>(ids.size());
  if (count > max_context() - position())
    throw StateError("Llama: " + std::to_string(count) + " tokens at position " + std::to_string(position()) +
                     " do not fit into a context of " + std::to_string(max_context()));
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= config_.vocab)
      throw ArgumentError("Llama: ids[" + std::to_string(i) + "] is " + std::to_string(ids[i]) +
                          ", outside the vocabulary of " + std::to_string(config_.vocab));
}

inline void Llama::run(std::span<const TokenId> ids, const LayerObserver& observer) {
  check(ids);
  if (!observer.layers.empty() && !observer.on_states)
    throw ArgumentError("LayerObserver: layers are given, but on_states is empty");
  std::ranges::fill(wanted_, char{0});
  for (const Index layer : observer.layers) wanted_[static_cast<std::size_t>(resolve_layer(layer, config_.layers))] = 1;
  const auto batch_size = static_cast<std::size_t>(max_batch_);
  for (std::size_t done = 0; done < ids.size(); done += batch_size) {
    const auto piece = ids.subspan(done, std::min(batch_size, ids.size() - done));
    const bool last = done + piece.size() == ids.size();
    run({piece, position() + static_cast<Index>(done), static_cast<Index>(piece.size() - (last ? 1 : 0)), observer});
  }
  cache_.advance(static_cast<Index>(ids.size()));
}

inline void Llama::run(const Batch& batch) {
  const Index rows = batch.rows();
  const Index layers = config_.layers;
  const Index from = first_needed(batch);
  const auto block = [&](Index i) -> const LlamaLayerWeights& { return weights_.layers[static_cast<std::size_t>(i)]; };
  MatrixView<float> x = x_.matrix(rows, config_.hidden);
  MatrixView<float> y = y_.matrix(rows, config_.hidden);
  for_each_rows(rows, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      weights_.embedding.decode_row(batch.ids[static_cast<std::size_t>(i)], x.row(i).span());
    rms_norm(x.slice(0, begin, end), block(0).attention_norm, config_.rms_norm_eps, y.slice(0, begin, end),
             pool_->isa());
  });
  for (Index i = 0; i < layers; ++i) {
    show(i, x, 0, batch);
    const bool last = i + 1 == layers;
    attend(i, y, batch.first, last ? from : 0);
    if (last) {  // nobody reads the other rows
      if (from == rows) return;
      x = x.slice(0, from, rows);
      y = y.slice(0, from, rows);
    }
    add_and_norm(x, y, block(i).ffn_norm);
    feed_forward(i, y);
    add_and_norm(x, y, last ? weights_.final_norm : block(i + 1).attention_norm);
  }
  show(layers, y, from, batch);
}

inline Index Llama::first_needed(const Batch& batch) const {
  const bool exit = std::ranges::find(exits_, config_.layers) != exits_.end();
  const bool observed = wanted_.back() != 0 && batch.observed_begin() < batch.observed_end();
  return std::min(exit ? batch.exit_row : batch.rows(), observed ? batch.observed_begin() : batch.rows());
}

inline void Llama::show(Index layer, MatrixView<const float> states, Index from, const Batch& batch) {
  if (batch.exit_row < batch.rows())
    for (std::size_t i = 0; i < exits_.size(); ++i)
      if (exits_[i] == layer)
        std::ranges::copy(states.row(batch.exit_row - from).span(),
                          exit_states_.data() + static_cast<Index>(i) * config_.hidden);
  const Index begin = batch.observed_begin();
  const Index end = batch.observed_end();
  if (wanted_[static_cast<std::size_t>(layer)] != 0 && begin < end)
    batch.observer.on_states(layer, batch.first + begin, states.slice(0, begin - from, end - from));
}

inline void Llama::attend(Index block, MatrixView<float> y, Index first, Index from) {
  const LlamaLayerWeights& w = weights_.layers[static_cast<std::size_t>(block)];
  const Index rows = y.extent(0);
  const Index end = first + rows;
  const MatrixView<float> rest = y.slice(0, from, rows);
  const MatrixView<float> q = q_.matrix(rows - from, config_.heads * config_.head_dim);
  const MatrixView<float> k = cache_.keys(block, first, end);
  const MatrixView<float> v = cache_.values(block, first, end);
  const std::array<MatmulTarget, 3> targets{{{w.k, k}, {w.v, v}, {w.q, q}}};
  matmul(*pool_, y, std::span(targets).first(from == 0 ? 3 : 2));
  for_each_rows(rows, [&](Index begin, Index stop) {
    rope(k.slice(0, begin, stop), config_.kv_heads, first + begin, rope_, config_.rope.layout);
  });
  if (from == rows) return;
  if (from > 0) matmul(*pool_, rest, w.q, q);
  for_each_rows(rows - from, [&](Index begin, Index stop) {
    rope(q.slice(0, begin, stop), config_.heads, first + from + begin, rope_, config_.rope.layout);
  });
  attention(*pool_, in_heads(q), in_heads(cache_.keys(block, 0, end)), in_heads(cache_.values(block, 0, end)),
            in_heads(q));
  matmul(*pool_, q, w.o, rest);
}

inline TensorView<float, 3> Llama::in_heads(MatrixView<float> m) const {
  const Index dim = config_.head_dim;
  return {m.data(), {m.extent(0), m.extent(1) / dim, dim}, {m.stride(0), dim, 1}};
}

inline void Llama::feed_forward(Index block, MatrixView<float> y) {
  const LlamaLayerWeights& w = weights_.layers[static_cast<std::size_t>(block)];
  const Index rows = y.extent(0);
  const MatrixView<float> gate = gate_.matrix(rows, config_.ffn);
  const MatrixView<float> up = up_.matrix(rows, config_.ffn);
  const std::array<MatmulTarget, 2> targets{{{w.gate, gate}, {w.up, up}}};
  matmul(*pool_, y, targets);
  for_each_rows(rows, [&](Index begin, Index end) {
    const std::span<float> gated = gate.slice(0, begin, end).span();
    silu_multiply(gated, up.slice(0, begin, end).span(), gated, pool_->isa());
  });
  matmul(*pool_, gate, w.down, y);
}

inline void Llama::add_and_norm(MatrixView<float> x, MatrixView<float> y, std::span<const float> weight) {
  for_each_rows(x.extent(0), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      float* to = x.row(i).data();
      const float* term = y.row(i).data();
      for (Index c = 0; c < config_.hidden; ++c) to[c] += term[c];
    }
    rms_norm(x.slice(0, begin, end), weight, config_.rms_norm_eps, y.slice(0, begin, end), pool_->isa());
  });
}

template <class F>
void Llama::for_each_rows(Index rows, const F& f) {
  if (rows == 1)
    f(Index{0}, Index{1});
  else
    pool_->for_each_range(rows, 1, [&](Index begin, Index end, int) { f(begin, end); });
}

}  // namespace v0
}  // namespace activation_trace
