// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <tuple>
#include <type_traits>
#include <vector>

#include "activation_trace/model/llama_batch.hpp"
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

/// What one place does of a block for the batch that is computed: ops of the space, with the weights that the place
/// has. Each function is a stretch of the work between two points where places may need something of each other.
/// Every run of the batch is computed by the kernels that it takes alone, so it does not show who else is there.
template <class Space>
class LlamaWork {
 public:
  using Matrix = MatrixView<float, Space>;
  using ConstMatrix = MatrixView<const float, Space>;
  using ConstVector = VectorView<const float, Space>;
  using Run = LlamaRun<Space>;
  using Target = MatmulTarget<Space>;

  LlamaWork(LlamaPart<Space>& part, const LlamaBatch<Space>& batch, const LlamaSteps<Space>& steps,
            Arithmetic arithmetic)
      : part_(part), batch_(batch), steps_(steps), arithmetic_(arithmetic) {}

  /// The residual stream of the batch's rows.
  [[nodiscard]] Matrix x() const { return rows(part_.now().x, config().hidden); }
  /// Its norm, then what is added to it next.
  [[nodiscard]] Matrix y() const { return rows(part_.now().y, config().hidden); }

  /// x <- h_0, y <- its norm, for the first block.
  void embed();
  /// k and v of y's rows, and q too if the same rows are wanted; keys and values enter the caches.
  enum class Queries { with_keys, later };
  void project(Index i, Queries queries);
  /// q of y's rows, which were left for later.
  void project_queries(Index i) { multiply(y(), {{block(i).q, q()}}); }
  /// Rows [from, from + count) of x and y lie at `to` from now on.
  void move_rows(Index from, Index to, Index count);
  /// y <- W_o attention(q): of a rank its share, to be summed with the others'.
  void attend(Index i);
  /// x += y, which becomes what attention adds, y <- its norm.
  void finish_attention(Index i);
  /// y <- W_down (activation(W_gate y) * W_up y), the same.
  void feed_forward(Index i);
  /// y becomes what the feed-forward network adds.
  void finish_feed_forward(Index i) { finish_half(y(), block(i).ffn_out_norm); }
  /// x += y, y <- its norm, the next block's or the last one.
  void add(ConstVector norm) { add_rms_norm(here(), x(), y(), norm, config().rms_norm_eps); }

