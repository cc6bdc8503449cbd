// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/numerics/layer_divergence.hpp"
#include "activation_trace/processors/relative_top.hpp"
#include "activation_trace/text/enum_names.hpp"

namespace activation_trace {
inline namespace v0 {

/// Whether the embedding matrix is the LM head, too: then hidden state 0 is no candidate, for its logits are the token
/// itself.
enum class Embeddings { separate, tied };

/// What is subtracted of the chosen early layer.
enum class DolaBase {
  log_probs,  ///< its log-probabilities (processors/README.md 2.1)
  logits,     ///< its raw logits, as the published activation on top of DoLa generates (processors/README.md 3)
};

template <>
struct EnumNames<DolaBase> {
  static constexpr std::pair<DolaBase, std::string_view> all[] = {{DolaBase::logits, "logits"},
                                                                  {DolaBase::log_probs, "log_probs"}};
};

/// What becomes of the differences, before the filter masks some of them.
enum class DolaOutput {
  difference,  ///< nothing
  log_probs,   ///< they are normalised over the whole row: the reference's post_softmax (generation/README.md 1)
};

/// How DolaProcessor chooses and subtracts (processors/README.md 2). The defaults are the reference's in generation.
struct DolaOptions {
  RelativeTopOptions filter = {};                                ///< on the mature layer
  LayerDivergence divergence = LayerDivergence::reference;       ///< by which one of several layers is chosen
  DolaBase base = DolaBase::log_probs;                           ///< what is subtracted of it
  Unfiltered unfiltered = Unfiltered::logits;                    ///< what relative_top 0 gives, with that base
  DolaOutput output = DolaOutput::difference;                    ///< what becomes of the differences
  float masked_value = -std::numeric_limits<float>::infinity();  ///< of what the filter masks; -1000 in scoring
};

/// A token that passed DoLa's filter.
struct DolaCandidate {
  TokenId id;   ///< the candidate
  float score;  ///< what its entry became
};

/// What a step of DolaProcessor saw: the layer that it took, and the tokens that are not masked.
struct DolaRecord {
  std::vector<DolaCandidate> kept;  ///< in the order in which they were given
  TokenId best = -1;                ///< of the largest score, of equals the smallest id; -1 where all was masked
  Index layer = -1;                 ///< as DolaProcessor::layer()
};

namespace detail {

/// Throws ArgumentError for no layers, or a masked_value that is NaN or +inf.
inline void check_dola(std::span<const Index> layers, const DolaOptions& options) {
  if (layers.empty()) throw ArgumentError("layers: DoLa needs at least one");
  if (!(options.masked_value < std::numeric_limits<float>::infinity()))
    throw ArgumentError("masked_value: expected a number or -inf, got " + std::to_string(options.masked_value));
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
