// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/graph.cuh"
#include "activation_trace/cuda/ops/attention.cuh"
#include "activation_trace/cuda/ops/elements.cuh"
#include "activation_trace/cuda/ops/gather.cuh"
#include "activation_trace/cuda/ops/rope.cuh"
#include "activation_trace/cuda/ops/step_rows.cuh"
#include "activation_trace/model/llama_steps.hpp"

namespace activation_trace {
inline namespace v0 {

namespace cuda::detail {

/// `column` counts the elements of k, then those of v.
template <class T>
struct StoredStep {
  ElementRows<const float> k, v;
  ElementRows<T> keys, values;  ///< of the cache, from position 0 on
  Index width;
  const StepRow* step;
  __device__ void operator()(Index row, Index column) const {
    const Index position = step->position;
    if (column < width)
      keys.at(position, column) = converted<T>(k.at(row, column));
    else
      values.at(position, column - width) = converted<T>(v.at(row, column - width));
  }
};

/// Positions that a step is recorded for that ends at `end`: attention is launched for so many, and sees those there
/// are. One recording serves a bucket of lengths: 256, 1024, 4096, ...
[[nodiscard]] inline Index step_bucket(Index end, Index max_context) {
  Index bucket = attention_split;
  while (bucket < end) bucket *= 4;
  return std::min(bucket, max_context);
}

}  // namespace cuda::detail

namespace detail {

/// One token of each sequence is a graph, which is launched for each token after: tokens and positions lie in the
/// memory of the device. The first call that another like it may follow does the work as it will be recorded, so that
/// nothing is allocated by the second, which records it.
template <>
class LlamaSteps<Cuda> {
 public:
  using Matrix = MatrixView<float, Cuda>;
  using Run = LlamaRun<Cuda>;

  /// In the memory of the current device.
  explicit LlamaSteps(Index max_context) : max_context_(max_context) {}

  /// As on the host; false for a graph, launched.
  template <class Work>
  bool run(Execution<Cuda> execution, const LlamaStep<Cuda>& step, const Work& work) {
    // The legacy default stream cannot be recorded, and over several devices nothing is.
    if (execution.get() == nullptr || step.at_several_places || !is_step(step)) {
      work();
      return true;
    }
    const Recording place(*this,
                          cuda::detail::step_bucket(*std::ranges::max_element(step.positions) + 1, max_context_));
    if (!step.ids_are_there) set_rows(execution, step);
    const Key key = key_of(step, bucket_);
    if (graphs_.size() == most_graphs && !graphs_.contains(key)) graphs_.clear();
    const auto [known, is_new] = graphs_.try_emplace(key);
    if (is_new) {
      work();
      return true;
    }
    std::optional<cuda::Graph>& graph = known->second;
    if (!graph) graph.emplace(execution, [&](Execution<Cuda>) { work(); });
    graph->launch(execution);
    return false;
  }

  /// Tokens and positions of the next step, one row for each piece.
  [[nodiscard]] cuda::detail::StepRow* rows() noexcept { return rows_.data(); }

  void embed(Execution<Cuda> execution, const StoredMatrix<Cuda>& embedding, const Run& run, Matrix x) const {
    if (bucket_ == 0)
      gather(execution, embedding, run.ids, x);
    else
      cuda::detail::gather_step(execution, embedding, row(run), x);
  }
  void rotate(Execution<Cuda> execution, const Run& run, Matrix x, Index heads, const RopeTable<Cuda>& table,
              RopeLayout layout) const {
    if (bucket_ == 0)
      rope(execution, x, heads, run.position, table, layout);
    else
      cuda::detail::rotate(execution, x, heads, 0, row(run), table, layout);
  }
  void store(Execution<Cuda> execution, const Run& run, Matrix k, Matrix v, KvCache<Cuda>& cache, Index i) const {
    using cuda::detail::ElementRows;
    const Index end = seen(run);
    visit_stored(cache, [&]<class T>(std::type_identity<T>) {
      if (bucket_ == 0) {
        copy(execution, k, cache.template keys<T>(i, run.position, end));
        copy(execution, v, cache.template values<T>(i, run.position, end));
        return;
      }
      cuda::detail::each_element(
          execution, 1, 2 * k.extent(1),
          cuda::detail::StoredStep<T>{ElementRows<const float>(k), ElementRows<const float>(v),
                                      ElementRows<T>(cache.template keys<T>(i, 0, end)),
                                      ElementRows<T>(cache.template values<T>(i, 0, end)), k.extent(1), row(run)});
    });
  }
  [[nodiscard]] Index seen(const Run& run) const { return bucket_ == 0 ? run.position + run.rows : bucket_; }
  template <class T>
  void attend(Execution<Cuda> execution, std::span<const AttentionPart<Cuda, T>> parts,
              const AttentionOptions& options) const {
    cuda::detail::attention(execution, parts, options, bucket_ == 0 ? nullptr : rows_.data());
  }

 private:
  static constexpr std::size_t most_graphs = 32;

  /// All that a recording depends on: sequences, exits, positions that there is room for, and where the logits go.
  using Key = std::tuple<std::vector<Index>, std::vector<Index>, Index, const float*, Index>;

  /// While it lives, the ops find tokens and positions in rows_.
  class Recording {
   public:
    Recording(LlamaSteps& steps, Index bucket) : steps_(steps) { steps.bucket_ = bucket; }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;
    ~Recording() { steps_.bucket_ = 0; }

   private:
    LlamaSteps& steps_;
  };

  static bool is_step(const LlamaStep<Cuda>& step) {
    return std::ssize(step.pieces) <= cuda::detail::StepRows::most &&
           std::ranges::all_of(step.pieces, [](const SequencePiece<Cuda>& piece) {
             return piece.ids.size() == 1 && (piece.observer == nullptr || piece.observer->layers.empty());
           });
  }
  static Key key_of(const LlamaStep<Cuda>& step, Index bucket) {
    std::vector<Index> sequences;
    for (const SequencePiece<Cuda>& piece : step.pieces) sequences.push_back(piece.sequence);
    return {std::move(sequences),
            {step.exits.begin(), step.exits.end()},
            bucket,
            step.logits.data(),
            step.logits.stride(0)};
  }
  /// The row of a batch in which every sequence has one.
  [[nodiscard]] const cuda::detail::StepRow* row(const Run& run) const { return rows_.data() + run.row; }

  void set_rows(Execution<Cuda> execution, const LlamaStep<Cuda>& step) {
    cuda::detail::StepRows rows{};
    for (std::size_t p = 0; p < step.pieces.size(); ++p)
      rows.row[p] = {step.pieces[p].ids.front(), static_cast<int>(step.positions[p])};
    cuda::detail::set_step_rows(execution, rows, rows_.data());
  }

  Index max_context_;
  Index bucket_ = 0;  // of the step under way; 0: none
  Buffer<cuda::detail::StepRow, Cuda> rows_{cuda::detail::StepRows::most};
  std::map<Key, std::optional<cuda::Graph>> graphs_;
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
