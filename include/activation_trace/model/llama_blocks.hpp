// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/model/check_found.hpp"
#include "activation_trace/model/config.hpp"
#include "activation_trace/model/llama_batch.hpp"
#include "activation_trace/model/llama_options.hpp"
#include "activation_trace/model/llama_part.hpp"
#include "activation_trace/model/llama_steps.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/ops/add_bias.hpp"
#include "activation_trace/ops/attention.hpp"
#include "activation_trace/ops/copy.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/fast_matmul.hpp"
#include "activation_trace/ops/gated_multiply.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/rms_norm.hpp"
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

/// Throws ArgumentError for options that `Space` has no ops for.
template <class Space>
void check_space(const LlamaOptions& options) {
  if (!HasFastProducts<Space> && options.arithmetic != Arithmetic::exact)
    throw ArgumentError("LlamaOptions: arithmetic " + std::string(name(options.arithmetic)) +
                        " is not there in this memory space; exact is");
  if (!HasHalfCache<Space> && options.cache != DType::f32)
    throw ArgumentError("LlamaOptions: a cache of " + std::string(name(options.cache)) +
                        " is not there in this memory space; F32 is");
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
  using Part = LlamaPart<Space>;

  /// A cache for each sequence of `options`, and memory for batches of `max_batch` rows, at places that have a block or
  /// more each.
  LlamaBlocks(LlamaConfig config, Weights weights, const LlamaOptions& options, Index max_batch,
              std::span<const LlamaPlace<Space>> places);

  [[nodiscard]] const LlamaConfig& config() const noexcept { return config_; }
  [[nodiscard]] const Weights& weights() const noexcept { return weights_; }
  /// Where logits are made.
  [[nodiscard]] Execution<Space>& execution() const noexcept { return *parts_.back().execution; }
  [[nodiscard]] std::span<Part> parts() noexcept { return parts_; }
  [[nodiscard]] std::span<const Part> parts() const noexcept { return parts_; }
  /// The part that has h_`layer`, and the last for the logits, -1.
  [[nodiscard]] const Part& part_of(Index layer) const {
    const auto has = [&](const Part& part) { return layer >= 0 && layer < part.end; };
    const auto found = std::ranges::find_if(parts_, has);
    return found == parts_.end() ? parts_.back() : *found;
  }
  [[nodiscard]] Arithmetic arithmetic() const noexcept { return arithmetic_; }
  [[nodiscard]] LlamaSteps<Space>& steps() noexcept { return steps_; }

  // Caches, at every part.
  void rewind(Index position, std::size_t sequence);
  void advance(std::size_t sequence, Index count);
  /// Positions [begin, end) of `to`, which has those before, become those of `from`.
  void copy_positions(std::size_t from, std::size_t to, Index begin, Index end);

  // What is not finite is an Error of the model's, now or when all is done.
  void begin_watch();
  void watch(Index layer, ConstMatrix states, std::span<const WatchedRow> rows);
  void check_watched();

  /// Writes the batch's keys and values behind those that the caches count, and calls show(k) for h_0 to h_N in turn:
  /// h_k(row) of the batch is then row `row` of what it is given, as show(k, states). `needed_rows(run)` is how many
  /// of a run's last rows have a reader of h_N: the others leave the batch in the last block.
  template <class NeededRows, class Show>
  void run(Batch& batch, const NeededRows& needed_rows, const Show& show);

 private:
  [[nodiscard]] const LlamaLayerWeights<Space>& block(Index i) const {
    return weights_.layers[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] KvCache<Space>& cache(const Run& run) { return part_->caches[static_cast<std::size_t>(run.sequence)]; }
  [[nodiscard]] Execution<Space>& here() const { return *part_->execution; }
  /// The number of block i among those of its part, as caches count.
  [[nodiscard]] Index local(Index i) const { return i - part_->begin; }
  /// The next batch has the states that the batch before the last one had, and this is where the last one's work ends.
  void begin_batch(const Batch& batch);
  /// Of the batch that is computed, where it is.
  [[nodiscard]] LlamaStates<Space>& states(Part& part) const { return part.states[turn_ % part.states.size()]; }
  /// On to the part behind this one, with what the batch has in x and y.
  void cross();

  /// k and v of all rows, and q too if the same rows are wanted; keys and values enter the caches.
  enum class Queries { with_keys, later };
  void project(Index i, ConstMatrix y, Queries queries);
  /// Adds a bias to each row of x and normalises each head, where the block has them; not rotated yet.
  void finish_heads(Matrix x, ConstVector bias, ConstVector norm);
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
  template <class T>
  [[nodiscard]] TensorView<T, 3, Space> in_heads(MatrixView<T, Space> m) const;
  /// The batch's rows of a buffer.
  [[nodiscard]] Matrix rows(Buffer<float, Space>& buffer, Index cols) { return buffer.matrix(batch_->rows(), cols); }
  [[nodiscard]] Matrix x() { return rows(states(*part_).x, config_.hidden); }
  [[nodiscard]] Matrix y() { return rows(states(*part_).y, config_.hidden); }
  [[nodiscard]] Matrix q() { return rows(part_->q, config_.heads * config_.head_dim); }

  LlamaConfig config_;
  Weights weights_;
  Arithmetic arithmetic_;
  LlamaSteps<Space> steps_;
  std::vector<Part> parts_;
  Part* part_ = nullptr;          // whose blocks are computed
  const Batch* batch_ = nullptr;  // that is computed
  std::size_t turn_ = 0;          // of batches
  // One per run, of what the caches hold.
  std::tuple<std::vector<AttentionPart<Space>>, std::vector<AttentionPart<Space, Half>>> attended_;
};

template <class Space>
LlamaBlocks<Space>::LlamaBlocks(LlamaConfig config, Weights weights, const LlamaOptions& options, Index max_batch,
                                std::span<const LlamaPlace<Space>> places)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      arithmetic_(options.arithmetic),
      steps_(options.max_context) {
  parts_.reserve(places.size());
  for (Index begin = 0; const auto& [execution, end] : places) {
    const MemoryScope<Space> memory(*execution);
    parts_.emplace_back(config_, *execution, begin, end, options, max_batch);
    begin = end;
  }
  std::apply([&](auto&... attended) { (attended.reserve(static_cast<std::size_t>(options.sequences)), ...); },
             attended_);
}

template <class Space>
void LlamaBlocks<Space>::rewind(Index position, std::size_t sequence) {
  for (Part& part : parts_) part.caches[sequence].rewind(position);
}

template <class Space>
void LlamaBlocks<Space>::advance(std::size_t sequence, Index count) {
  for (Part& part : parts_) part.caches[sequence].advance(count);
}

template <class Space>
void LlamaBlocks<Space>::copy_positions(std::size_t from, std::size_t to, Index begin, Index end) {
  for (Part& part : parts_) {
    KvCache<Space>& source = part.caches[from];
    KvCache<Space>& target = part.caches[to];
    visit_stored(source, [&]<class T>(std::type_identity<T>) {
      const auto copied = [&](MatrixView<const T, Space> rows, MatrixView<T, Space> to_rows) {
        copy(*part.execution, rows, to_rows);
      };
      for (Index i = 0; i < part.end - part.begin; ++i) {
        copied(source.template keys<T>(i, begin, end), target.template keys<T>(i, begin, end));
        copied(source.template values<T>(i, begin, end), target.template values<T>(i, begin, end));
      }
    });
    target.rewind(begin);
    target.advance(end - begin);
  }
}

template <class Space>
void LlamaBlocks<Space>::begin_watch() {
  for (Part& part : parts_) part.watch.begin(*part.execution);
}

template <class Space>
void LlamaBlocks<Space>::watch(Index layer, ConstMatrix states, std::span<const WatchedRow> rows) {
  Part& part = parts_[static_cast<std::size_t>(&part_of(layer) - parts_.data())];
  check_found(config_, part.watch.look(*part.execution, states, rows, layer));
}

template <class Space>
void LlamaBlocks<Space>::check_watched() {
  for (Part& part : parts_) check_found(config_, part.watch.end(*part.execution));
}

template <class Space>
template <class NeededRows, class Show>
void LlamaBlocks<Space>::run(Batch& batch, const NeededRows& needed_rows, const Show& show) {
  begin_batch(batch);
  const Index layers = config_.layers;
  Matrix x = this->x();
  Matrix y = this->y();
  for (const Run& run : batch.runs())
    steps_.embed(here(), weights_.embedding, run, x.slice(0, run.row, run.row + run.rows));
  if (config_.embedding_scale != 1) scale(here(), x, config_.embedding_scale);
  rms_norm(here(), x, block(0).attention_norm, config_.rms_norm_eps, y);
  for (Index i = 0; i < layers; ++i) {
    show(i, x);
    const bool last = i + 1 == layers;
    const bool trims =
        last && std::ranges::any_of(batch.runs(), [&](const Run& run) { return needed_rows(run) < run.rows; });
    project(i, y, trims ? Queries::later : Queries::with_keys);
    if (trims) {
      batch.trim(needed_rows, [&](Index from, Index to, Index count) {
        for (const Matrix& m : {x, y}) copy(here(), m.slice(0, from, from + count), m.slice(0, to, to + count));
      });
      if (batch.rows() == 0) return;
      x = this->x();
      y = this->y();
      multiply(y, {{block(i).q, q()}});
    }
    attend(i, y);
    add_rms_norm(here(), x, y, block(i).ffn_norm, config_.rms_norm_eps);
    feed_forward(i, y);
    if (!last && i + 1 == part_->end) {
      cross();
      x = this->x();
      y = this->y();
    }
    add_rms_norm(here(), x, y, last ? weights_.final_norm : block(i + 1).attention_norm, config_.rms_norm_eps);
  }
  show(layers, y);
}

template <class Space>
void LlamaBlocks<Space>::begin_batch(const Batch& batch) {
  batch_ = &batch;
  part_ = parts_.data();
  ++turn_;
  for (Part& part : parts_)
    if (part.states.size() > 1) part.states[(turn_ + 1) % part.states.size()].free.set(*part.execution);
}

template <class Space>
void LlamaBlocks<Space>::cross() {
  Execution<Space>& from = here();
  const ConstMatrix sent[] = {x(), y()};
  ++part_;
  states(*part_).free.wait(from);
  bring(from, here(), sent[0], x());
  bring(from, here(), sent[1], y());
}

template <class Space>
void LlamaBlocks<Space>::project(Index i, ConstMatrix y, Queries queries) {
  const LlamaLayerWeights<Space>& w = block(i);
  const Matrix k = rows(part_->k, config_.kv_heads * config_.head_dim);
  const Matrix v = rows(part_->v, config_.kv_heads * config_.head_dim);
  if (queries == Queries::with_keys)
    multiply(y, {{w.k, k}, {w.v, v}, {w.q, q()}});
  else
    multiply(y, {{w.k, k}, {w.v, v}});
  finish_heads(k, w.k_bias, w.k_norm);
  rotate(i, k, config_.kv_heads);
  if (!w.v_bias.empty()) add_bias(here(), v, w.v_bias);
  for (const Run& run : batch_->runs())
    steps_.store(here(), run, k.slice(0, run.row, run.row + run.rows), v.slice(0, run.row, run.row + run.rows),
                 cache(run), local(i));
}

template <class Space>
void LlamaBlocks<Space>::finish_heads(Matrix x, ConstVector bias, ConstVector norm) {
  if (!bias.empty()) add_bias(here(), x, bias);
  if (norm.empty()) return;
  const Index dim = config_.head_dim;
  const Matrix heads(x.data(), {x.extent(0) * x.extent(1) / dim, dim});  // the rows of a buffer have no gaps
  rms_norm(here(), heads, norm, config_.rms_norm_eps, heads);
}

template <class Space>
void LlamaBlocks<Space>::rotate(Index i, Matrix x, Index heads) {
  if (!config_.rotates(i)) return;
  const RopeTable<Space>& table = config_.rotates_by_window(i) ? *part_->window_rope : part_->rope;
  for (const Run& run : batch_->runs())
    steps_.rotate(here(), run, x.slice(0, run.row, run.row + run.rows), heads, table, config_.rope.layout);
}

template <class Space>
void LlamaBlocks<Space>::attend(Index i, Matrix y) {
  const LlamaLayerWeights<Space>& w = block(i);
  finish_heads(q(), w.q_bias, w.q_norm);
  rotate(i, q(), config_.heads);
  visit_stored(part_->caches.front(), [&]<class T>(std::type_identity<T>) {
    auto& attended = std::get<std::vector<AttentionPart<Space, T>>>(attended_);
    attended.clear();
    for (const Run& run : batch_->runs()) {
      const TensorView<float, 3, Space> queries = in_heads(q().slice(0, run.row, run.row + run.rows));
      const Index end = steps_.seen(run);
      attended.push_back({queries, in_heads(cache(run).template keys<T>(local(i), 0, end)),
                          in_heads(cache(run).template values<T>(local(i), 0, end)), queries});
    }
    steps_.attend(here(), std::span<const AttentionPart<Space, T>>(attended), config_.attention(i));
  });
  multiply(q(), {{w.o, y}});
  if (!w.o_bias.empty()) add_bias(here(), y, w.o_bias);
  finish_half(y, w.attention_out_norm);
}

template <class Space>
void LlamaBlocks<Space>::feed_forward(Index i, Matrix y) {
  const LlamaLayerWeights<Space>& w = block(i);
  const Matrix gate = rows(part_->gate, config_.ffn);
  const Matrix up = rows(part_->up, config_.ffn);
  multiply(y, {{w.gate, gate}, {w.up, up}});
  gated_multiply(here(), config_.activation, gate, up, gate);
  multiply(gate, {{w.down, y}});
  finish_half(y, w.ffn_out_norm);
}

template <class Space>
void LlamaBlocks<Space>::finish_half(Matrix y, ConstVector norm) {
  if (!norm.empty()) rms_norm(here(), y, norm, config_.rms_norm_eps, y);
  if (config_.residual_scale != 1) scale(here(), y, config_.residual_scale);
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
    detail::multiply(here(), x.slice(0, begin, end), used, by_row, arithmetic_);
  }
}

template <class Space>
template <class T>
TensorView<T, 3, Space> LlamaBlocks<Space>::in_heads(MatrixView<T, Space> m) const {
  const Index dim = config_.head_dim;
  return {m.data(), {m.extent(0), m.extent(1) / dim, dim}, {m.stride(0), dim, 1}};
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