 private:
  [[nodiscard]] Execution<Space>& here() const { return *part_.execution; }
  [[nodiscard]] const LlamaConfig& config() const { return part_.config; }
  [[nodiscard]] const LlamaLayerWeights<Space>& block(Index i) const {
    return part_.weights->layers[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] KvCache<Space>& cache(const Run& run) const {
    return part_.caches[static_cast<std::size_t>(run.sequence)];
  }
  /// The number of block i among those of its part, as caches count.
  [[nodiscard]] Index local(Index i) const { return i - part_.begin; }

  /// Adds a bias to each row of x and normalises each head, where the block has them; not rotated yet.
  void finish_heads(Matrix x, ConstVector bias, ConstVector norm);
  /// Rotates each row of x by its position, as block i does, if it does.
  void rotate(Index i, Matrix x, Index heads);
  /// What half a block adds to the residual stream: normalised and scaled, where the model does that.
  void finish_half(Matrix y, ConstVector norm);

  /// y_i = x w_i^T for every target, x and y_i with the batch's rows.
  void multiply(ConstMatrix x, std::initializer_list<Target> targets);
  /// [n, heads * D] as [n, heads, D].
  template <class T>
  [[nodiscard]] TensorView<T, 3, Space> in_heads(MatrixView<T, Space> m) const;
  /// The batch's rows of a buffer.
  [[nodiscard]] Matrix rows(Buffer<float, Space>& buffer, Index cols) const {
    return buffer.matrix(batch_.rows(), cols);
  }
  [[nodiscard]] Matrix q() const { return rows(part_.q, config().heads * config().head_dim); }

  LlamaPart<Space>& part_;
  const LlamaBatch<Space>& batch_;
  const LlamaSteps<Space>& steps_;
  Arithmetic arithmetic_;
};

template <class Space>
void LlamaWork<Space>::embed() {
  const Matrix x = this->x();
  for (const Run& run : batch_.runs())
    steps_.embed(here(), part_.weights->embedding, run, x.slice(0, run.row, run.row + run.rows));
  if (config().embedding_scale != 1) scale(here(), x, config().embedding_scale);
  rms_norm(here(), x, block(0).attention_norm, config().rms_norm_eps, y());
}

template <class Space>
void LlamaWork<Space>::project(Index i, Queries queries) {
  const LlamaLayerWeights<Space>& w = block(i);
  const Matrix k = rows(part_.k, config().kv_heads * config().head_dim);
  const Matrix v = rows(part_.v, config().kv_heads * config().head_dim);
  if (queries == Queries::with_keys)
    multiply(y(), {{w.k, k}, {w.v, v}, {w.q, q()}});
  else
    multiply(y(), {{w.k, k}, {w.v, v}});
  finish_heads(k, w.k_bias, w.k_norm);
  rotate(i, k, config().kv_heads);
  if (!w.v_bias.empty()) add_bias(here(), v, w.v_bias);
  for (const Run& run : batch_.runs())
    steps_.store(here(), run, k.slice(0, run.row, run.row + run.rows), v.slice(0, run.row, run.row + run.rows),
                 cache(run), local(i));
}

template <class Space>
void LlamaWork<Space>::move_rows(Index from, Index to, Index count) {
  for (Buffer<float, Space>* const buffer : {&part_.now().x, &part_.now().y}) {
    const Matrix m = buffer->matrix(from + count, config().hidden);
    copy(here(), ConstMatrix(m.slice(0, from, from + count)), m.slice(0, to, to + count));
  }
}

template <class Space>
void LlamaWork<Space>::finish_heads(Matrix x, ConstVector bias, ConstVector norm) {
  if (!bias.empty()) add_bias(here(), x, bias);
  if (norm.empty()) return;
  const Index dim = config().head_dim;
  const Matrix heads(x.data(), {x.extent(0) * x.extent(1) / dim, dim});  // the rows of a buffer have no gaps
  rms_norm(here(), heads, norm, config().rms_norm_eps, heads);
}

template <class Space>
void LlamaWork<Space>::rotate(Index i, Matrix x, Index heads) {
  if (!config().rotates(i)) return;
  const RopeTable<Space>& table = config().rotates_by_window(i) ? *part_.window_rope : part_.rope;
  for (const Run& run : batch_.runs())
    steps_.rotate(here(), run, x.slice(0, run.row, run.row + run.rows), heads, table, config().rope.layout);
}

template <class Space>
void LlamaWork<Space>::attend(Index i) {
  const LlamaLayerWeights<Space>& w = block(i);
  finish_heads(q(), w.q_bias, w.q_norm);
  rotate(i, q(), config().heads);
  visit_stored(part_.caches.front(), [&]<class T>(std::type_identity<T>) {
    auto& attended = std::get<std::vector<AttentionPart<Space, T>>>(part_.attended);
    attended.clear();
    for (const Run& run : batch_.runs()) {
      const TensorView<float, 3, Space> queries = in_heads(q().slice(0, run.row, run.row + run.rows));
      const Index end = steps_.seen(run);
      attended.push_back({queries, in_heads(cache(run).template keys<T>(local(i), 0, end)),
                          in_heads(cache(run).template values<T>(local(i), 0, end)), queries});
    }
    steps_.attend(here(), std::span<const AttentionPart<Space, T>>(attended), config().attention(i));
  });
  multiply(q(), {{w.o, y()}});
}

template <class Space>
void LlamaWork<Space>::finish_attention(Index i) {
  const LlamaLayerWeights<Space>& w = block(i);
  if (!w.o_bias.empty()) add_bias(here(), y(), w.o_bias);
  finish_half(y(), w.attention_out_norm);
  add(w.ffn_norm);
}

template <class Space>
void LlamaWork<Space>::feed_forward(Index i) {
  const LlamaLayerWeights<Space>& w = block(i);
  const Matrix gate = rows(part_.gate, config().ffn);
  const Matrix up = rows(part_.up, config().ffn);
  multiply(y(), {{w.gate, gate}, {w.up, up}});
  gated_multiply(here(), config().activation, gate, up, gate);
  multiply(gate, {{w.down, y()}});
}

template <class Space>
void LlamaWork<Space>::finish_half(Matrix y, ConstVector norm) {
  if (!norm.empty()) rms_norm(here(), y, norm, config().rms_norm_eps, y);
  if (config().residual_scale != 1) scale(here(), y, config().residual_scale);
}

static_assert(few_queries <= few_rows, "a sequence's bits are the same from few_rows positions at once on");

template <class Space>
void LlamaWork<Space>::multiply(ConstMatrix x, std::initializer_list<Target> targets) {
  const auto is_short = [](const Run& run) { return run.rows < few_rows; };
  const std::span<const Run> runs = batch_.runs();
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
TensorView<T, 3, Space> LlamaWork<Space>::in_heads(MatrixView<T, Space> m) const {
  const Index dim = config().head_dim;
  return {m.data(), {m.extent(0), m.extent(1) / dim, dim}, {m.stride(0), dim, 1}};
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
