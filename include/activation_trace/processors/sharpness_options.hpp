// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/context_span.hpp"
#include "activation_trace/processors/relative_top.hpp"
#include "activation_trace/tensor/space.hpp"

// What EntropySharpnessProcessor is told and what it tells, on the host and on the device.
namespace activation_trace {
inline namespace v0 {

/// What the processor is given.
enum class SharpnessInput {
  logits,  ///< a model's: they become log-probabilities and are filtered
  scores,  ///< filtered already, masked = -inf, such as DoLa's: only the entropy is subtracted (processors/README.md 3)
};

/// Activation decoding (processors/README.md 1): log p(v) - alpha E(v) for tokens that pass the plausibility filter.
struct EntropySharpnessOptions {
  float alpha = 0.5f;              ///< weight of the entropy, 0 to 1e30; 0 leaves the filtered log-probabilities
  RelativeTopOptions filter = {};  ///< on the log-probabilities
  ContextSpan context = {};        ///< positions of the prompt that count
  std::optional<FinalNorm> final_norm = {};       ///< applied to the hidden states; the published method has none
  SharpnessInput input = SharpnessInput::logits;  ///< scores: the filter is not used
};

/// A candidate that survived the filter. Numbers in nats.
struct SharpnessCandidate {
  TokenId id;      ///< the candidate
  float log_prob;  ///< over all that was given, not renormalised; for SharpnessInput::scores the given score
  float entropy;   ///< of the context, for this token
  float score;     ///< log_prob - alpha * entropy
};

/// What one step saw: the survivors in the order in which they were given, and the best by either measure (equals: the
/// lowest id; -1 if everything was masked).
struct SharpnessRecord {
  std::vector<SharpnessCandidate> kept;  ///< the survivors
  TokenId most_probable = -1;            ///< of the largest log_prob
  TokenId best = -1;                     ///< of the largest score

  /// Whether the entropy changed the choice.
  [[nodiscard]] bool changed() const noexcept { return best != most_probable; }
};

template <class Space = Host>
class EntropySharpnessProcessor;
template <class Space = Host>
class EntropySharpnessBatch;

namespace detail {

/// Throws ArgumentError unless 0 <= alpha <= largest_weight: a negative one would prefer masked tokens, -inf + inf.
inline void check_alpha(float alpha) {
  if (!(alpha >= 0 && std::isfinite(alpha)))
    throw ArgumentError("alpha: expected a number >= 0, got " + std::to_string(alpha));
  check_weight("alpha", alpha);
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
