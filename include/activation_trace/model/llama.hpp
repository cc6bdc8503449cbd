// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/model/config.hpp"
#include "activation_trace/model/kv_cache.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/model/llama_batch.hpp"
#include "activation_trace/model/llama_blocks.hpp"
#include "activation_trace/model/llama_head.hpp"
#include "activation_trace/model/llama_options.hpp"
#include "activation_trace/model/llama_part.hpp"
#include "activation_trace/model/llama_ranks.hpp"
#include "activation_trace/model/sequence_piece.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/copy.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/finish_logits.hpp"
#include "activation_trace/ops/first_not_finite.hpp"
#include "activation_trace/processors/context_span.hpp"
#include "activation_trace/processors/lm_head.hpp"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {

/// A LLaMA's forward pass over one sequence or several, in float (model/README.md). In the memory of `Space`, by the
/// ops of its Execution; Llama model(...) is of the space of its weights, which is the host's if nothing else is said.
///
/// Tokens are appended: the keys and values of all earlier positions stay in the sequence's cache, so a prompt may
/// arrive in pieces, a generated token is one more call with one id, and rewind() keeps a common prefix. All memory
/// is allocated by the constructor. Not thread-safe, and not to be changed from its own observer: StateError.
/// Weights that lead to hidden states or logits that are not finite make the calls throw Error, naming the layer.
///
/// Results are the same bit for bit for any number of threads, for any cut of the tokens into batches of `few_rows` or
/// more, and for several sequences in one call and in a call each, if the call is not longer than max_batch. Fewer rows
/// of a sequence go through other kernels and may differ by rounding: decoding against prefill, and the top of the last
/// position, which is computed alone unless h_N of others is observed.
template <class Space = Host>
class Llama {
 public:
  /// `weights` are views whose memory must outlive the model, and so must `execution`. Throws ArgumentError for an
  /// impossible config or option, a context longer than the model's, arithmetic or a cache that the space lacks,
  /// ShapeError for weights that do not fit, and Error if there is no memory for the options.
  Llama(const LlamaConfig& config, LlamaWeights<Space> weights, const LlamaOptions& options,
        Execution<Space>& execution)
      : Llama(config, std::move(weights), options, std::array{LlamaPlace<Space>{&execution, config.layers}}) {}
  /// The same, its blocks at several places, whose weights lie there. Throws ArgumentError, too, unless they have every
  /// block.
  Llama(LlamaConfig config, LlamaWeights<Space> weights, const LlamaOptions& options,
        const std::type_identity_t<std::span<const LlamaPlace<Space>>>& places)
      : Llama(detail::LlamaBlocks<Space>(std::move(config), std::move(weights), options, places), options) {}
  /// The same, each block shared out over ranks. Throws ArgumentError, too, unless they have all of it.
  Llama(LlamaConfig config, LlamaRanks<Space> ranks, const LlamaOptions& options)
      : Llama(detail::LlamaBlocks<Space>(std::move(config), std::move(ranks), options), options) {}

  /// As given to the constructor.
  [[nodiscard]] const LlamaConfig& config() const noexcept { return blocks_.config(); }
  /// As given to the constructor; of several ranks the first one's.
  [[nodiscard]] const LlamaWeights<Space>& weights() const noexcept { return blocks_.weights(); }
  /// What makes logits of h_N, scaled and capped as forward() does; of several ranks the first one's tokens.
  [[nodiscard]] LmHead<Space> lm_head() const { return {weights().lm_head, config().logits()}; }
  /// The norm in front of the LM head.
  [[nodiscard]] FinalNorm final_norm() const requires(Space::host_accessible) {
    return {weights().final_norm, config().rms_norm_eps};
  }
  /// Where it runs, for those who work in turns with it; of several places the last, of ranks the first: where logits
  /// are.
  [[nodiscard]] Execution<Space>& execution() const noexcept { return blocks_.execution(); }
  /// Where h_`layer`, 0..N, is.
  [[nodiscard]] Execution<Space>& execution_of(Index layer) const { return *blocks_.part_of(layer).execution; }
  /// The number of places that its blocks are at, or of ranks.
  [[nodiscard]] std::size_t places() const noexcept { return blocks_.parts().size(); }
  /// Positions that a sequence may have, as in the options.
  [[nodiscard]] Index max_context() const noexcept { return caches().front().capacity(); }
  /// Sequences with a cache of their own, numbered from 0.
  [[nodiscard]] Index sequences() const noexcept { return static_cast<Index>(caches().size()); }

