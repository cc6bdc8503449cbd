// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/processors/context_states.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

class SharedContext;

/// For every vocabulary entry v the entropy, in nats, of the softmax over the context's positions i of
/// s[i] = W[v] . h[i]: how evenly the context speaks for v (processors/README.md 1.1). Between 0 (one position stands
/// out) and ln T (all alike).
///
/// Exact, where the published code computes in f16 and clamps probabilities at 2^-10: its entropies are lower by
/// about 0.06 at T = 512 and saturate at ln 1024 (processors/README.md 1.3). That is not imitated.
///
/// Only what is asked for is computed, and kept: per entry a SoftmaxState and the number of positions in it, so a
/// grown context costs only its new positions. Memory: T * d floats for a copy of the hidden states, because engines
/// reuse the buffers that they come from, and 20 bytes per vocabulary entry; nothing of size T x V.
/// Not safe for concurrent use.
class ContextEntropy {
 public:
  /// `execution` must outlive this object. Throws as ContextStates.
  explicit ContextEntropy(Execution<Host>& execution, ContextSpan span = {}, std::optional<FinalNorm> norm = {})
      : execution_(&execution), context_(span, std::move(norm)) {}

  /// The context begins with that of `prefix`, whose states are asked of it: contexts that share one have it computed
  /// once. Until reset() it must live and observe nothing. Throws StateError after observe(), and if `prefix` has
  /// observed nothing.
  void begin_with(ContextEntropy& prefix);

  /// The same with one that others read at the same time. Throws StateError after observe(), and if nothing was
  /// observed for it.
  void begin_with(std::shared_ptr<SharedContext> prefix);

  /// Appends hidden[T, d] to the context, as ContextStates::observe. Throws as that.
  void observe(MatrixView<const float> hidden, const LmHead<>& lm_head);

  /// The states of the entries `ids`, repetitions allowed, are brought up to date. Throws StateError while no position
  /// counts, ArgumentError for an id outside the vocabulary.
  void prepare(std::span<const TokenId> ids);

  /// The same for all V entries, by the fused kernel.
  void prepare();

  /// The triple of entry `id`, computed if need be. Throws as prepare().
  const SoftmaxState& state(TokenId id);

  /// The entropy of each of `ids`. NaN where the products overflow, and only there. Throws as prepare(), and
  /// ShapeError unless out is as long as ids.
  void entropy(std::span<const TokenId> ids, std::span<float> out);

  /// The entropies of all V entries; out[V]. The same numbers as one by one, to rounding.
  void entropy(std::span<float> out);

  /// Positions that count so far, T.
  [[nodiscard]] Index positions() const noexcept { return shared_ + context_.positions(); }
  /// V, or 0 before the first observe().
  [[nodiscard]] Index vocab() const noexcept { return lm_head().vocab(); }

  /// Throws StateError while no position counts.
  void require() const {
    if (positions() == 0) context_.require();
  }

  /// Forgets the context from position `position` on, the first being 0: for a rewind. Entries that had seen more are
  /// computed again when they are asked for. Throws ArgumentError for more positions than were observed, or fewer than
  /// the context it begins with has.
  void truncate(Index position);

  /// Forgets context and LM head, keeps its memory.
  void reset();

 private:
  [[nodiscard]] const LmHead<>& lm_head() const noexcept {
    return prefix_ != nullptr ? prefix_->lm_head() : context_.lm_head();
  }
  void check(TokenId id) const { prefix_ != nullptr ? prefix_->check(id) : context_.check(id); }
  void begin_states();
  [[nodiscard]] std::unique_lock<std::mutex> lock_prefix() const;
  [[nodiscard]] SoftmaxState& at(TokenId id) { return states_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] Index& seen(TokenId id) { return seen_[static_cast<std::size_t>(id)]; }
  void complete_pending();

  Execution<Host>* execution_;
  ContextEntropy* prefix_ = nullptr;
  std::shared_ptr<SharedContext> holder_;  // of prefix_, where others read that, too
  Index shared_ = 0;                       // its positions
  ContextStates context_;                  // behind it
  Index common_ = 0;                       // positions that every state has seen at least
  std::vector<SoftmaxState> states_;       // [V]
  std::vector<Index> seen_;                // [V] positions merged into the state
  std::vector<TokenId> pending_;
  std::vector<TokenId> batch_;
  std::vector<SoftmaxState> batch_states_;
  Buffer<float> rows_;  // of an LM head that is given on request
};

/// A context that several processors read at once, each on a thread of its own: a server's slots that answer the same
/// prompt, a draft and what checks it. What one has asked for the others find computed.
///
///     const auto context = std::make_shared<SharedContext>();
///     context->observe(hidden, lm_head);  // all of the prompt, before the first reader
///     processor.begin_context(context);   // of each reader
///
/// Its entropies are computed on the threads of `execution`, one reader at a time: an Execution that its readers do not
/// work on, or the thread that asks. An LM head of rows on request is called by all readers.
class SharedContext {
 public:
  /// `execution`, if lent, must outlive this object. Throws as ContextStates.
  explicit SharedContext(ContextSpan span = {}, std::optional<FinalNorm> norm = {}, ExecutionHandle execution = {})
      : execution_(std::move(execution)), entropies_(*execution_, span, std::move(norm)) {}

  /// Appends hidden[T, d], as ContextStates::observe. Throws as that, and StateError once it is read.
  void observe(MatrixView<const float> hidden, const LmHead<>& lm_head) {
    const std::lock_guard lock(mutex_);
    if (read_) throw StateError("context: it is read already, and grows no more");
    entropies_.observe(hidden, lm_head);
  }

