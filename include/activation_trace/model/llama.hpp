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
#include "activation_trace/model/llama_batch.hpp"
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
  Index max_context = 512;  ///< positions that the KV cache of a sequence holds: prompt and answer together
  Index max_batch = 512;    ///< positions computed at once; longer inputs are cut into pieces of this length
  Index sequences = 1;      ///< sequences with a KV cache of their own
};

/// A LLaMA's forward pass over one sequence or several, in float (ALGORITHMS.md 0.1 and 0.2).
///
/// Tokens are appended: the keys and values of all earlier positions stay in the sequence's cache, so a prompt may
/// arrive in pieces, a generated token is one more call with one id, and rewind() keeps a common prefix. All memory
/// is allocated by the constructor. Not thread-safe.
///
/// Results are the same bit for bit for any number of threads, and for any cut of the tokens into batches of four
/// or more. Fewer rows go through other kernels and may differ by rounding: decoding against prefill, several
/// sequences at once against one at a time, and the top of the last position, which is computed alone unless h_N of
/// others is observed.
class Llama {
 public:
  /// `weights` are views whose memory must outlive the model, and so must the pool. Throws ArgumentError for an
  /// impossible config or option or a context longer than the model's, ShapeError for weights that do not fit.
  Llama(LlamaConfig config, LlamaWeights weights, const LlamaOptions& options, ThreadPool& pool);

  [[nodiscard]] const LlamaConfig& config() const noexcept { return config_; }
  [[nodiscard]] const LlamaWeights& weights() const noexcept { return weights_; }
  /// The threads it works on, for those who work in turns with it.
  [[nodiscard]] ThreadPool& pool() const noexcept { return *pool_; }
  [[nodiscard]] Index max_context() const noexcept { return caches_.front().capacity(); }
  [[nodiscard]] Index sequences() const noexcept { return static_cast<Index>(caches_.size()); }

  // Every call below throws ArgumentError for a sequence that does not exist.

  /// Tokens in the sequence's cache, which is also the position of the next one.
  [[nodiscard]] Index position(Index sequence = 0) const { return caches_[checked(sequence)].size(); }
  /// Forgets the tokens from `position` on. Throws ArgumentError unless 0 <= position <= position(sequence).
  void rewind(Index position, Index sequence = 0) { caches_[checked(sequence)].rewind(position); }
  /// Makes `to` equal to `from`. Positions before `begin` must be equal already and are not copied. Throws
  /// ArgumentError if one of the two has fewer than `begin` positions.
  void copy_sequence(Index from, Index to, Index begin = 0);

  /// Appends `ids` and returns the logits [V] at the last of them, valid until the next call. Throws
  /// ArgumentError if `ids` is empty or if it or the observer names a token or layer that does not exist,
  /// StateError if the context has no room for it. Whatever is thrown, no token has been appended.
  std::span<const float> forward(std::span<const TokenId> ids, const LayerObserver& observer = {}, Index sequence = 0);

  /// As forward, without logits: for all pieces of a prompt but the last, or to observe only.
  void fill(std::span<const TokenId> ids, const LayerObserver& observer = {}, Index sequence = 0);

  /// As forward, with logits [layers, V]: row i is W h_k at the last position, k = layers[i] as for
  /// resolve_layer, the final norm NOT applied for k < N (ALGORITHMS.md 0.1). One pass over the LM head.
  /// Throws ShapeError if `logits` has another shape, ArgumentError for more than N + 1 layers.
  void early_exit(std::span<const TokenId> ids, std::span<const Index> layers, MatrixView<float> logits,
                  const LayerObserver& observer = {}, Index sequence = 0);

  // The same for several sequences in one pass over the weights. A sequence occurs in one piece at most, else
  // ArgumentError. Whatever is thrown, no token has been appended to any. Observers see their own piece's positions.

  /// Logits [pieces, V] at the last id of each piece, valid until the next call.
  MatrixView<const float> forward(std::span<const LlamaPiece> pieces);
  void fill(std::span<const LlamaPiece> pieces);
  /// Logits [pieces, layers, V], whose rows must be evenly spaced; one pass over the LM head.
  void early_exit(std::span<const LlamaPiece> pieces, std::span<const Index> layers, TensorView<float, 3> logits);

 private:
  static constexpr Index max_sequences = 1024;