  // Every call below throws ArgumentError for a sequence that does not exist.

  /// Tokens in the sequence's cache, which is also the position of the next one.
  [[nodiscard]] Index position(Index sequence = 0) const { return caches()[checked(sequence)].size(); }
  /// Those tokens, valid until the sequence changes.
  [[nodiscard]] std::span<const TokenId> ids(Index sequence = 0) const { return ids_[checked(sequence)]; }
  /// Throws StateError while a call is under way, as all that change the model do.
  void check_idle() const { detail::Turn::check(passing_); }
  /// Forgets the tokens from `position` on. Throws ArgumentError unless 0 <= position <= position(sequence).
  void rewind(Index position, Index sequence = 0);
  /// Makes `to` equal to `from`. Positions before `begin` must be equal already and are not copied. Throws
  /// ArgumentError if one of the two has fewer than `begin` positions.
  void copy_sequence(Index from, Index to, Index begin = 0);

  /// Appends `ids` and returns the logits [V] at the last of them, valid until the next call. Throws
  /// ArgumentError if `ids` is empty or if it or the observer names a token or layer that does not exist,
  /// StateError if the context has no room for it. Whatever is thrown, no token has been appended.
  std::span<const float> forward(std::span<const TokenId> ids, const LayerObserver<Space>& observer = {},
                                 Index sequence = 0) requires(Space::host_accessible);

  /// As forward, without logits: for all pieces of a prompt but the last, or to observe only.
  void fill(std::span<const TokenId> ids, const LayerObserver<Space>& observer = {}, Index sequence = 0);

  /// As forward, with logits [layers, V]: row i is that of h_k at the last position, k = layers[i] as for
  /// resolve_layer, the final norm NOT applied for k < N (model/README.md 1). One pass over the LM head.
  /// Throws ShapeError if `logits` has another shape, ArgumentError for more than N + 1 layers.
  void early_exit(std::span<const TokenId> ids, std::span<const Index> layers, MatrixView<float, Space> logits,
                  const LayerObserver<Space>& observer = {}, Index sequence = 0);

  // The same for several sequences in one pass over the weights. A sequence occurs in one piece at most, else
  // ArgumentError. Whatever is thrown, no token has been appended to any. Observers see their own piece's positions.

  /// Logits [pieces, V] at the last id of each piece, valid until the next call.
  MatrixView<const float, Space> forward(std::span<const SequencePiece<Space>> pieces);
  /// As forward, without logits.
  void fill(std::span<const SequencePiece<Space>> pieces);
  /// Logits [pieces, layers, V], whose rows must be evenly spaced; one pass over the LM head.
  void early_exit(std::span<const SequencePiece<Space>> pieces, std::span<const Index> layers,
                  TensorView<float, 3, Space> logits);

  // For loops whose tokens the space chooses itself, the host a step behind (cuda/token_loop.cuh).
  /// What knows where a step finds its token and position.
  [[nodiscard]] detail::LlamaSteps<Space>& steps() noexcept { return blocks_.steps(); }
  /// What looks for what is not finite where logits are.
  [[nodiscard]] const detail::FiniteWatch<Space>& watch() const noexcept { return blocks_.part_of(-1).watch; }
  /// Queues early_exit() of a token of each of `sequences`, which is in steps().rows() with the sequence's position, to
  /// `logits`[sequences, layers, V], of layers 0..N. No token has been appended.
  void queue_step(std::span<const Index> sequences, std::span<const Index> layers,
                  TensorView<float, 3, Space> logits) requires(!Space::host_accessible);
  /// The state that row `row` of [sequences * layers] of those logits is made of, [1, d], until the next call.
  MatrixView<const float, Space> exit_state(Index row) const { return head_.states(row + 1).slice(0, row, row + 1); }
  /// Appends the token of the step that was queued.
  void accept_step(TokenId id, Index sequence) {
    const SequencePiece<Space> piece{sequence, std::span(&id, 1), nullptr};
    check(std::span(&piece, 1));
    advance(std::span(&piece, 1));
  }
  /// Queues `logits`[n, V] of `states`[n, d], such as observers saw, exact and many at once. Not of ranks.
  void queue_logits(MatrixView<const float, Space> states, MatrixView<float, Space> logits);