  /// Positions that count, T.
  [[nodiscard]] Index positions() const {
    const std::lock_guard lock(mutex_);
    return entropies_.positions();
  }

 private:
  friend class ContextEntropy;

  mutable std::mutex mutex_;
  ExecutionHandle execution_;
  ContextEntropy entropies_;
  bool read_ = false;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::begin_with(std::shared_ptr<SharedContext> prefix) {
  const std::lock_guard lock(prefix->mutex_);
  begin_with(prefix->entropies_);
  prefix->read_ = true;
  holder_ = std::move(prefix);
}

ACTIVATION_TRACE_COMPILED_INLINE std::unique_lock<std::mutex> ContextEntropy::lock_prefix() const {
  return holder_ == nullptr ? std::unique_lock<std::mutex>() : std::unique_lock(holder_->mutex_);
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::begin_with(ContextEntropy& prefix) {
  if (prefix.vocab() == 0) throw StateError("context: the one that it begins with has observed nothing");
  context_.begin_at(prefix.context_.next_position());
  holder_.reset();
  prefix_ = &prefix;
  shared_ = prefix.positions();
  begin_states();
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::observe(MatrixView<const float> hidden, const LmHead<>& lm_head) {
  if (prefix_ != nullptr && !lm_head.same_as(prefix_->lm_head()))
    throw ArgumentError("lm_head: not the one of the context that this one begins with");
  const bool first = !context_.begun();
  context_.observe(*execution_, hidden, lm_head);
  if (first && prefix_ == nullptr) begin_states();
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::begin_states() {
  states_.assign(static_cast<std::size_t>(vocab()), SoftmaxState{});
  seen_.assign(static_cast<std::size_t>(vocab()), 0);
  // As many as a step asks for, unless it is a most uncertain one (processors/README.md 1.4).
  pending_.reserve(1024);
  batch_.reserve(1024);
  batch_states_.reserve(1024);
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::prepare(std::span<const TokenId> ids) {
  require();
  pending_.clear();
  for (const TokenId id : ids) {
    check(id);
    if (seen(id) != positions()) pending_.push_back(id);
  }
  // A gathered row costs a few times one of the sweep, which takes the matrix in order.
  if (static_cast<Index>(pending_.size()) > vocab() / 4)
    prepare();
  else
    complete_pending();
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::prepare() {
  require();
  if (common_ < shared_) {
    const std::unique_lock lock = lock_prefix();
    prefix_->prepare();
    for (Index v = 0; v < vocab(); ++v) {
      const auto id = static_cast<TokenId>(v);
      if (seen(id) >= shared_) continue;
      at(id) = prefix_->at(id);
      seen(id) = shared_;
    }
    common_ = shared_;
  }
  if (common_ == positions()) return;
  // The sweep adds the positions from common_ on. Entries that are already ahead keep what they have, so that an
  // entropy handed out before stays the same number.
  std::vector<SoftmaxState> swept = states_;
  context_.lm_head().softmax(*execution_, context_.hidden(common_ - shared_), swept, rows_);
  pending_.clear();
  for (Index v = 0; v < vocab(); ++v) {
    const auto id = static_cast<TokenId>(v);
    if (seen(id) == common_) {
      at(id) = swept[static_cast<std::size_t>(v)];
      seen(id) = positions();
    } else if (seen(id) != positions()) {
      pending_.push_back(id);
    }
  }
  common_ = positions();
  complete_pending();
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::complete_pending() {
  // Entries that have seen the same positions go together; mostly they are one such group.
  while (!pending_.empty()) {
    const Index from = seen(pending_.front());
    batch_.clear();
    batch_states_.clear();
    std::erase_if(pending_, [&](TokenId id) {
      if (seen(id) != from) return false;
      batch_.push_back(id);
      batch_states_.push_back(at(id));
      return true;
    });
    if (from < shared_) {
      const std::unique_lock lock = lock_prefix();
      prefix_->prepare(batch_);
      for (std::size_t i = 0; i < batch_.size(); ++i) batch_states_[i] = prefix_->at(batch_[i]);
    }
    const Index own = std::max<Index>(from - shared_, 0);
    if (own < context_.positions())
      context_.lm_head().softmax(*execution_, context_.hidden(own), batch_, batch_states_, rows_);
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      at(batch_[i]) = batch_states_[i];
      seen(batch_[i]) = positions();
    }
  }
}

ACTIVATION_TRACE_COMPILED_INLINE const SoftmaxState& ContextEntropy::state(TokenId id) {
  prepare(std::span<const TokenId>(&id, 1));
  return at(id);
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::entropy(std::span<const TokenId> ids, std::span<float> out) {
  if (ids.size() != out.size())
    throw ShapeError("entropy: got room for " + std::to_string(out.size()) + " numbers of " +
                     std::to_string(ids.size()) + " ids");
  prepare(ids);
  for (std::size_t i = 0; i < ids.size(); ++i) out[i] = at(ids[i]).entropy();
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::entropy(std::span<float> out) {
  require();
  if (static_cast<Index>(out.size()) != vocab())
    throw ShapeError("entropy: expected room for " + std::to_string(vocab()) + " numbers, got " +
                     std::to_string(out.size()));
  prepare();
  for (std::size_t v = 0; v < out.size(); ++v) out[v] = states_[v].entropy();
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::truncate(Index position) {
  context_.truncate(position);
  for (std::size_t v = 0; v < seen_.size(); ++v) {
    if (seen_[v] <= positions()) continue;
    seen_[v] = 0;
    states_[v] = {};
  }
  if (common_ > positions()) common_ = 0;
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextEntropy::reset() {
  prefix_ = nullptr;
  holder_.reset();
  shared_ = 0;
  context_.reset();
  common_ = 0;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