  static Index checked_batch(const LlamaOptions& options, const LlamaConfig& config);
  static std::vector<KvCache> make_caches(const LlamaOptions& options, const LlamaConfig& config);
  [[nodiscard]] std::size_t checked(Index sequence) const;
  void check(std::span<const LlamaPiece> pieces) const;

  /// Computes the pieces, and leaves h_exits_[i] of the last position of piece p in row p * exits + i of
  /// exit_states_. The caches count the new positions only after advance().
  void run(std::span<const LlamaPiece> pieces);
  void run_batch();
  void advance(std::span<const LlamaPiece> pieces);
  /// The rows of a run, counted from its end, whose h_N somebody needs.
  [[nodiscard]] Index needed_rows(const detail::LlamaRun& run) const;
  /// Hands out h_layer of the batch.
  void show(Index layer, MatrixView<const float> states);

  /// Whether the last block is computed for the needed rows only: nobody reads the others.
  enum class Rows { all, needed };
  /// y <- W_o attention(y). All rows enter the caches; x and y shrink to the rows that are computed from here on.
  void attend(Index block, MatrixView<float>& x, MatrixView<float>& y, Rows rows);
  /// Moves the needed rows of x and y to the front.
  void trim(MatrixView<float>& x, MatrixView<float>& y);
  /// [n, heads * D] as [n, heads, D].
  [[nodiscard]] TensorView<float, 3> in_heads(MatrixView<float> m) const;
  /// y <- W_down (silu(W_gate y) * W_up y).
  void feed_forward(Index block, MatrixView<float> y);
  /// x <- x + y, then y <- RMSNorm(x): the end of one half of a block and the start of the next in one pass.
  void add_and_norm(MatrixView<float> x, MatrixView<float> y, std::span<const float> weight);
  /// Calls f(begin, end) for ranges of [0, rows), in parallel; one row is not worth waking the workers.
  template <class F>
  void for_each_rows(Index rows, const F& f);
  /// The same for the batch's rows: f(run, begin, end), counted within the run.
  template <class F>
  void for_each_run(const F& f);

  LlamaConfig config_;
  LlamaWeights weights_;
  ThreadPool* pool_;
  std::vector<KvCache> caches_;  // one per sequence
  RopeTable rope_;
  detail::LlamaBatch batch_;
  Index max_batch_;
  Buffer<float> x_;                   // [max_batch, d] residual stream
  Buffer<float> y_;                   // [max_batch, d] its norm, then what is added to it next
  Buffer<float> q_;                   // [max_batch, heads * D] queries, then attention's output
  Buffer<float> k_;                   // [max_batch, kv_heads * D] on their way to the caches
  Buffer<float> v_;                   // the same
  Buffer<float> gate_;                // [max_batch, F]
  Buffer<float> up_;                  // [max_batch, F]
  Buffer<float> logits_;              // [sequences, V]
  Buffer<float> exit_states_;         // [sequences * (N + 1), d]
  std::vector<Index> exits_;          // layers whose last state the current call returns logits of
  std::vector<AttentionPart> parts_;  // one per run
};

inline Llama::Llama(LlamaConfig config, LlamaWeights weights, const LlamaOptions& options, ThreadPool& pool)
    : config_((config.validate(), std::move(config))),
      weights_((weights.validate(config_), std::move(weights))),
      pool_(&pool),
      caches_(make_caches(options, config_)),
      rope_(rope_frequencies(config_.rope, config_.head_dim), options.max_context),
      batch_(options.sequences, checked_batch(options, config_)),
      max_batch_(checked_batch(options, config_)),
      x_(max_batch_ * config_.hidden),
      y_(max_batch_ * config_.hidden),
      q_(max_batch_ * config_.heads * config_.head_dim),
      k_(max_batch_ * config_.kv_heads * config_.head_dim),
      v_(max_batch_ * config_.kv_heads * config_.head_dim),
      gate_(max_batch_ * config_.ffn),
      up_(max_batch_ * config_.ffn),
      logits_(options.sequences * config_.vocab),
      exit_states_(options.sequences * (config_.layers + 1) * config_.hidden) {
  exits_.reserve(static_cast<std::size_t>(config_.layers + 1));
  parts_.reserve(static_cast<std::size_t>(options.sequences));
}