 private:
  Llama(detail::LlamaBlocks<Space> blocks, const LlamaOptions& options);
  /// Of the first place: all count the same positions.
  [[nodiscard]] std::span<const KvCache<Space>> caches() const noexcept { return blocks_.parts().front().caches; }
  [[nodiscard]] std::size_t checked(Index sequence) const {
    return detail::check_sequence("Llama", sequence, sequences());
  }

  void check(std::span<const SequencePiece<Space>> pieces) const {
    detail::check_pieces(pieces, {"Llama", sequences(), max_context(), config().vocab, config().layers},
                         [this](Index sequence) { return position(sequence); });
  }
  /// Appends the pieces. `logits` [pieces * exits, V] become those of h_exits_[i] at the last position of each.
  void append(std::span<const SequencePiece<Space>> pieces, MatrixView<float, Space> logits);
  /// Whether it was computed; not where the space did again what it had recorded.
  bool compute(std::span<const SequencePiece<Space>> pieces, MatrixView<float, Space> logits, bool ids_are_there);
  /// Computes the pieces, h_exits_[i] of the last position of piece p in row p * exits + i of the head's states, and
  /// the logits of those. The caches count the new positions only after advance().
  void run(std::span<const SequencePiece<Space>> pieces, MatrixView<float, Space> logits);
  void run_batch();
  /// `logits` [rows, V] of the first rows of the head's states.
  void make_logits(MatrixView<float, Space> logits);
  void advance(std::span<const SequencePiece<Space>> pieces);
  /// Hands out h_layer of the batch.
  void show(Index layer, MatrixView<const float, Space> states);

  detail::LlamaBlocks<Space> blocks_;
  detail::LlamaHead<Space> head_;
  detail::LlamaBatch<Space> batch_;
  std::vector<std::vector<TokenId>> ids_;    // of each sequence
  Buffer<float, Space> logits_;              // [sequences, V]
  std::vector<Index> exits_;                 // layers whose last state the current call returns logits of
  std::vector<Index> positions_;             // of the current call's pieces
  std::vector<detail::WatchedRow> watched_;  // of what is looked at next
  bool passing_ = false;
};

template <class Space>
Llama<Space>::Llama(detail::LlamaBlocks<Space> blocks, const LlamaOptions& options)
    : blocks_(std::move(blocks)),
      head_(blocks_, options),
      batch_(options.sequences, options.max_rows()),
      ids_(static_cast<std::size_t>(options.sequences)) {
  const detail::MemoryScope<Space> memory(execution());
  logits_ = Buffer<float, Space>(options.sequences * config().vocab);
  exits_.reserve(static_cast<std::size_t>(config().layers + 1));
  positions_.reserve(static_cast<std::size_t>(options.sequences));
  watched_.reserve(static_cast<std::size_t>(std::max(options.max_rows(), options.sequences * (config().layers + 1))));
  for (std::vector<TokenId>& ids : ids_) ids.reserve(static_cast<std::size_t>(options.max_context));
}

template <class Space>
void Llama<Space>::rewind(Index position, Index sequence) {
  check_idle();
  blocks_.rewind(position, checked(sequence));
  ids_[checked(sequence)].resize(static_cast<std::size_t>(position));
}

