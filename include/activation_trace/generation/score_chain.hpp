// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/config.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/processors/logit_bias.hpp"
#include "activation_trace/processors/occurrence_penalty.hpp"
#include "activation_trace/processors/processor_chain.hpp"
#include "activation_trace/processors/repetition_penalty.hpp"
#include "activation_trace/processors/sampling_chain.hpp"

namespace activation_trace {
inline namespace v0 {

/// What the options make of a mode's scores, for one text: logit_bias > repetition_penalty > occurrence_penalty > the
/// caller's processors > temperature > top_k > typical > top_p > min_p. What is off is left out.
[[nodiscard]] ProcessorChain make_score_chain(const GenerationOptions& options, const ProcessorChain* processors,
                                              Index vocab);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE ProcessorChain make_score_chain(const GenerationOptions& options,
                                                                 const ProcessorChain* processors, Index vocab) {
  ProcessorChain chain;
  if (!options.logit_bias.empty()) chain.add("logit_bias", LogitBias(options.logit_bias));
  if (options.repetition_penalty != 1)
    chain.add("repetition_penalty", RepetitionPenalty(options.repetition_penalty, vocab));
  if (options.presence_penalty != 0 || options.frequency_penalty != 0)
    chain.add("occurrence_penalty",
              OccurrencePenalty({.presence = options.presence_penalty, .frequency = options.frequency_penalty}, vocab));
  if (processors != nullptr && !processors->empty()) chain.add(processors->order(), *processors);
  if (options.sampling) append_sampling(chain, *options.sampling);
  return chain;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
