// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/context_strategy_options.hpp"
#include "activation_trace/processors/mode.hpp"
#include "activation_trace/processors/processor_chain.hpp"
#include "activation_trace/processors/sampling_chain.hpp"

namespace activation_trace {
inline namespace v0 {

class Amateur;
class PrefixCache;

/// When a beam search ends that has `count` finished texts, as in Hugging Face's transformers.
enum class EarlyStopping {
  no,     ///< once the best running beam, at its present length, scores less than the worst finished text
  yes,    ///< at once
  never,  ///< once no running beam can score better at any length
};

/// A beam search.
struct BeamOptions {
  Index count = 1;           ///< 1: no search
  float length_penalty = 1;  ///< a text's score is the sum of its tokens' scores over length^length_penalty
  EarlyStopping early_stopping = EarlyStopping::no;  ///< when the search ends

  friend bool operator==(const BeamOptions&, const BeamOptions&) = default;
};

/// How generate() decodes. Names as in the reference (processors/README.md 5). A step is: the mode's scores >
/// logit_bias > repetition_penalty > presence and frequency penalty > the caller's processors > temperature > top_k >
/// typical > top_p > min_p > choice. A value: copied, compared. validate() says what goes together.
struct GenerationOptions {
  Mode mode = {};                                         ///< how a token is scored
  float repetition_penalty = 1;                           ///< 1: none
  Index max_new_tokens = 128;                             ///< >= 0
  std::vector<TokenId> eos = {};                          ///< each ends the text
  std::vector<std::string> stop = {};                     ///< each ends the text and is not part of it
  std::vector<std::vector<TokenId>> stop_sequences = {};  ///< ids, each ends the text and is part of it
  Index prefill_piece = 512;  ///< prompt positions between two looks at progress and cancellation

  std::vector<std::pair<TokenId, float>> logit_bias =
      {};                       ///< added to a token's score; -inf forbids it, +inf all others
  float presence_penalty = 0;   ///< subtracted from a generated token's score
  float frequency_penalty = 0;  ///< the same, times its occurrences

  std::optional<SamplingOptions> sampling = {};  ///< none: the best score, of equals the lowest id
  BeamOptions beams = {};                        ///< of a search, instead of sampling

  std::optional<RecordOptions> record = {};  ///< every step has a record; none: see GeneratedToken
  std::optional<float> alert_entropy = {};   ///< nats: StepRecord::alert above it; implies records

  friend bool operator==(const GenerationOptions&, const GenerationOptions&) = default;
};

/// What a call works with beside the model. All must outlive it.
struct Companions {
  /// What prompts begin with that are computed up to its end, see prefix_cache.hpp. Beams do not use it.
  PrefixCache* prefix = nullptr;
  /// Of contrastive decoding, see amateur.hpp.
  Amateur* amateur = nullptr;
  /// The caller's own, copied for every text. They see the full row [V], and the prompt's ids and each generated one if
  /// they have observe(). What they do may depend on what they observed only, not on how often process() is called.
  const ProcessorChain* processors = nullptr;
};

/// The hidden state at about 80 % of N blocks: 26 of 32, as the reference uses for 7B.
[[nodiscard]] constexpr Index default_info_layer(Index blocks) { return (4 * blocks + 2) / 5; }

}  // namespace v0
}  // namespace activation_trace
