// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/processors/context_entropy.hpp"
#include "activation_trace/processors/plausible_candidates.hpp"
#include "activation_trace/processors/sharpness_options.hpp"
#include "activation_trace/tensor/space.hpp"

namespace activation_trace {
inline namespace v0 {

/// Activation decoding's logits processor, strategy "entropy" (processors/README.md 1): prefers tokens for which the
/// context is sharp. Knows no model, file or tokenizer.
///
///     processor.observe_context(hidden, lm_head);  // [T, d] of one layer, for the prompt; [V, d]
///     processor.process(logits);                   // [V], in place, at every step
///     processor.reset();                           // before the next prompt
///
/// Lazy: only survivors of the filter need an entropy, so only their rows of the LM head are multiplied, once per
/// context. With relative_top 0 all survive, and the fused kernel computes all at once. Movable, not copyable, and not
/// safe for concurrent use. For several sequences see EntropySharpnessBatch.
template <class Space>
class EntropySharpnessProcessor {
  static_assert(
      std::is_same_v<Space, Host>,
      "activation_trace: EntropySharpnessProcessor<Cuda> needs nvcc and #include \"activation_trace/cuda.cuh\"");

 public:
  /// Works on the threads of `execution`, which must outlive the processor, or without one on the calling thread.
  /// Throws ArgumentError for alpha < 0 or not finite, and as RelativeTopFilter and ContextEntropy do.
  explicit EntropySharpnessProcessor(EntropySharpnessOptions options = {}, ExecutionHandle execution = {});

  /// The context begins with that of `prefix`, computed once for many prompts: as ContextEntropy::begin_with.
  void begin_context(ContextEntropy& prefix) { context_.begin_with(prefix); }

  /// The same with one that other processors read at the same time. Throws as that.
  void begin_context(std::shared_ptr<SharedContext> prefix) { context_.begin_with(std::move(prefix)); }

  /// Appends hidden[T, d] to the context: a prompt may come in pieces. The states are copied; `lm_head`[V, d] is kept
  /// as a view until reset(). Throws as ContextEntropy::observe.
  void observe_context(MatrixView<const float> hidden, const LmHead<>& lm_head) { context_.observe(hidden, lm_head); }

  /// Forgets the context from position `position` on, as ContextEntropy::truncate: after a rewind. Throws as that.
  void truncate_context(Index position) { context_.truncate(position); }

  /// logits[V] become scores, in place: log-probability minus alpha times entropy, and -inf where the filter masks.
  /// -inf is allowed as input. The record is valid until the next call. Throws StateError before a context,
  /// ShapeError for a length other than V, ArgumentError for a logit that is NaN or +inf; logits are then unchanged.
  const SharpnessRecord& process(std::span<float> logits);

  /// The same for a list of candidates in any order: logits[i] belongs to ids[i]. Probabilities are over the list, so a
  /// list that holds the whole vocabulary gives what the full row gives. Throws as above, and ArgumentError for an
  /// empty list or an id outside the vocabulary.
  const SharpnessRecord& process(std::span<const TokenId> ids, std::span<float> logits);

  /// What the last process() saw.
  [[nodiscard]] const SharpnessRecord& record() const noexcept { return record_; }

  /// The entropies of all V tokens, in nats, valid until the next call that is not const. Throws StateError before a
  /// context.
  std::span<const float> entropy();

  /// The mergeable triple of token `id`. Throws StateError before a context, ArgumentError outside the vocabulary.
  const SoftmaxState& state(TokenId id) { return context_.state(id); }

  /// Positions that count so far, T.
  [[nodiscard]] Index context_size() const noexcept { return context_.positions(); }
  /// As given to the constructor.
  [[nodiscard]] const EntropySharpnessOptions& options() const noexcept { return options_; }

  /// Forgets the context, for the next prompt.
  void reset();

 private:
  void filter(std::span<const TokenId> ids, std::span<float> logits);
  void subtract_entropies(std::span<float> scores);

  EntropySharpnessOptions options_;
  ExecutionHandle execution_;
  ContextEntropy context_;
  detail::PlausibleCandidates candidates_;
  SharpnessRecord record_;
  std::vector<float> kept_entropy_;
  std::vector<float> entropy_;  // [V], once asked for
};

template <class Space>
EntropySharpnessProcessor<Space>::EntropySharpnessProcessor(EntropySharpnessOptions options, ExecutionHandle execution)
    : options_(std::move(options)),
      execution_(std::move(execution)),
      context_(*execution_, options_.context, options_.final_norm),
      candidates_(options_.filter) {
  detail::check_alpha(options_.alpha);
  record_.kept.reserve(1024);  // as candidates_ does
  kept_entropy_.reserve(1024);
}

template <class Space>
const SharpnessRecord& EntropySharpnessProcessor<Space>::process(std::span<float> logits) {
  context_.require();
  if (static_cast<Index>(logits.size()) != context_.vocab())
    throw ShapeError("logits: expected " + std::to_string(context_.vocab()) + ", got " + std::to_string(logits.size()));
  filter({}, logits);
  subtract_entropies(logits);
  return record_;
}

template <class Space>
const SharpnessRecord& EntropySharpnessProcessor<Space>::process(std::span<const TokenId> ids,
                                                                 std::span<float> logits) {
  context_.require();
  if (ids.size() != logits.size())
    throw ShapeError("logits: got " + std::to_string(logits.size()) + " for " + std::to_string(ids.size()) + " ids");
  if (ids.empty()) throw ArgumentError("ids: the candidate list is empty");
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= context_.vocab())
      throw ArgumentError("ids[" + std::to_string(i) + "]: " + std::to_string(ids[i]) +
                          " is not in the vocabulary of " + std::to_string(context_.vocab()));
  filter(ids, logits);
  subtract_entropies(logits);
  return record_;
}

template <class Space>
std::span<const float> EntropySharpnessProcessor<Space>::entropy() {
  context_.require();
  entropy_.resize(static_cast<std::size_t>(context_.vocab()));
  context_.entropy(entropy_);
  return entropy_;
}

template <class Space>
void EntropySharpnessProcessor<Space>::reset() {
  context_.reset();
  record_.kept.clear();
  record_.most_probable = record_.best = -1;
}

template <class Space>
void EntropySharpnessProcessor<Space>::filter(std::span<const TokenId> ids, std::span<float> logits) {
  if (options_.input == SharpnessInput::scores)
    candidates_.accept(ids, logits);
  else
    candidates_.filter(*execution_, ids, logits,
                       options_.alpha == 0 ? detail::FarBelow::left_alone : detail::FarBelow::masked);
}

template <class Space>
void EntropySharpnessProcessor<Space>::subtract_entropies(std::span<float> scores) {
  const std::span<const TokenId> ids = candidates_.ids();
  kept_entropy_.resize(ids.size());
  context_.entropy(ids, kept_entropy_);
  const SharpnessCandidate* most_probable = nullptr;
  const SharpnessCandidate* best = nullptr;
  record_.kept.resize(ids.size());
  const auto entropy = [&](std::size_t k) {
    if (std::isnan(kept_entropy_[k]))
      throw ArgumentError("the context entropy of token " + std::to_string(ids[k]) +
                          " is not a number: its products with the hidden states overflow or lm_head holds a NaN");
    return kept_entropy_[k];
  };
  candidates_.add(scores, -options_.alpha, entropy, [&](std::size_t k, float log_prob, float score) {
    SharpnessCandidate& c = record_.kept[k];
    c = {.id = ids[k], .log_prob = log_prob, .entropy = kept_entropy_[k], .score = score};
    if (most_probable == nullptr || c.log_prob > most_probable->log_prob ||
        (c.log_prob == most_probable->log_prob && c.id < most_probable->id))
      most_probable = &c;
    if (best == nullptr || c.score > best->score || (c.score == best->score && c.id < best->id)) best = &c;
  });
  record_.most_probable = most_probable == nullptr ? -1 : most_probable->id;
  record_.best = best == nullptr ? -1 : best->id;
}

}  // namespace v0
}  // namespace activation_trace
