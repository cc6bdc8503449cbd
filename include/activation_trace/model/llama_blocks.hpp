// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/model/check_found.hpp"
#include "activation_trace/model/config.hpp"
#include "activation_trace/model/llama_batch.hpp"
#include "activation_trace/model/llama_options.hpp"
#include "activation_trace/model/llama_part.hpp"
#include "activation_trace/model/llama_ranks.hpp"
#include "activation_trace/model/llama_steps.hpp"
#include "activation_trace/model/llama_work.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/fast_matmul.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

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
/// The order of a layer's work is here and nowhere else; LlamaWork is what each place does of it. Places have blocks
/// one after another, or are ranks, which all have their share of every block.
template <class Space>
class LlamaBlocks {
 public:
  using ConstMatrix = MatrixView<const float, Space>;
  using Weights = LlamaWeights<Space>;
  using Run = LlamaRun<Space>;
  using Batch = LlamaBatch<Space>;
  using Part = LlamaPart<Space>;
  using Work = LlamaWork<Space>;

  /// A cache for each sequence of `options`, and memory for its batches, at places that have a block or more each.
  /// Throws as Llama.
  LlamaBlocks(LlamaConfig config, Weights weights, const LlamaOptions& options,
              std::span<const LlamaPlace<Space>> places);
  /// The same at ranks.
  LlamaBlocks(LlamaConfig config, LlamaRanks<Space> ranks, const LlamaOptions& options);

