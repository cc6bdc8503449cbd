// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/model/config.hpp"
#include "activation_trace/model/kv_cache.hpp"
#include "activation_trace/model/llama_options.hpp"
#include "activation_trace/model/rope_frequencies.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/ops/attention.hpp"
#include "activation_trace/ops/copy.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/first_not_finite.hpp"
#include "activation_trace/ops/rope.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Where some of a model's blocks are computed: those behind the place before it, up to `end`. Weights of blocks lie in
/// the memory of their place, the embedding in that of the first, the LM head and the norm in front of it in that of
/// the last, where logits are.
template <class Space = Host>
struct LlamaPlace {
  Execution<Space>* execution;  ///< must outlive the model
  Index end;                    ///< number of the first block behind it
};

namespace detail {

/// Throws ArgumentError unless every place has a block or more, and all have them all.
template <class Space>
void check_places(std::span<const LlamaPlace<Space>> places, Index blocks) {
  Index begin = 0;
  for (const LlamaPlace<Space>& place : places) {
    if (place.end <= begin || place.end > blocks)
      throw ArgumentError("LlamaPlace: expected ascending ends of blocks, at most " + std::to_string(blocks) +
                          ", got " + std::to_string(place.end) + " behind " + std::to_string(begin));
    begin = place.end;
  }
  if (begin != blocks)
    throw ArgumentError("LlamaPlace: expected places of " + std::to_string(blocks) + " blocks, got places of " +
                        std::to_string(begin));
}

/// While it lives, new memory is that of an execution. Of a space that has several.
template <class Space>
struct MemoryScope {
  explicit MemoryScope(const Execution<Space>&) {}
};

/// A point in the work of one execution that others wait for. Of a space that computes at once it is always reached.
template <class Space>
struct Mark {
  /// Moves it behind all that `execution` was asked so far.
  void set(Execution<Space>&) {}
  /// What `execution` is asked from now on waits for the mark where it is now; for nothing if it never was set.
  void wait(Execution<Space>&) const {}
};

/// From the memory of one execution to that of another.
template <class Space>
struct Crossing {
  /// By `from`, which waits for nothing; what `to` is asked from now on waits for them. Rows of x have no gaps.
  static void bring(Execution<Space>&, Execution<Space>& to, const MatrixView<const float, Space>& x,
                    const MatrixView<float, Space>& y) {
    copy(to, x, y);
  }
};

/// The same, of two that may be one.
template <class Space>
void bring(Execution<Space>& from, Execution<Space>& to, const MatrixView<const float, Space>& x,
           const MatrixView<float, Space>& y) {
  if (&from == &to)
    copy(to, x, y);
  else
    Crossing<Space>::bring(from, to, x, y);
}

/// The states of a batch at one place.
template <class Space>
struct LlamaStates {
  explicit LlamaStates(Index elements) : x(elements), y(elements) {}

  Buffer<float, Space> x;  // [max_batch, d] residual stream
  Buffer<float, Space> y;  // [max_batch, d] its norm, then what is added to it next
  Mark<Space> free;        // behind all that reads what a batch left in them
};

/// The memory of one place, beside its weights.
template <class Space>
struct LlamaPart {
  using Floats = Buffer<float, Space>;

  /// For blocks [begin, end) of the sequences of `options`, and batches of `max_batch` rows; the shape is that of the
  /// weights, which may be a rank's share of those. Where another place comes before this one, that one can bring a
  /// batch while this one computes the batch before.
  LlamaPart(const LlamaConfig& shape, const LlamaWeights<Space>& used, Execution<Space>& where, Index first,
            Index behind, const LlamaOptions& options, Index max_batch)
      : config(shape),
        weights(&used),
        execution(&where),
        begin(first),
        end(behind),
        rope(rope_table(config.rope, config.head_dim, options.max_context)),
        q(max_batch * config.heads * config.head_dim),
        k(max_batch * config.kv_heads * config.head_dim),
        v(max_batch * config.kv_heads * config.head_dim),
        gate(max_batch * config.ffn),
        up(max_batch * config.ffn) {
    for (int i = 0; i < (begin == 0 ? 1 : 2); ++i) states.emplace_back(max_batch * config.hidden);
    for (Index i = 0; i < options.sequences; ++i)
      caches.emplace_back(end - begin, options.max_context, config.kv_heads * config.head_dim, options.cache);
    if (config.window_rope) window_rope.emplace(rope_table(*config.window_rope, config.head_dim, options.max_context));
    std::apply([&](auto&... parts) { (parts.reserve(static_cast<std::size_t>(options.sequences)), ...); }, attended);
  }

  /// Those of the batch that is computed.
  [[nodiscard]] LlamaStates<Space>& now() { return states[turn]; }

  LlamaConfig config;
  const LlamaWeights<Space>* weights;
  Execution<Space>* execution;
  Index begin, end;                    // blocks
  std::vector<KvCache<Space>> caches;  // one per sequence, of these blocks
  RopeTable<Space> rope;
  std::optional<RopeTable<Space>> window_rope;
  FiniteWatch<Space> watch;                // of its states
  std::vector<LlamaStates<Space>> states;  // one, or two for batches in turn
  std::size_t turn = 0;                    // which of them
  Floats q;                                // [max_batch, heads * D] queries, then attention's output
  Floats k;                                // [max_batch, kv_heads * D] on their way to the caches
  Floats v;                                // the same
  Floats gate;                             // [max_batch, F]
  Floats up;                               // [max_batch, F]
  // One per run of the batch, of what the caches hold.
  std::tuple<std::vector<AttentionPart<Space>>, std::vector<AttentionPart<Space, Half>>> attended;

 private:
  /// Of what rotates sequences of at most `positions`.
  static RopeTable<Space> rope_table(const RopeConfig& rope, Index head_dim, Index positions) {
    return {rope_frequencies(rope, head_dim, positions), positions, head_dim, rope.amplitude};
  }
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
