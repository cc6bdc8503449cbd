// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/context_span.hpp"
#include "activation_trace/processors/relative_top.hpp"
#include "activation_trace/text/enum_names.hpp"

namespace activation_trace {
inline namespace v0 {

/// What of a token's scores s[i] = W[v] . h[i] over the context's positions is added to its log-probability or logit,
/// times alpha. P[i] is their softmax over the positions; from subject on processors/README.md 1.6, the strategies of
/// the first published commit.
enum class ContextStrategy {
  entropy,          ///< minus the entropy of P: the published method
  single_entropy,   ///< nothing, as in the published generation; in scoring the entropies alone
  subject,          ///< P at one position
  entropy_inverse,  ///< 1 / entropy of P, the entropy at least 2^-23 nats
  tendency,         ///< the last score minus the first
  ema,              ///< exponential moving average: 0.9 of the old one, 0.1 of each next score, from the first one on
  majority_voting,  ///< number of positions with P above a threshold
};

template <>
struct EnumNames<ContextStrategy> {
  static constexpr std::pair<ContextStrategy, std::string_view> all[] = {
      {ContextStrategy::entropy, "entropy"},
      {ContextStrategy::single_entropy, "single_entropy"},
      {ContextStrategy::subject, "subject"},
      {ContextStrategy::entropy_inverse, "entropy_inverse"},
      {ContextStrategy::tendency, "tendency"},
      {ContextStrategy::ema, "ema"},
      {ContextStrategy::majority_voting, "majority_voting"}};
};

/// Whether it reads the context's entropy, added to filtered log-probabilities; the others are the first published
/// commit's.
[[nodiscard]] constexpr bool reads_entropy(ContextStrategy strategy) {
  return strategy == ContextStrategy::entropy || strategy == ContextStrategy::single_entropy;
}

/// What a ContextStrategy is added to. The two choose different tokens: a logit that no filter has seen may win by a
/// value that is large everywhere, as 1 / entropy is.
enum class StrategyBase {
  log_probs,  ///< log-probabilities that the plausibility filter has passed, as "entropy" is; masked tokens stay masked
  logits,     ///< as published: the raw logits of the whole vocabulary, without a filter (processors/README.md 1.6)
};

template <>
struct EnumNames<StrategyBase> {
  static constexpr std::pair<StrategyBase, std::string_view> all[] = {{StrategyBase::log_probs, "log_probs"},
                                                                      {StrategyBase::logits, "logits"}};
};

/// What ContextStrategyProcessor adds, to what, and over which positions (processors/README.md 1.6).
struct ContextStrategyOptions {
  ContextStrategy strategy = ContextStrategy::subject;  ///< what of the context's scores is added
  StrategyBase base = StrategyBase::log_probs;          ///< to what
  float alpha = 0.5f;                                   ///< weight, at most 1e30 in size
  RelativeTopOptions filter = {};                       ///< of StrategyBase::log_probs
  ContextSpan context = {};                             ///< positions of the prompt that count
  std::optional<FinalNorm> final_norm = {};             ///< applied to the hidden states
  Index subject_position = 0;                           ///< of subject, among the positions that count
  float vote_threshold = 0.001f;                        ///< of majority_voting, in [0, 1]
};

}  // namespace v0
}  // namespace activation_trace
