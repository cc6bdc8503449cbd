// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "activation_trace/processors/context_entropy.hpp"

namespace activation_trace {
inline namespace v0 {

/// How a Detector reads a context, and when it warns.
struct DetectorOptions {
  float threshold = 2.5f;                    ///< nats, >= 0: a token of a larger context entropy is an alert
  ContextSpan context = {};                  ///< positions of the prompt that count
  std::optional<FinalNorm> final_norm = {};  ///< applied to the hidden states; the published method has none
};

/// The alert without the decoding: how evenly the context speaks for a token that somebody else has chosen
/// (processors/README.md 1.1). No logit is read or changed.
///
///     detector.observe_context(hidden, lm_head);  // [T, d] of one layer, for the prompt; [V, d]
///     if (detector.alert(token)) ...              // for every token of the answer
///
/// One row of the LM head is multiplied per new token. Movable, not copyable, and not safe for concurrent use.
class Detector {
 public:
  /// Works on the threads of `execution`, which must outlive the detector, or without one on the calling thread. Throws
  /// ArgumentError for a threshold that is negative or no number, and as ContextEntropy does.
  explicit Detector(DetectorOptions options = {}, ExecutionHandle execution = {})
      : options_(std::move(options)),
        execution_(std::move(execution)),
        context_(*execution_, options_.context, options_.final_norm) {
    if (!(options_.threshold >= 0))
      throw ArgumentError("threshold: expected a number >= 0, got " + std::to_string(options_.threshold));
  }

  /// The context begins with one that others read at the same time, as ContextEntropy::begin_with. Throws as that.
  void begin_context(std::shared_ptr<SharedContext> prefix) { context_.begin_with(std::move(prefix)); }

  /// Appends hidden[T, d] to the context, as EntropySharpnessProcessor::observe_context. Throws as that.
  void observe_context(MatrixView<const float> hidden, const LmHead<>& lm_head) { context_.observe(hidden, lm_head); }

  /// Forgets the context from position `position` on, as ContextEntropy::truncate. Throws as that.
  void truncate_context(Index position) { context_.truncate(position); }

  /// The context entropy of token `id`, in nats, 0 to ln T. Throws StateError before a context, ArgumentError for an id
  /// outside the vocabulary or a product that overflows.
  float entropy(TokenId id) {
    const float entropy = context_.state(id).entropy();
    if (std::isnan(entropy))
      throw ArgumentError("the context entropy of token " + std::to_string(id) +
                          " is not a number: its products with the hidden states overflow or lm_head holds a NaN");
    return entropy;
  }

  /// Whether that is above the threshold. Throws as entropy().
  bool alert(TokenId id) { return entropy(id) > options_.threshold; }

  /// Positions that count so far, T.
  [[nodiscard]] Index context_size() const noexcept { return context_.positions(); }
  /// As given to the constructor.
  [[nodiscard]] const DetectorOptions& options() const noexcept { return options_; }

  /// Forgets the context, for the next prompt.
  void reset() { context_.reset(); }

 private:
  DetectorOptions options_;
  ExecutionHandle execution_;
  ContextEntropy context_;
};

}  // namespace v0
}  // namespace activation_trace
