// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"

namespace activation_trace {
inline namespace v0 {

enum class DecodingMode {
  baseline,    ///< the largest logit
  activation,  ///< the largest log-probability minus alpha times context entropy
};

/// Whether baseline decoding, which does not need them, computes the records that activation decoding yields anyway.
enum class Recording { as_needed, always };

/// Names as in the reference (ALGORITHMS.md 11).
struct GenerationOptions {
  DecodingMode decoding_mode = DecodingMode::activation;
  float alpha = 0.5f;
  std::optional<Index> info_layer = {};  ///< hidden state 0..N, negative from the end; none: default_info_layer
  float relative_top = 0.1f;
  Index min_tokens_to_keep = 1;
  float repetition_penalty = 1;              ///< 1: none
  Index max_new_tokens = 128;                ///< >= 0
  std::vector<TokenId> eos = {};             ///< each ends the text
  std::vector<std::string> stop = {};        ///< each ends the text and is not part of it
  ContextSpan context = {};                  ///< positions of the prompt whose hidden states count
  std::optional<FinalNorm> final_norm = {};  ///< applied to them
  Index prefill_piece = 512;                 ///< prompt positions between two looks at progress and cancellation
  Recording recording = Recording::as_needed;
};

/// The hidden state at about 80 % of N blocks: 26 of 32, as the reference uses for 7B.
[[nodiscard]] constexpr Index default_info_layer(Index blocks) { return (4 * blocks + 2) / 5; }

/// How one token was chosen. Scores are what was compared in the end: after the repetition penalty, and in baseline
/// decoding logits rather than log-probabilities.
struct StepRecord {
  std::span<const SharpnessCandidate> kept;  ///< survivors of the plausibility filter, ascending ids
  SharpnessCandidate chosen = {};            ///< baseline decoding may choose outside `kept`
  TokenId without_entropy = -1;              ///< what the same step would choose with alpha 0

  /// Whether the entropy changed the choice.
  [[nodiscard]] bool changed() const noexcept { return chosen.id != without_entropy; }
};

struct GeneratedToken {
  Index step;                ///< 0, 1, ...
  TokenId id;                ///< may be an eos
  std::string_view text;     ///< what this token released: complete characters that cannot be part of a stop string
  const StepRecord* record;  ///< null in baseline decoding unless Recording::always
};

/// What a caller that is shown a token answers.
enum class Continue { yes, no };

struct GenerationCallbacks {
  std::function<Continue(const GeneratedToken&)> on_token = {};  ///< views are valid during the call only
  std::function<void(Index done, Index total)> on_prefill = {};  ///< prompt positions, after each piece
  std::stop_token stop = {};                                     ///< looked at before each piece and token
};

enum class FinishReason { eos, stop_string, length, context_full, cancelled };

[[nodiscard]] constexpr std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::eos: return "eos";
    case FinishReason::stop_string: return "stop_string";
    case FinishReason::length: return "length";
    case FinishReason::context_full: return "context_full";
    case FinishReason::cancelled: return "cancelled";
  }
  return "?";
}

struct GenerationResult {
  std::vector<TokenId> ids;  ///< all that were chosen, the eos and the tokens of a stop string included
  std::string text;          ///< up to the stop string; all that was shown, and what was held back at the end
  FinishReason reason = FinishReason::length;
  double prefill_seconds = 0;
  double decode_seconds = 0;  ///< from the first choice on
};

}  // namespace v0
}  // namespace activation_trace