  [[nodiscard]] const LlamaConfig& config() const noexcept { return config_; }
  /// Of several ranks the first one's.
  [[nodiscard]] const Weights& weights() const noexcept { return weights_.front(); }
  /// Where logits are made, or come together.
  [[nodiscard]] Execution<Space>& execution() const noexcept { return *last_ranks().front().execution; }
  [[nodiscard]] std::span<Part> parts() noexcept { return parts_; }
  [[nodiscard]] std::span<const Part> parts() const noexcept { return parts_; }
  /// Those that have the last block, and rows of the LM head.
  [[nodiscard]] std::span<const Part> last_ranks() const noexcept { return parts().last(weights_.size()); }
  /// The part that has h_`layer`, and the last for the logits, -1; of several ranks the first.
  [[nodiscard]] const Part& part_of(Index layer) const {
    const auto has = [&](const Part& part) { return layer >= 0 && layer < part.end; };
    const auto found = std::ranges::find_if(parts_, has);
    return found == parts_.end() ? last_ranks().front() : *found;
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
  static void check(const LlamaConfig& config, const LlamaOptions& options);
  /// Takes memory by make(). Throws Error with the sums if there is none.
  template <class Make>
  void in_memory(const LlamaOptions& options, const Make& make);

  /// The work of a rank on the batch that is computed.
  [[nodiscard]] Work work(Part& part) const { return {part, *batch_, steps_, arithmetic_}; }
  [[nodiscard]] Work first() const { return work(ranks_.front()); }
  /// do_work(Work) for each rank that has the block.
  template <class DoWork>
  void each_rank(const DoWork& do_work) {
    for (Part& part : ranks_) do_work(work(part));
  }
  /// y <- the sum of the ranks'.
  void sum_ranks();
  /// The next batch has the states that the batch before the last one had, and this is where the last one's work ends.
  void begin_batch(const Batch& batch);
  /// On to the part behind this one, with what the batch has in x and y.
  void cross();

  LlamaConfig config_;
  std::vector<Weights> weights_;  // of each rank
  AllReduce<Space> all_reduce_;
  Arithmetic arithmetic_;
  LlamaSteps<Space> steps_;
  std::vector<Part> parts_;
  std::span<Part> ranks_;                      // who computes a block: a part, or all of them
  const Batch* batch_ = nullptr;               // that is computed
  std::vector<VectorView<float, Space>> sum_;  // one per rank
};

template <class Space>
LlamaBlocks<Space>::LlamaBlocks(LlamaConfig config, Weights weights, const LlamaOptions& options,
                                std::span<const LlamaPlace<Space>> places)
    : config_(std::move(config)), arithmetic_(options.arithmetic), steps_(options.max_context) {
  check(config_, options);
  weights.validate(config_);
  check_places(places, config_.layers);
  weights_.push_back(std::move(weights));
  in_memory(options, [&] {
    parts_.reserve(places.size());
    for (Index begin = 0; const auto& [execution, end] : places) {
      const MemoryScope<Space> memory(*execution);
      parts_.emplace_back(config_, weights_.front(), *execution, begin, end, options, options.max_rows());
      begin = end;
    }
  });
}

template <class Space>
LlamaBlocks<Space>::LlamaBlocks(LlamaConfig config, LlamaRanks<Space> ranks, const LlamaOptions& options)
    : config_(std::move(config)), arithmetic_(options.arithmetic), steps_(options.max_context) {
  check(config_, options);
  check_ranks(config_, ranks);
  all_reduce_ = std::move(ranks.all_reduce);
  for (LlamaRank<Space>& rank : ranks.ranks) weights_.push_back(std::move(rank.weights));
  in_memory(options, [&] {
    sum_.reserve(weights_.size());
    parts_.reserve(weights_.size());
    for (std::size_t rank = 0; rank < weights_.size(); ++rank) {
      Execution<Space>& execution = *ranks.ranks[rank].execution;
      const MemoryScope<Space> memory(execution);
      parts_.emplace_back(rank_config(config_, weights_[rank]), weights_[rank], execution, 0, config_.layers, options,
                          options.max_rows());
    }
  });
}

template <class Space>
void LlamaBlocks<Space>::check(const LlamaConfig& config, const LlamaOptions& options) {
  config.validate();
  options.validate(config);
  check_space<Space>(options);
}

template <class Space>
template <class Make>
void LlamaBlocks<Space>::in_memory(const LlamaOptions& options, const Make& make) {
  const std::string problem = "Llama: " + std::to_string(options.sequences) + " x " +
                              std::to_string(options.max_context) + " positions take " +
                              std::to_string(std::llround(llama_memory(config_, options) / 0x1p20)) +
                              " MiB, which cannot be had; lower LlamaOptions::max_context";
  try {
    make();
  } catch (const std::bad_alloc&) {
    throw Error(problem);
  }
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
  each_rank([](Work at) { at.embed(); });
  for (Index i = 0; i < layers; ++i) {
    show(i, first().x());
    const bool last = i + 1 == layers;
    const bool trims =
        last && std::ranges::any_of(batch.runs(), [&](const Run& run) { return needed_rows(run) < run.rows; });
    each_rank([&](Work at) { at.project(i, trims ? Work::Queries::later : Work::Queries::with_keys); });
    if (trims) {
      batch.trim(needed_rows, [&](Index from, Index to, Index count) {
        each_rank([&](Work at) { at.move_rows(from, to, count); });
      });
      if (batch.rows() == 0) return;
      each_rank([&](Work at) { at.project_queries(i); });
    }
    each_rank([&](Work at) { at.attend(i); });
    sum_ranks();
    each_rank([&](Work at) {
      at.finish_attention(i);
      at.feed_forward(i);
    });
    sum_ranks();
    each_rank([&](Work at) { at.finish_feed_forward(i); });
    if (!last && i + 1 == ranks_.front().end) cross();
    for (Part& part : ranks_) {
      const Weights& w = *part.weights;
      work(part).add(last ? w.final_norm : w.layers[static_cast<std::size_t>(i + 1)].attention_norm);
    }
  }
  show(layers, first().y());
}

template <class Space>
void LlamaBlocks<Space>::begin_batch(const Batch& batch) {
  batch_ = &batch;
  ranks_ = parts().first(weights_.size());
  for (Part& part : parts_) {
    if (part.states.size() == 1) continue;
    part.now().free.set(*part.execution);
    part.turn = 1 - part.turn;
  }
}

template <class Space>
void LlamaBlocks<Space>::sum_ranks() {
  if (ranks_.size() == 1) return;
  sum_.clear();
  for (Part& part : ranks_) {
    const MatrixView<float, Space> y = work(part).y();
    sum_.push_back({y.data(), {y.size()}});
  }
  all_reduce_(sum_);
}

template <class Space>
void LlamaBlocks<Space>::cross() {
  Part& from = ranks_.front();
  const ConstMatrix sent[] = {first().x(), first().y()};
  ranks_ = std::span(&from + 1, 1);
  Part& to = ranks_.front();
  to.now().free.wait(*from.execution);
  bring(*from.execution, *to.execution, sent[0], first().x());
  bring(*from.execution, *to.execution, sent[1], first().y());
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