inline Index Llama::checked_batch(const LlamaOptions& options, const LlamaConfig& config) {
  if (options.max_context < 1 || options.max_context > config.max_context)
    throw ArgumentError("LlamaOptions: max_context must be in 1.." + std::to_string(config.max_context) +
                        ", the model's context, got " + std::to_string(options.max_context));
  if (options.max_batch < 1)
    throw ArgumentError("LlamaOptions: max_batch must be positive, got " + std::to_string(options.max_batch));
  if (options.sequences < 1 || options.sequences > max_sequences)
    throw ArgumentError("LlamaOptions: sequences must be in 1.." + std::to_string(max_sequences) + ", got " +
                        std::to_string(options.sequences));
  return std::min(options.max_batch, options.max_context * options.sequences);
}

inline std::vector<KvCache> Llama::make_caches(const LlamaOptions& options, const LlamaConfig& config) {
  checked_batch(options, config);
  std::vector<KvCache> caches;
  for (Index i = 0; i < options.sequences; ++i)
    caches.emplace_back(config.layers, options.max_context, config.kv_heads * config.head_dim);
  return caches;
}

inline std::size_t Llama::checked(Index sequence) const {
  if (sequence < 0 || sequence >= sequences())
    throw ArgumentError("Llama: sequence " + std::to_string(sequence) + " does not exist, there are " +
                        std::to_string(sequences()));
  return static_cast<std::size_t>(sequence);
}

inline void Llama::copy_sequence(Index from, Index to, Index begin) {
  KvCache& source = caches_[checked(from)];
  KvCache& target = caches_[checked(to)];
  const Index end = source.size();
  if (begin < 0 || begin > std::min(end, target.size()))
    throw ArgumentError("Llama: copy_sequence from position " + std::to_string(begin) + ", but the sequences hold " +
                        std::to_string(end) + " and " + std::to_string(target.size()));
  if (from == to) return;
  pool_->for_each_range(config_.layers, 1, [&](Index first, Index last, int) {
    for (Index block = first; block < last; ++block) {
      std::ranges::copy(source.keys(block, begin, end).span(), target.keys(block, begin, end).data());
      std::ranges::copy(source.values(block, begin, end).span(), target.values(block, begin, end).data());
    }
  });
  target.rewind(begin);
  target.advance(end - begin);
}

inline std::span<const float> Llama::forward(std::span<const TokenId> ids, const LayerObserver& observer,
                                             Index sequence) {
  const LlamaPiece piece{sequence, ids, &observer};
  return forward(std::span(&piece, 1)).row(0).span();
}

inline void Llama::fill(std::span<const TokenId> ids, const LayerObserver& observer, Index sequence) {
  const LlamaPiece piece{sequence, ids, &observer};
  fill(std::span(&piece, 1));
}

inline void Llama::early_exit(std::span<const TokenId> ids, std::span<const Index> layers, MatrixView<float> logits,
                              const LayerObserver& observer, Index sequence) {
  const LlamaPiece piece{sequence, ids, &observer};
  early_exit(std::span(&piece, 1), layers,
             {logits.data(),
              {1, logits.extent(0), logits.extent(1)},
              {logits.extent(0) * logits.stride(0), logits.stride(0), logits.stride(1)}});
}

inline MatrixView<const float> Llama::forward(std::span<const LlamaPiece> pieces) {
  const auto count = static_cast<Index>(pieces.size());
  exits_.assign(1, config_.layers);
  run(pieces);
  const MatrixView<float> logits = logits_.matrix(count, config_.vocab);
  matmul(*pool_, exit_states_.matrix(count, config_.hidden), weights_.lm_head, logits);
  advance(pieces);
  return logits;
}

inline void Llama::fill(std::span<const LlamaPiece> pieces) {
  exits_.clear();
  run(pieces);
  advance(pieces);
}

inline void Llama::early_exit(std::span<const LlamaPiece> pieces, std::span<const Index> layers,
                              TensorView<float, 3> logits) {
  const auto exits = static_cast<Index>(layers.size());
  const auto count = static_cast<Index>(pieces.size());
  if (exits > config_.layers + 1)
    throw ArgumentError("Llama: " + std::to_string(exits) + " early exits asked of a model of " +
                        std::to_string(config_.layers) + " blocks");
  using Shape = TensorView<float, 3>::Extents;
  const auto text = [](const Shape& shape) {
    return "[" + (shape[0] == 1 ? "" : std::to_string(shape[0]) + ", ") + std::to_string(shape[1]) + ", " +
           std::to_string(shape[2]) + "]";
  };
  const Shape expected{count, exits, config_.vocab};
  if (logits.extents() != expected)
    throw ShapeError("Llama: expected early-exit logits of " + text(expected) + ", got " + text(logits.extents()));
  detail::check_contiguous_rows("Llama: early-exit logits", logits);
  if (count > 1 && logits.stride(0) != exits * logits.stride(1))
    throw ShapeError("Llama: the rows of early-exit logits must be evenly spaced");
  exits_.clear();
  for (const Index layer : layers) exits_.push_back(resolve_layer(layer, config_.layers));
  run(pieces);
  matmul(*pool_, exit_states_.matrix(count * exits, config_.hidden), weights_.lm_head,
         {logits.data(), {count * exits, config_.vocab}, {logits.stride(1), 1}});
  advance(pieces);
}

