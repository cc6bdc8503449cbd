// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/context_strategy_options.hpp"
#include "activation_trace/processors/dola.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/processor_chain.hpp"

namespace activation_trace {
inline namespace v0 {

class Amateur;
class PrefixCache;

/// What a token's score is, before penalties (processors/README.md 1 to 4). lp is the log-probability at the mature
/// layer; all but baseline mask what the plausibility filter (relative_top, min_tokens_to_keep) rejects.
enum class DecodingMode {
  baseline,         ///< the logit; in a beam search lp
  dola_static,      ///< lp minus that of one premature layer
  dola,             ///< the same with the candidate layer that diverges most at this step
  activation,       ///< lp minus alpha times context entropy, or another `strategy`
  activation_dola,  ///< dola, minus alpha times context entropy
  contrastive,      ///< lp minus a coefficient times an amateur's
};

/// What activation decoding adds to lp, or from subject on to what `strategy_base` says (processors/README.md 1.6). s
/// are the logits of the info layer's states over the prompt, P their softmax over positions, E its entropy.
enum class DecodingStrategy {
  entropy,          ///< - alpha * E[v]
  single_entropy,   ///< nothing: the filtered log-probability, as in the published generation
  subject,          ///< + alpha * P[v][subject_key]
  entropy_inverse,  ///< + alpha / E[v]
  tendency,         ///< + alpha * (last s - first s)
  ema,              ///< + alpha * the exponential moving average of s
  majority_voting,  ///< + alpha * number of positions where P[v] > majority_threshold
};

/// Whether modes that do not need them compute the records that activation decoding yields anyway.
enum class Recording { as_needed, always };

/// What the context's entropy is over: the prompt, or the prompt and every token generated so far.
enum class ContextGrowth { prompt, growing };

/// How a token is drawn, in this order; the filters are those of Hugging Face's transformers.
struct SamplingOptions {
  float temperature = 1;     ///< > 0
  Index top_k = 0;           ///< 0: off
  float typical_p = 1;       ///< in (0, 1], 1: off
  float top_p = 1;           ///< in (0, 1], 1: off
  float min_p = 0;           ///< in [0, 1], 0: off
  std::uint64_t seed = 0;    ///< the same seed gives the same text
  std::uint64_t stream = 0;  ///< of independent random numbers; prompt i of a batch uses stream + i
};

/// When a beam search ends that has `count` finished texts, as in Hugging Face's transformers.
enum class EarlyStopping {
  no,     ///< once the best running beam, at its present length, scores less than the worst finished text
  yes,    ///< at once
  never,  ///< once no running beam can score better at any length
};

struct BeamOptions {
  Index count = 1;           ///< 1: no search
  float length_penalty = 1;  ///< a text's score is the sum of its tokens' scores over length^length_penalty
  EarlyStopping early_stopping = EarlyStopping::no;
};

/// How generate() decodes. Names as in the reference (processors/README.md 5). A step is: the mode's scores >
/// logit_bias > repetition_penalty > presence and frequency penalty > processors > temperature > top_k > typical >
/// top_p > min_p > choice. validate() says what goes together.
struct GenerationOptions {
  DecodingMode decoding_mode = DecodingMode::activation;
  float alpha = 0.5f;
  std::optional<Index> info_layer = {};  ///< hidden state 0..N, negative from the end; none: default_info_layer
  float relative_top = 0.1f;             ///< of the plausibility filter, as in RelativeTopOptions; 0: no filter
  Index min_tokens_to_keep = 1;
  float repetition_penalty = 1;                           ///< 1: none
  Index max_new_tokens = 128;                             ///< >= 0
  std::vector<TokenId> eos = {};                          ///< each ends the text
  std::vector<std::string> stop = {};                     ///< each ends the text and is not part of it
  std::vector<std::vector<TokenId>> stop_sequences = {};  ///< ids, each ends the text and is part of it
  ContextSpan context = {};                               ///< positions of the prompt whose hidden states count
  std::optional<FinalNorm> final_norm = {};               ///< applied to them
  Index prefill_piece = 512;  ///< prompt positions between two looks at progress and cancellation
  Recording recording = Recording::as_needed;

  DecodingStrategy strategy = DecodingStrategy::entropy;  ///< of modes activation and activation_dola
  Index subject_key = 0;                                  ///< position within the context, of strategy subject
  float majority_threshold = 0.001f;                      ///< of strategy majority_voting
  StrategyBase strategy_base = StrategyBase::log_probs;   ///< what the strategies from subject on are added to
  ContextGrowth context_growth = ContextGrowth::prompt;

  std::optional<Index> mature_layer = {};    ///< whose logits decide; none: N
  std::vector<Index> candidate_layers = {};  ///< DoLa's premature layers: one for dola_static, else one or more
  LayerDivergence divergence = {};           ///< by which dola and activation_dola choose the layer
  /// What activation_dola subtracts, as published the raw logits: a number per step away from the log-probabilities,
  /// which dola always subtracts, and no other choice without a repetition penalty, whose factor depends on signs.
  DolaBase activation_dola_base = DolaBase::logits;

  /// What prompts begin with that are computed up to its end, see prefix_cache.hpp; must outlive the call. Beams do not
  /// use it.
  PrefixCache* prefix = nullptr;

  Amateur* amateur = nullptr;  ///< of contrastive decoding, see amateur.hpp; must outlive the call
  float contrastive_coefficient = 1;
  float student_temperature = 1;

  std::vector<std::pair<TokenId, float>> logit_bias =
      {};                       ///< added to a token's score; -inf forbids it, +inf all others
  float presence_penalty = 0;   ///< subtracted from a generated token's score
  float frequency_penalty = 0;  ///< the same, times its occurrences

  /// The caller's own, copied for every text. They see the full row [V], and the prompt's ids and each generated one if
  /// they have observe(). What they do may depend on what they observed only, not on how often process() is called.
  ProcessorChain processors = {};

  std::optional<SamplingOptions> sampling = {};  ///< none: the best score, of equals the lowest id
  BeamOptions beams = {};

  std::optional<float> alert_entropy = {};  ///< nats: StepRecord::alert above it; implies Recording::always
};

/// The hidden state at about 80 % of N blocks: 26 of 32, as the reference uses for 7B.
[[nodiscard]] constexpr Index default_info_layer(Index blocks) { return (4 * blocks + 2) / 5; }

[[nodiscard]] constexpr std::string_view name(DecodingMode mode) {
  switch (mode) {
    case DecodingMode::baseline: return "baseline";
    case DecodingMode::dola_static: return "dola_static";
    case DecodingMode::dola: return "dola";
    case DecodingMode::activation: return "activation";
    case DecodingMode::activation_dola: return "activation_dola";
    case DecodingMode::contrastive: return "contrastive";
  }
  return "?";
}

[[nodiscard]] constexpr std::string_view name(DecodingStrategy strategy) {
  switch (strategy) {
    case DecodingStrategy::entropy: return "entropy";
    case DecodingStrategy::single_entropy: return "single_entropy";
    case DecodingStrategy::subject: return "subject";
    case DecodingStrategy::entropy_inverse: return "entropy_inverse";
    case DecodingStrategy::tendency: return "tendency";
    case DecodingStrategy::ema: return "ema";
    case DecodingStrategy::majority_voting: return "majority_voting";
  }
  return "?";
}

}  // namespace v0
}  // namespace activation_trace
