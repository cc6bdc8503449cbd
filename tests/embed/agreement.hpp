// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/processors/argmax.hpp"
#include "activation_trace/processors/base_scores.hpp"
#include "activation_trace/processors/mode.hpp"

// Two engines whose arithmetic differs, at the same tokens: is each other choice a near tie?
namespace activation_trace::test {

/// What DoLa's layers are chosen by at a step; empty in modes that choose none.
inline std::vector<double> divergences_of(const Mode& mode, std::span<const Index> early, const StepLogits& step) {
  std::vector<double> result;
  const auto compute = [&](const auto& m) {
    DolaProcessor dola({early.begin(), early.end()}, dola_options(m));
    std::vector<float> scores(step.mature.begin(), step.mature.end());
    dola.observe_layers(step.early);
    dola.process(scores);
    result.assign(dola.divergences().begin(), dola.divergences().end());
  };
  if (const auto* dola = std::get_if<Dola>(&mode)) compute(*dola);
  if (const auto* dola = std::get_if<ActivationDola>(&mode)) compute(*dola);
  return result;
}

/// What an engine says of a text's next token: the mode's scores, and what they hang on.
struct Saying {
  Saying(std::span<const float> mature, std::span<const float> its_scores, std::vector<double> its_divergences)
      : best(static_cast<TokenId>(argmax(its_scores))),
        divergences(std::move(its_divergences)),
        largest(*std::ranges::max_element(mature)),
        logits(mature.begin(), mature.end()),
        scores(its_scores.begin(), its_scores.end()) {}

  [[nodiscard]] float score(TokenId id) const { return scores[static_cast<std::size_t>(id)]; }
  [[nodiscard]] float logit(TokenId id) const { return logits[static_cast<std::size_t>(id)]; }
  /// Which layer DoLa takes; 0 where it does not choose.
  [[nodiscard]] std::size_t layer() const {
    return static_cast<std::size_t>(std::ranges::max_element(divergences) - divergences.begin());
  }
  [[nodiscard]] bool same_as(const Saying& other) const { return scores == other.scores; }

  TokenId best;
  std::vector<double> divergences;
  float largest;                      // of the logits
  std::vector<float> logits, scores;  // [V]
};

/// Compares sayings step by step. What two engines' numbers differ by where they choose the same token is what a
/// difference elsewhere may hang on: the lead of a token's score over another's, the distance of a log-probability from
/// the filter's threshold, or the lead of a layer's divergence over another's.
class Agreement {
 public:
  struct Result {
    int unexplained = 0;
    std::string text;
  };

  void add(const Saying& own, const Saying& other) {
    ++steps_;
    if (own.best != other.best) return differ(own, other);
    const bool same_layer = own.layer() == other.layer();
    for (std::size_t k = 0; k < own.divergences.size(); ++k)
      layer_noise_ = std::max(layer_noise_, std::abs(own.divergences[k] - other.divergences[k]) / own.divergences[k]);
    for (std::size_t v = 0; v < own.scores.size(); ++v) {
      const auto id = static_cast<TokenId>(v);
      if (above_threshold(own, id) < 0) continue;
      filter_noise_ = std::max(filter_noise_, std::abs(above_threshold(own, id) - above_threshold(other, id)));
      if (same_layer && kept(own, id) && kept(other, id))
        score_noise_ = std::max(score_noise_, std::abs(lead(own, own.best, id) - lead(other, own.best, id)));
    }
  }

  /// Of all that was added.
  [[nodiscard]] Result explain() const {
    Result result;
    int near = 0;
    int filtered = 0;
    int layers = 0;
    double widest = 0;
    for (const Difference& d : differences_) {
      if (d.layer_lead > 0 && d.layer_lead <= 2 * layer_noise_) {
        ++layers;
      } else if (d.filter_distance > 0) {
        ++(d.filter_distance <= filter_noise_ ? filtered : result.unexplained);
      } else {
        widest = std::max(widest, d.lead);
        ++(d.lead <= score_noise_ ? near : result.unexplained);
      }
    }
    char text[320];
    std::snprintf(text, sizeof(text),
                  "%d steps, %d differ: %d by a lead of up to %.3f (elsewhere leads differ by up to %.3f), %d at the "
                  "filter (%.3f), %d by another layer (%.1f %%), %d unexplained",
                  steps_, static_cast<int>(differences_.size()), near, widest, score_noise_, filtered, filter_noise_,
                  layers, 100 * layer_noise_, result.unexplained);
    result.text = text;
    return result;
  }

 private:
  static constexpr double kFilter = 2.302585092994046;  // ln 10: relative_top of all modes is 0.1

  struct Difference {
    double lead = 0;             // of our choice over the other engine's, in our scores
    double filter_distance = 0;  // of one of them from the threshold in the engine that masks it; 0: neither does
    double layer_lead = 0;       // of the layer that we take over the other engine's, in parts of its divergence
  };

  static bool kept(const Saying& s, TokenId id) { return s.score(id) > -1000; }  // of scores that are masked, too
  static double lead(const Saying& s, TokenId a, TokenId b) {
    return static_cast<double>(s.score(a)) - static_cast<double>(s.score(b));
  }
  static double above_threshold(const Saying& s, TokenId id) {
    return static_cast<double>(s.logit(id)) - static_cast<double>(s.largest) + kFilter;
  }

  void differ(const Saying& own, const Saying& other) {
    Difference d;
    if (!kept(own, other.best)) d.filter_distance = -above_threshold(own, other.best);
    if (!kept(other, own.best)) d.filter_distance = std::max(d.filter_distance, -above_threshold(other, own.best));
    if (d.filter_distance == 0) d.lead = lead(own, own.best, other.best);
    if (own.layer() != other.layer()) d.layer_lead = 1 - own.divergences[other.layer()] / own.divergences[own.layer()];
    differences_.push_back(d);
  }

  int steps_ = 0;
  double score_noise_ = 0;
  double filter_noise_ = 0;
  double layer_noise_ = 0;
  std::vector<Difference> differences_;
};

}  // namespace activation_trace::test