template <class Space>
void Llama<Space>::copy_sequence(Index from, Index to, Index begin) {
  check_idle();
  const Index end = position(from);
  if (begin < 0 || begin > std::min(end, position(to)))
    throw ArgumentError("Llama: copy_sequence from position " + std::to_string(begin) + ", but the sequences hold " +
                        std::to_string(end) + " and " + std::to_string(position(to)));
  if (from == to) return;
  blocks_.copy_positions(checked(from), checked(to), begin, end);
  ids_[checked(to)] = ids_[checked(from)];
}

template <class Space>
std::span<const float> Llama<Space>::forward(std::span<const TokenId> ids, const LayerObserver<Space>& observer,
                                             Index sequence) requires(Space::host_accessible) {
  const SequencePiece<Space> piece{sequence, ids, &observer};
  return forward(std::span(&piece, 1)).row(0).span();
}

template <class Space>
void Llama<Space>::fill(std::span<const TokenId> ids, const LayerObserver<Space>& observer, Index sequence) {
  const SequencePiece<Space> piece{sequence, ids, &observer};
  fill(std::span(&piece, 1));
}

template <class Space>
void Llama<Space>::early_exit(std::span<const TokenId> ids, std::span<const Index> layers,
                              MatrixView<float, Space> logits, const LayerObserver<Space>& observer, Index sequence) {
  const SequencePiece<Space> piece{sequence, ids, &observer};
  early_exit(std::span(&piece, 1), layers,
             {logits.data(),
              {1, logits.extent(0), logits.extent(1)},
              {logits.extent(0) * logits.stride(0), logits.stride(0), logits.stride(1)}});
}

template <class Space>
MatrixView<const float, Space> Llama<Space>::forward(std::span<const SequencePiece<Space>> pieces) {
  const detail::Turn turn(passing_);
  check(pieces);
  exits_.assign(1, config().layers);
  const MatrixView<float, Space> logits = logits_.matrix(static_cast<Index>(pieces.size()), config().vocab);
  append(pieces, logits);
  return logits;
}

template <class Space>
void Llama<Space>::fill(std::span<const SequencePiece<Space>> pieces) {
  const detail::Turn turn(passing_);
  check(pieces);
  exits_.clear();
  append(pieces, {});
}

template <class Space>
void Llama<Space>::early_exit(std::span<const SequencePiece<Space>> pieces, std::span<const Index> layers,
                              TensorView<float, 3, Space> logits) {
  const detail::Turn turn(passing_);
  const auto exits = static_cast<Index>(layers.size());
  const auto count = static_cast<Index>(pieces.size());
  if (exits > config().layers + 1)
    throw ArgumentError("Llama: " + std::to_string(exits) + " early exits asked of a model of " +
                        std::to_string(config().layers) + " blocks");
  detail::check_early_exits(logits, count, exits, config().vocab);
  exits_.clear();
  for (const Index layer : layers) exits_.push_back(resolve_layer(layer, config().layers));
  check(pieces);
  append(pieces, {logits.data(), {count * exits, config().vocab}, {logits.stride(1), 1}});
}

template <class Space>
void Llama<Space>::append(std::span<const SequencePiece<Space>> pieces, MatrixView<float, Space> logits) {
  bool computed = compute(pieces, logits, false);
  if (!computed &&
      !blocks_.parts().back().watch.all_finite(execution())) {  // more is not known of what was only done again
    run(pieces, logits);
    computed = true;
  }
  if (computed) blocks_.check_watched();
  advance(pieces);
}

template <class Space>
bool Llama<Space>::compute(std::span<const SequencePiece<Space>> pieces, MatrixView<float, Space> logits,
                           bool ids_are_there) {
  positions_.clear();
  for (const SequencePiece<Space>& piece : pieces) positions_.push_back(position(piece.sequence));
  return blocks_.steps().run(execution(), {pieces, positions_, exits_, logits, ids_are_there, places() > 1},
                             [&] { run(pieces, logits); });
}

