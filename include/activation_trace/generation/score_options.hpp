// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/processors/context_entropy.hpp"
#include "activation_trace/processors/dola.hpp"

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

/// Names as in the reference (generation/README.md 1 and processors/README.md 5); the defaults are its, except alpha
/// and info_layer, which are those of generation.
struct ScoreOptions {
  DecodingMode mode = DecodingMode::activation;           ///< any but contrastive
  DecodingStrategy strategy = DecodingStrategy::entropy;  ///< or single_entropy: the entropies alone
  float alpha = 0.5f;                                     ///< >= 0
  std::optional<Index> info_layer = {};      ///< hidden state 0..N, negative from the end; none: default_info_layer
  std::vector<Index> candidate_layers = {};  ///< premature layers: one for dola_static, any number for the dolas
  std::optional<Index> mature_layer = {};    ///< whose logits are the model's; none: N
  float relative_top = 0.1f;                 ///< of the dolas and of ScoreFilter::on; 0: no filter
  Index min_tokens_to_keep = 1;              ///< as in RelativeTopOptions
  float relative_top_value = -1000;          ///< in place of a filtered token's log-probability; may be -inf
  DolaOutput post_softmax = DolaOutput::log_probs;  ///< whether a dola's differences are normalised again
  LayerDivergence divergence = LayerDivergence::reference;
  /// What activation_dola subtracts: log-probabilities, as the published scoring does, unlike its generation. Without
  /// an effect where post_softmax normalises the differences again.
  DolaBase activation_dola_base = DolaBase::log_probs;
  ScoreContext context = ScoreContext::whole;
  ScoreFilter filter = ScoreFilter::off;
  SingleEntropy single_entropy = SingleEntropy::reference;
  ContextSpan span = {};                     ///< positions that count, of those that `context` names
  std::optional<FinalNorm> final_norm = {};  ///< applied to the info layer's states unless it is N
  Index prefill_piece = 512;                 ///< prompt positions between two looks at progress and cancellation
  /// always: entropies in every mode, also in those whose score has no use for them.
  Recording recording = Recording::as_needed;
  PrefixCache* prefix = nullptr;  ///< what prompts may begin with, see prefix_cache.hpp; must outlive the call

  /// Throws ArgumentError naming an option that is impossible or that the mode has no use for.
  void validate() const;

  [[nodiscard]] bool weighs_entropies() const noexcept {
    return mode == DecodingMode::activation || mode == DecodingMode::activation_dola;
  }
  [[nodiscard]] bool reads_entropies() const noexcept { return weighs_entropies() || recording == Recording::always; }
};

/// One answer. The vectors are of its length A.
struct ContinuationScore {
  double score = 0;  ///< the sum over the tokens, not their mean
  std::vector<TokenId> ids;
  /// What the mode's distribution gives each token, in nats: of the model, or a dola's difference of two layers;
  /// relative_top_value where the filter applies and the token fails it.
  std::vector<double> log_probs;
  std::vector<double> entropies;  ///< in nats; empty unless the mode or `recording` asks for them
  std::vector<Index> layers;      ///< the premature layer of each position, 0..N; empty without candidate layers
  /// White space from the prompt's end that score_text() counts as the answer's first, see there; usually empty.
  std::string moved_space = {};
};

struct ScoreCallbacks {
  std::function<void(Index done, Index total)> on_progress = {};  ///< positions computed, prompt and answers
  std::stop_token stop = {};                                      ///< looked at before each piece
};

inline void ScoreOptions::validate() const {
  const auto require = [](bool ok, const std::string& problem) {
    if (!ok) throw ArgumentError("ScoreOptions: " + problem);
  };
  const auto count = candidate_layers.size();
  require(mode != DecodingMode::contrastive, "mode contrastive scores no continuations");
  if (mode == DecodingMode::dola_static)
    require(count == 1, "mode dola_static takes one candidate layer, got " + std::to_string(count));
  else if (mode == DecodingMode::dola || mode == DecodingMode::activation_dola)
    require(count >= 1, "candidate_layers are missing");
  else
    require(count == 0, "candidate_layers are for the dola modes only");
  require(alpha >= 0 && std::isfinite(alpha), "alpha must be a number >= 0, got " + std::to_string(alpha));
  require(strategy == DecodingStrategy::entropy || strategy == DecodingStrategy::single_entropy,
          "strategy " + std::string(name(strategy)) + " scores no continuations");
  require(strategy == DecodingStrategy::entropy || mode == DecodingMode::activation,
          "strategy single_entropy is for mode activation only");
  require(filter == ScoreFilter::off || mode == DecodingMode::activation,
          "filter on is for mode activation; the dola modes always filter, baseline never does");
  require(filter == ScoreFilter::off || strategy == DecodingStrategy::entropy,
          "filter on has nothing to filter with strategy single_entropy");
  require(relative_top >= 0 && relative_top <= 1,
          "relative_top must be in [0, 1], got " + std::to_string(relative_top));
  require(min_tokens_to_keep >= 1, "min_tokens_to_keep must be at least 1, got " + std::to_string(min_tokens_to_keep));
  require(relative_top_value < std::numeric_limits<float>::infinity(),
          "relative_top_value must be a number below infinity, got " + std::to_string(relative_top_value));
  require(span.begin >= 0 && span.begin < span.end,
          "span [" + std::to_string(span.begin) + ", " + std::to_string(span.end) + ") is empty");
  require(prefill_piece >= 1, "prefill_piece must be positive, got " + std::to_string(prefill_piece));
}

}  // namespace v0
}  // namespace activation_trace
