// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/token_chooser.hpp"

namespace activation_trace {
inline namespace v0 {

/// What on_token() is shown.
struct GeneratedToken {
  Index step;             ///< 0, 1, ...
  TokenId id;             ///< may be an eos
  std::string_view text;  ///< what this token released: complete characters that cannot be part of a stop string
  /// Null unless GenerationOptions::record or alert_entropy asks for it; where tokens are chosen on the host, modes
  /// that compute it anyway show it, too.
  const StepRecord* record;
  Index sequence = 0;  ///< which prompt of a batch
};

/// What a caller that is shown a token answers; `no` ends its sequence.
enum class Continue { yes, no };

/// Why a text ended.
enum class FinishReason {
  eos,            ///< a token that ends texts was chosen
  stop_string,    ///< it would have held one of GenerationOptions::stop
  stop_sequence,  ///< its ids end in one of GenerationOptions::stop_sequences
  length,         ///< it has max_new_tokens
  context_full,   ///< the model's context has no room for its last token
  cancelled,      ///< the caller asked for it
};

/// As in traces and the records of runs.
[[nodiscard]] constexpr std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::eos: return "eos";
    case FinishReason::stop_string: return "stop_string";
    case FinishReason::stop_sequence: return "stop_sequence";
    case FinishReason::length: return "length";
    case FinishReason::context_full: return "context_full";
    case FinishReason::cancelled: return "cancelled";
  }
  return "?";
}

/// A text and how it came about.
struct GenerationResult {
  std::vector<TokenId> ids;  ///< all that were chosen, the eos and the tokens of a stop string included
  std::string text;          ///< up to the stop string; all that was shown, and what was held back at the end
  FinishReason reason = FinishReason::length;  ///< why it ended
  double prefill_seconds = 0;                  ///< for reading the prompt
  double decode_seconds = 0;                   ///< from the first choice on; in a batch that of all that ran meanwhile
  std::vector<Index> layer_histogram;          ///< DoLa: how often each of candidate_layers was chosen
  double score = 0;                            ///< beam search: what the text won with
};

/// Who is told what meanwhile, and may end it. All are called on the thread that called generate().
struct GenerationCallbacks {
  std::function<Continue(const GeneratedToken&)> on_token = {};  ///< views are valid during the call only
  std::function<void(Index done, Index total)> on_prefill = {};  ///< prompt positions, after each piece
  /// A text is complete, or was cancelled; in a batch others go on.
  std::function<void(Index sequence, const GenerationResult& result)> on_finish = {};
  std::stop_token stop = {};  ///< looked at before each piece and token
};

}  // namespace v0
}  // namespace activation_trace