inline void Llama::check(std::span<const LlamaPiece> pieces) const {
  if (pieces.empty()) throw ArgumentError("Llama: pieces must not be empty");
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    const auto& [sequence, ids, observer] = pieces[p];
    const auto name = [&] { return pieces.size() == 1 ? "ids" : "pieces[" + std::to_string(p) + "].ids"; };
    static_cast<void>(checked(sequence));
    for (std::size_t other = 0; other < p; ++other)
      if (pieces[other].sequence == sequence)
        throw ArgumentError("Llama: sequence " + std::to_string(sequence) + " occurs in pieces[" +
                            std::to_string(other) + "] and pieces[" + std::to_string(p) + "]");
    if (ids.empty()) throw ArgumentError("Llama: " + name() + " must not be empty");
    const auto count = static_cast<Index>(ids.size());
    if (count > max_context() - position(sequence))
      throw StateError("Llama: " + std::to_string(count) + " tokens at position " + std::to_string(position(sequence)) +
                       (sequences() == 1 ? "" : " of sequence " + std::to_string(sequence)) +
                       " do not fit into a context of " + std::to_string(max_context()));
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (ids[i] < 0 || ids[i] >= config_.vocab)
        throw ArgumentError("Llama: " + name() + "[" + std::to_string(i) + "] is " + std::to_string(ids[i]) +
                            ", outside the vocabulary of " + std::to_string(config_.vocab));
    if (observer == nullptr) continue;
    if (!observer->layers.empty() && !observer->on_states)
      throw ArgumentError("LayerObserver: layers are given, but on_states is empty");
    for (const Index layer : observer->layers) static_cast<void>(resolve_layer(layer, config_.layers));
  }
}

inline void Llama::run(std::span<const LlamaPiece> pieces) {
  check(pieces);
  batch_.clear();
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    const LlamaPiece& piece = pieces[p];
    const auto count = static_cast<Index>(piece.ids.size());
    for (Index done = 0; done < count;) {
      done += batch_.add(piece, static_cast<Index>(p), done, position(piece.sequence) + done);
      if (!batch_.full() && (done < count || p + 1 < pieces.size())) continue;
      run_batch();
      batch_.clear();
    }
  }
}

inline void Llama::advance(std::span<const LlamaPiece> pieces) {
  for (const LlamaPiece& piece : pieces) caches_[checked(piece.sequence)].advance(static_cast<Index>(piece.ids.size()));
}

inline void Llama::run_batch() {
  const Index layers = config_.layers;
  const auto block = [&](Index i) -> const LlamaLayerWeights& { return weights_.layers[static_cast<std::size_t>(i)]; };
  MatrixView<float> x = x_.matrix(batch_.rows(), config_.hidden);
  MatrixView<float> y = y_.matrix(batch_.rows(), config_.hidden);
  for_each_run([&](const detail::LlamaRun& run, Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      weights_.embedding.decode_row(run.ids[static_cast<std::size_t>(i)], x.row(run.row + i).span());
    rms_norm(x.slice(0, run.row + begin, run.row + end), block(0).attention_norm, config_.rms_norm_eps,
             y.slice(0, run.row + begin, run.row + end), pool_->isa());
  });
  for (Index i = 0; i < layers; ++i) {
    show(i, x);
    const bool last = i + 1 == layers;
    attend(i, x, y, last ? Rows::needed : Rows::all);
    if (batch_.rows() == 0) return;
    add_and_norm(x, y, block(i).ffn_norm);
    feed_forward(i, y);
    add_and_norm(x, y, last ? weights_.final_norm : block(i + 1).attention_norm);
  }
  show(layers, y);
}

