// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/processors/mode.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// The published code adds the entropies up, so a sharper answer scores lower, and then takes the highest score
/// (generation/README.md 1). Negated, sharper is better.
enum class SingleEntropy { reference, negated };

/// The positions whose states the entropies of an answer are over. The published code takes all in scoring, the
/// answer's own last token included, and the prompt's in generation.
enum class ScoreContext { whole, prompt };

/// Whether activation scoring applies the plausibility filter. The published code computes it and does not use it.
enum class ScoreFilter { off, on };

template <>
struct EnumNames<SingleEntropy> {
  static constexpr std::pair<SingleEntropy, std::string_view> all[] = {{SingleEntropy::reference, "reference"},
                                                                       {SingleEntropy::negated, "negated"}};
};
template <>
struct EnumNames<ScoreContext> {
  static constexpr std::pair<ScoreContext, std::string_view> all[] = {{ScoreContext::whole, "whole"},
                                                                      {ScoreContext::prompt, "prompt"}};
};
template <>
struct EnumNames<ScoreFilter> {
  static constexpr std::pair<ScoreFilter, std::string_view> all[] = {{ScoreFilter::off, "off"},
                                                                     {ScoreFilter::on, "on"}};
};
template <>
struct EnumNames<DolaOutput> {  // --post_softmax
  static constexpr std::pair<DolaOutput, std::string_view> all[] = {{DolaOutput::log_probs, "on"},
                                                                    {DolaOutput::difference, "off"}};
};

/// How score() reads a mode. Names as in the reference (generation/README.md 1 and processors/README.md 5); the
/// defaults are its, except alpha and info_layer, which are those of generation. A value: copied, compared.
struct ScoreOptions {
  Mode mode = {};                              ///< of the strategies entropy and single_entropy, where it has one
  ScoreContext context = ScoreContext::whole;  ///< what entropies are over
  ScoreFilter filter = ScoreFilter::off;       ///< whether Activation filters
  SingleEntropy single_entropy = SingleEntropy::reference;  ///< sign of the strategy of that name
  DolaOutput post_softmax = DolaOutput::log_probs;          ///< whether a DoLa's differences are normalised again
  float relative_top_value = -1000;  ///< in place of a filtered token's log-probability; may be -inf
  Index prefill_piece = 512;         ///< prompt positions between two looks at progress and cancellation
  /// Entropies of this context also in modes whose score has no use for any.
  std::optional<ContextOptions> record = {};

  friend bool operator==(const ScoreOptions&, const ScoreOptions&) = default;

  /// Throws ArgumentError naming an option that is impossible or that the mode has no use for.
  void validate() const;

  /// The context whose entropies are computed; null if none are.
  [[nodiscard]] const ContextOptions* entropies() const {
    const ContextOptions* own = context_of(mode);
    return own != nullptr || !record ? own : &*record;
  }

  /// What scoring has beside the mode's options, as describe(mode, field).
  static void describe(auto& self, auto&& field) {
    field("context", self.context, "what entropies are over: prompt and answer, or the prompt");
    field("filter", self.filter, "whether activation filters");
    field("single_entropy", self.single_entropy, "the sign of single_entropy: reference, sharper is lower");
    field("post_softmax", self.post_softmax, "whether a dola's differences are normalised again");
    field("relative_top_value", self.relative_top_value, "of a token that the filter rejects");
  }
};

/// One answer. The vectors are of its length A.
struct ContinuationScore {
  double score = 0;          ///< the sum over the tokens, not their mean
  std::vector<TokenId> ids;  ///< of the answer
  /// What the mode's distribution gives each token, in nats: of the model, or a dola's difference of two layers;
  /// relative_top_value where the filter applies and the token fails it.
  std::vector<double> log_probs;
  std::vector<double> entropies;  ///< in nats; empty unless the mode or ScoreOptions::record asks for them
  std::vector<Index> layers;      ///< the premature layer of each position, 0..N; empty without candidate layers
  /// White space from the prompt's end that score_text() counts as the answer's first, see there; usually empty.
  std::string moved_space = {};
};

/// Who is told what meanwhile, and may end it: the answers that are complete then are the result.
struct ScoreCallbacks {
  std::function<void(Index done, Index total)> on_progress = {};  ///< positions computed, prompt and answers
  std::stop_token stop = {};                                      ///< looked at before each piece
};

/// A token of an answer that a scorer is asked for.
struct AskedToken {
  Index position;  ///< among those whose states are given: what predicts it
  TokenId id;      ///< of the vocabulary
};

/// Log-probabilities of answers' tokens from a model that makes logits of hidden states itself, by the options of one
/// call.
class AnswerScorer {
 public:
  AnswerScorer() = default;
  AnswerScorer(const AnswerScorer&) = delete;
  AnswerScorer& operator=(const AnswerScorer&) = delete;
  virtual ~AnswerScorer() = default;
  /// `states`[n, d] are, position after position, those of the mature layer and of the premature ones; rows behind the
  /// last position are of no meaning, but are there so that there are `few_rows`. log_probs[i] becomes
  /// ContinuationScore::log_probs of tokens[i], NaN where logits are not finite, and layers[p] the place of the
  /// premature layer that position p chose, -1 in modes without. Throws as the mode's processor.
  virtual void score(MatrixView<const float> states, std::span<const AskedToken> tokens, std::span<double> log_probs,
                     std::span<Index> layers) = 0;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void ScoreOptions::validate() const {
  activation_trace::validate(mode);
  if (record) record->validate();
  const auto require = [](bool ok, const std::string& problem) {
    if (!ok) throw ArgumentError("ScoreOptions: " + problem);
  };
  const auto* activation = std::get_if<Activation>(&mode);
  const bool plain = activation != nullptr && activation->strategy == ContextStrategy::entropy;
  require(activation == nullptr || reads_entropy(activation->strategy),
          "decoding_strategy " + std::string(activation == nullptr ? "" : name(activation->strategy)) +
              " scores no continuations");
  const auto* on_dola = std::get_if<ActivationDola>(&mode);
  require(on_dola == nullptr || on_dola->strategy == ContextStrategy::entropy,
          "decoding_strategy single_entropy is for mode activation only");
  require(filter == ScoreFilter::off || plain,
          "filter on is for mode activation with strategy entropy; the other modes always filter, baseline never does");
  const ContextOptions* read = entropies();
  require(read == nullptr || read->growth == ContextGrowth::prompt,
          "context_growth growing has no meaning for answers that are given; see context");
  require(relative_top_value < std::numeric_limits<float>::infinity(),
          "relative_top_value must be a number below infinity, got " + std::to_string(relative_top_value));
  require(read == nullptr || read->span.begin < read->span.end,
          "the context span [" + std::to_string(read == nullptr ? 0 : read->span.begin) + ", " +
              std::to_string(read == nullptr ? 0 : read->span.end) + ") is empty");
  require(prefill_piece >= 1, "prefill_piece must be positive, got " + std::to_string(prefill_piece));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
