// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/rms_norm.hpp"
#include "activation_trace/processors/context_span.hpp"
#include "activation_trace/processors/lm_head.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// The hidden states of a context as they come in, [T, d], and the LM head that makes scores of them. Memory: T * d
/// floats, because engines reuse the buffers that states come from.
class ContextStates {
 public:
  /// Hidden states are taken as they are unless `norm` is given.
  /// Throws ArgumentError for a negative or inverted span, or a norm with a weight or epsilon that is not positive.
  explicit ContextStates(ContextSpan span = {}, std::optional<FinalNorm> norm = {});

  /// Appends hidden[T, d]; those within the span are copied. `lm_head`[V, d] is kept as a view until reset() and must
  /// be the same at every call. Throws ShapeError for another d or V than before, ArgumentError for a hidden state that
  /// is not finite or another LM head.
  void observe(Execution<Host>& execution, MatrixView<const float> hidden, const LmHead<>& lm_head);

  /// The first position to be observed is number `position`: those before it are known elsewhere. Throws StateError
  /// after observe().
  void begin_at(Index position);

  /// Whether observe() was called since reset().
  [[nodiscard]] bool begun() const noexcept { return observed_ != 0; }
  /// Positions that count so far, T.
  [[nodiscard]] Index positions() const noexcept { return positions_; }
  /// The number of the next position to be observed.
  [[nodiscard]] Index next_position() const noexcept { return first_ + observed_; }
  /// V, or 0 before the first observe().
  [[nodiscard]] Index vocab() const noexcept { return lm_head_.vocab(); }
  /// The one of observe(); an empty one before.
  [[nodiscard]] const LmHead<>& lm_head() const noexcept { return lm_head_; }
  /// The states [T - position, d] from `position` on; valid until the next observe().
  [[nodiscard]] MatrixView<const float> hidden(Index position = 0) const;

  /// Throws StateError while no position counts.
  void require() const;

  /// Throws ArgumentError for an id outside the vocabulary.
  void check(TokenId id) const;

  /// Forgets what was observed from position `position` on, counted as next_position() is: a rewind. The LM head stays
  /// unless nothing is left. Throws ArgumentError for a position that was not reached, or lies before the first.
  void truncate(Index position);

  /// Forgets states and LM head, keeps its memory.
  void reset();

 private:
  static void check_hidden(MatrixView<const float> hidden);

  ContextSpan span_;
  std::optional<FinalNorm> norm_;
  LmHead<> lm_head_;
  Index first_ = 0;            // number of the first observed position
  Index observed_ = 0;         // positions, within the span or not
  Index positions_ = 0;        // T
  std::vector<float> hidden_;  // [T, d]
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE ContextStates::ContextStates(ContextSpan span, std::optional<FinalNorm> norm)
    : span_(span), norm_(std::move(norm)) {
  detail::check_context(span, norm_);
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStates::begin_at(Index position) {
  if (begun()) throw StateError("context: it has begun already");
  first_ = position;
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStates::observe(Execution<Host>& execution, MatrixView<const float> hidden,
                                                             const LmHead<>& lm_head) {
  const Index d = lm_head.hidden();
  if (lm_head.vocab() == 0 || d == 0) throw ShapeError("lm_head: it is empty");
  if (hidden.extent(1) != d)
    throw ShapeError("hidden: expected [T, " + std::to_string(d) + "], got [" + std::to_string(hidden.extent(0)) +
                     ", " + std::to_string(hidden.extent(1)) + "]");
  if (norm_ && static_cast<Index>(norm_->weight.size()) != d)
    throw ShapeError("final_norm: expected " + std::to_string(d) + " weights, got " +
                     std::to_string(norm_->weight.size()));
  if (observed_ != 0 && !lm_head.same_as(lm_head_))
    throw ArgumentError("lm_head: not the one that the context began with; call reset() first");
  const Index next = first_ + observed_;
  const Index begin = std::clamp<Index>(span_.begin - next, 0, hidden.extent(0));
  const Index end = std::clamp<Index>(span_.end - next, begin, hidden.extent(0));
  const MatrixView<const float> counted = hidden.slice(0, begin, end);
  check_hidden(counted);

  if (observed_ == 0) lm_head_ = lm_head;
  hidden_.resize(static_cast<std::size_t>((positions_ + counted.extent(0)) * d));
  for (Index i = 0; i < counted.extent(0); ++i) {
    float* row = hidden_.data() + (positions_ + i) * d;
    for (Index k = 0; k < d; ++k) row[k] = counted(i, k);
  }
  const MatrixView<float> added(hidden_.data() + positions_ * d, {counted.extent(0), d});
  if (norm_) rms_norm(execution, added, norm_->weight, norm_->eps, added);
  observed_ += hidden.extent(0);
  positions_ += counted.extent(0);
}

ACTIVATION_TRACE_COMPILED_INLINE MatrixView<const float> ContextStates::hidden(Index position) const {
  return {hidden_.data() + position * lm_head_.hidden(), {positions_ - position, lm_head_.hidden()}};
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStates::require() const {
  if (positions_ == 0)
    throw StateError("no context: observe_context was not called, or none of its " + std::to_string(observed_) +
                     " positions lies within the context span");
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStates::check(TokenId id) const {
  if (id < 0 || id >= vocab())
    throw ArgumentError("token id " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(vocab()));
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStates::truncate(Index position) {
  if (position < first_ || position > next_position())
    throw ArgumentError("context: it can be cut at positions " + std::to_string(first_) + " to " +
                        std::to_string(next_position()) + ", not at " + std::to_string(position));
  if (position == first_) lm_head_ = {};
  observed_ = position - first_;
  const Index begin = std::clamp(span_.begin, first_, position);
  positions_ = std::clamp(span_.end, begin, position) - begin;
  if (position > first_) hidden_.resize(static_cast<std::size_t>(positions_ * lm_head_.hidden()));
  if (position == first_) hidden_.clear();
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStates::reset() {
  lm_head_ = {};
  first_ = observed_ = positions_ = 0;
  hidden_.clear();
}

ACTIVATION_TRACE_COMPILED_INLINE void ContextStates::check_hidden(MatrixView<const float> hidden) {
  for (Index i = 0; i < hidden.extent(0); ++i)
    for (Index k = 0; k < hidden.extent(1); ++k)
      if (!std::isfinite(hidden(i, k)))
        throw ArgumentError("hidden: [" + std::to_string(i) + ", " + std::to_string(k) + "] is " +
                            std::to_string(hidden(i, k)));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
