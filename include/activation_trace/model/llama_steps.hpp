// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <type_traits>

#include "activation_trace/model/kv_cache.hpp"
#include "activation_trace/model/llama_batch.hpp"
#include "activation_trace/model/sequence_piece.hpp"
#include "activation_trace/ops/attention.hpp"
#include "activation_trace/ops/copy.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/gather.hpp"
#include "activation_trace/ops/rope.hpp"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Whether keys and values in `Space` can be halves: attention() reads them, copy() rounds to them.
template <class Space>
concept HasHalfCache = requires(Execution<Space>& execution, std::span<const AttentionPart<Space, Half>> parts,
                                MatrixView<const float, Space> from, MatrixView<const Half, Space> stored,
                                MatrixView<Half, Space> to) {
  attention(execution, parts, AttentionOptions{});
  copy(execution, from, to);
  copy(execution, stored, to);
};

/// f(std::type_identity<T>{}) with the type of what the cache holds.
template <class Space, class F>
void visit_stored(const KvCache<Space>& cache, const F& f) {
  if constexpr (HasHalfCache<Space>)
    if (cache.stored() == DType::f16) return f(std::type_identity<Half>{});
  f(std::type_identity<float>{});
}

/// What a call on one token of each sequence computes, and where to.
template <class Space>
struct LlamaStep {
  std::span<const SequencePiece<Space>> pieces;
  std::span<const Index> positions;  ///< of the pieces' first ids
  std::span<const Index> exits;      ///< layers whose logits are wanted
  MatrixView<float, Space> logits;   ///< [pieces * exits, V]
  bool ids_are_there = false;        ///< in the space's memory, which knows better than the pieces
  bool at_several_places = false;
};

/// The part of a layer's work that depends on tokens and positions: ops of the space, told by the run. A space that
/// records the work of a token, to do it again for those that follow, has another, whose ops find both in its memory.
template <class Space>
class LlamaSteps {
 public:
  using Matrix = MatrixView<float, Space>;
  using Run = LlamaRun<Space>;

  /// For sequences of up to `max_context` positions.
  explicit LlamaSteps(Index /*max_context*/) {}

  /// Calls work(), which computes `step` by the ops below, or does again what it did; whether it was called.
  template <class Work>
  bool run(Execution<Space>&, const LlamaStep<Space>&, const Work& work) {
    work();
    return true;
  }

  /// x <- the embeddings of the run's tokens.
  void embed(Execution<Space>& execution, const StoredMatrix<Space>& embedding, const Run& run, Matrix x) const {
    gather(execution, embedding, run.ids, x);
  }
  /// Rotates the run's rows x by their positions.
  void rotate(Execution<Space>& execution, const Run& run, Matrix x, Index heads, const RopeTable<Space>& table,
              RopeLayout layout) const {
    rope(execution, x, heads, run.position, table, layout);
  }
  /// The run's keys and values enter the cache of block i.
  void store(Execution<Space>& execution, const Run& run, Matrix k, Matrix v, KvCache<Space>& cache, Index i) const {
    visit_stored(cache, [&]<class T>(std::type_identity<T>) {
      copy(execution, k, cache.template keys<T>(i, run.position, seen(run)));
      copy(execution, v, cache.template values<T>(i, run.position, seen(run)));
    });
  }
  /// Positions whose keys and values attention is given.
  [[nodiscard]] Index seen(const Run& run) const { return run.position + run.rows; }
  /// attention() of the batch's runs.
  template <class T>
  void attend(Execution<Space>& execution, std::span<const AttentionPart<Space, T>> parts,
              const AttentionOptions& options) const {
    attention(execution, parts, options);
  }
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