inline Index Llama::needed_rows(const detail::LlamaRun& run) const {
  const bool exits = run.ends_piece && std::ranges::find(exits_, config_.layers) != exits_.end();
  const bool shown = run.shows(config_.layers, config_.layers);
  return std::max<Index>(exits ? 1 : 0, shown ? run.rows - run.observed_begin() : 0);
}

inline void Llama::show(Index layer, MatrixView<const float> states) {
  const auto exits = static_cast<Index>(exits_.size());
  for (const detail::LlamaRun& run : batch_.runs()) {
    for (Index i = 0; i < exits && run.ends_piece; ++i)
      if (exits_[static_cast<std::size_t>(i)] == layer)
        std::ranges::copy(states.row(run.row + run.rows - 1).span(),
                          exit_states_.data() + (run.piece * exits + i) * config_.hidden);
    if (run.shows(layer, config_.layers))
      run.observer->on_states(layer, run.position + run.observed_begin(),
                              states.slice(0, run.row + run.observed_begin(), run.row + run.observed_end()));
  }
}

inline void Llama::attend(Index block, MatrixView<float>& x, MatrixView<float>& y, Rows rows) {
  const LlamaLayerWeights& w = weights_.layers[static_cast<std::size_t>(block)];
  const MatrixView<float> k = k_.matrix(batch_.rows(), config_.kv_heads * config_.head_dim);
  const MatrixView<float> v = v_.matrix(batch_.rows(), config_.kv_heads * config_.head_dim);
  MatrixView<float> q = q_.matrix(batch_.rows(), config_.heads * config_.head_dim);
  const bool trims = rows == Rows::needed && std::ranges::any_of(batch_.runs(), [&](const detail::LlamaRun& run) {
                       return needed_rows(run) < run.rows;
                     });
  const std::array<MatmulTarget, 3> targets{{{w.k, k}, {w.v, v}, {w.q, q}}};
  matmul(*pool_, y, std::span(targets).first(trims ? 2 : 3));
  for_each_run([&](const detail::LlamaRun& run, Index begin, Index end) {
    KvCache& cache = caches_[static_cast<std::size_t>(run.sequence)];
    const MatrixView<float> keys = k.slice(0, run.row + begin, run.row + end);
    const MatrixView<float> values = v.slice(0, run.row + begin, run.row + end);
    rope(keys, config_.kv_heads, run.position + begin, rope_, config_.rope.layout);
    std::ranges::copy(keys.span(), cache.keys(block, run.position + begin, run.position + end).data());
    std::ranges::copy(values.span(), cache.values(block, run.position + begin, run.position + end).data());
  });
  if (trims) {
    trim(x, y);
    if (batch_.rows() == 0) return;
    q = q.slice(0, 0, batch_.rows());
    matmul(*pool_, y, w.q, q);
  }
  for_each_run([&](const detail::LlamaRun& run, Index begin, Index end) {
    rope(q.slice(0, run.row + begin, run.row + end), config_.heads, run.position + begin, rope_, config_.rope.layout);
  });
  parts_.clear();
  for (const detail::LlamaRun& run : batch_.runs()) {
    KvCache& cache = caches_[static_cast<std::size_t>(run.sequence)];
    const TensorView<float, 3> queries = in_heads(q.slice(0, run.row, run.row + run.rows));
    const Index end = run.position + run.rows;
    parts_.push_back({queries, in_heads(cache.keys(block, 0, end)), in_heads(cache.values(block, 0, end)), queries});
  }
  attention(*pool_, parts_);
  matmul(*pool_, q, w.o, y);
}

inline void Llama::trim(MatrixView<float>& x, MatrixView<float>& y) {
  const auto move = [&](Index from, Index to, Index count) {
    for (const MatrixView<float>& m : {x, y})
      std::ranges::copy(m.slice(0, from, from + count).span(), m.slice(0, to, to + count).data());
  };
  batch_.trim([&](const detail::LlamaRun& run) { return needed_rows(run); }, move);
  x = x.slice(0, 0, batch_.rows());
  y = y.slice(0, 0, batch_.rows());
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

template <class F>
void Llama::for_each_run(const F& f) {
  for_each_rows(batch_.rows(), [&](Index begin, Index end) {
    for (const detail::LlamaRun& run : batch_.runs()) {
      const Index first = std::max(begin - run.row, Index{0});
      const Index last = std::min(end - run.row, run.rows);
      if (first < last) f(run, first, last);
    }
  });
}

}  // namespace v0
}  // namespace activation_trace