template <class Space>
void Llama<Space>::queue_step(std::span<const Index> sequences, std::span<const Index> layers,
                              TensorView<float, 3, Space> logits) requires(!Space::host_accessible) {
  const detail::Turn turn(passing_);
  constexpr TokenId some = 0;
  std::vector<SequencePiece<Space>> pieces;
  for (const Index sequence : sequences) pieces.push_back({sequence, std::span(&some, 1), nullptr});
  exits_.assign(layers.begin(), layers.end());
  check(pieces);
  compute(pieces, {logits.data(), {logits.extent(0) * logits.extent(1), config().vocab}}, true);
}

template <class Space>
void Llama<Space>::run(std::span<const SequencePiece<Space>> pieces, MatrixView<float, Space> logits) {
  blocks_.begin_watch();
  batch_.clear();
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    const SequencePiece<Space>& piece = pieces[p];
    const auto count = static_cast<Index>(piece.ids.size());
    for (Index done = 0; done < count;) {
      done += batch_.add(piece, static_cast<Index>(p), done, position(piece.sequence) + done);
      if (!batch_.full() && (done < count || p + 1 < pieces.size())) continue;
      run_batch();
      batch_.clear();
    }
  }
  if (logits.extent(0) > 0) make_logits(logits);
}

template <class Space>
void Llama<Space>::make_logits(MatrixView<float, Space> logits) {
  head_.multiply(blocks_, logits);
  watched_.clear();
  for (Index row = 0; row < logits.extent(0); ++row) watched_.push_back({row, -1});
  blocks_.watch(-1, logits, watched_);
  finish_logits(execution(), logits, config().logits());
}

template <class Space>
void Llama<Space>::queue_logits(MatrixView<const float, Space> states, MatrixView<float, Space> logits) {
  const MatmulTarget<Space> target{weights().lm_head, logits};
  detail::multiply<Space>(execution(), states, std::span(&target, 1), false, Arithmetic::exact);
  finish_logits(execution(), logits, config().logits());
}

template <class Space>
void Llama<Space>::advance(std::span<const SequencePiece<Space>> pieces) {
  for (const SequencePiece<Space>& piece : pieces) {
    blocks_.advance(checked(piece.sequence), static_cast<Index>(piece.ids.size()));
    std::vector<TokenId>& ids = ids_[checked(piece.sequence)];
    ids.insert(ids.end(), piece.ids.begin(), piece.ids.end());
  }
}

template <class Space>
void Llama<Space>::run_batch() {
  batch_.arrange();
  blocks_.run(
      batch_, [this](const detail::LlamaRun<Space>& run) { return run.needed_rows(exits_, config().layers); },
      [this](Index layer, MatrixView<const float, Space> states) { show(layer, states); });
}

template <class Space>
void Llama<Space>::show(Index layer, MatrixView<const float, Space> states) {
  const auto exits = static_cast<Index>(exits_.size());
  watched_.clear();
  for (const detail::LlamaRun<Space>& run : batch_.runs()) {
    const auto watch = [&](Index row) { watched_.push_back({run.row + row, run.position + row}); };
    if (run.rows > 0) watch(run.rows - 1);  // to which every position before it leads
    if (run.shows(layer, config().layers))
      for (Index row = run.observed_begin(); row < std::min(run.observed_end(), run.rows - 1); ++row) watch(row);
  }
  blocks_.watch(layer, states, watched_);
  for (const detail::LlamaRun<Space>& run : batch_.runs()) {
    for (Index i = 0; i < exits && run.ends_piece; ++i)
      if (exits_[static_cast<std::size_t>(i)] == layer)
        detail::bring(
            execution_of(layer), execution(), states.slice(0, run.row + run.rows - 1, run.row + run.rows),
            head_.states(run.piece * exits + i + 1).slice(0, run.piece * exits + i, run.piece * exits + i + 1));
    if (!run.shows(layer, config().layers)) continue;
    run.observer->on_states(layer, run.position + run.observed_begin(),
                            states.slice(0, run.row + run.observed_begin(), run.row + run.observed_end()));
  }
}

#if defined(ACTIVATION_TRACE_COMPILED_KERNELS)
extern template class Llama<Host>;
#endif

}  // namespace v0
}  // namespace activation_trace
