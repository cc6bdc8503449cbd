// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/embed/llama_cpp_tap.hpp"
// Behind it, whose message says what is missing.
#include <llama.h>

#include <functional>
#include <optional>

#include "activation_trace/generation/options.hpp"
#include "activation_trace/processors/mode_processor.hpp"

namespace activation_trace {
inline namespace v0 {
namespace llama_cpp {

/// What a Guest does.
struct GuestOptions {
  /// How tokens are scored; all modes but contrastive, of mature layer N. Baseline with records is the detector: it
  /// leaves the choice alone.
  Mode mode = {};
  /// Entropies are recorded in modes that weigh none, too; in those that do, the mode's own are.
  std::optional<RecordOptions> record = {};
  /// Is told each token that was chosen, if the mode or `record` makes records: log-probability and context entropy,
  /// and as score what the mode gave it. May throw; then that is the guest's problem (Guest::check).
  std::function<void(const SharpnessCandidate& chosen)> on_token = {};
  /// Generated tokens' states are kept, too, for who goes on with a conversation after llama_sampler_reset().
  bool keep_answers = false;
  /// At the first token, that the LM head times the last state is what llama.cpp says. Off for who has altered its
  /// head, such as by a LoRA.
  bool check_head = true;
  llama_seq_id sequence = 0;  ///< of the context, the only one that may be in use
};

}  // namespace llama_cpp
}  // namespace v0
}  // namespace activation_trace
