// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "activation_trace/generation/options.hpp"

namespace activation_trace::test {

/// Beam search written along transformers 5.23's GenerationMixin._beam_search, with its tables of fixed size, its -1e9
/// for what does not count and its flags; in double, ties to the lower index.
struct PlainBeams {
  std::function<std::vector<double>(const std::vector<TokenId>& generated)> log_probs;  ///< [V]
  std::vector<TokenId> eos;
  BeamOptions options;
  Index max_new_tokens;

  struct Result {
    std::vector<TokenId> ids;
    double score;
    double gap;  ///< the smallest difference of two scores that a choice depended on, or less
  };

  [[nodiscard]] Result run() const {
    const auto beams = static_cast<std::size_t>(options.count);
    const auto penalty = static_cast<double>(options.length_penalty);
    const std::size_t to_keep = std::max<std::size_t>(2, 1 + eos.size()) * beams;
    std::vector<std::vector<TokenId>> running(beams);
    std::vector<std::vector<TokenId>> sequences(beams);
    std::vector<double> running_scores(beams, -1e9);
    running_scores[0] = 0;
    std::vector<double> beam_scores(beams, -1e9);
    std::vector<bool> is_finished(beams, false);
    double gap = 1e30;
    for (Index length = 0;;) {
      std::vector<double> accumulated;
      for (std::size_t b = 0; b < beams; ++b)
        for (const double lp : log_probs(running[b])) accumulated.push_back(lp + running_scores[b]);
      const std::size_t vocab = accumulated.size() / beams;
      const std::vector<std::size_t> top = top_k(accumulated, to_keep, gap);
      std::vector<std::vector<TokenId>> candidates;
      std::vector<double> scores;
      std::vector<bool> hits;
      for (const std::size_t i : top) {
        candidates.push_back(running[i / vocab]);
        candidates.back().push_back(static_cast<TokenId>(i % vocab));
        scores.push_back(accumulated[i]);
        hits.push_back(ends(candidates.back()));
      }
      // The beams of the next step.
      std::vector<double> open = scores;
      for (std::size_t i = 0; i < open.size(); ++i)
        if (hits[i]) open[i] += -1e9;
      running.clear();
      running_scores.clear();
      double ignored = 0;
      for (const std::size_t i : top_k(open, beams, ignored)) {
        running.push_back(candidates[i]);
        running_scores.push_back(open[i]);
      }
      // The finished ones.
      std::vector<std::vector<TokenId>> merged = sequences;
      std::vector<double> merged_scores = beam_scores;
      std::vector<bool> merged_finished = is_finished;
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        const bool just_finished = hits[i] && i < beams;
        merged.push_back(candidates[i]);
        merged_scores.push_back(scores[i] / std::pow(static_cast<double>(length + 1), penalty) +
                                (just_finished ? 0 : -1e9));
        merged_finished.push_back(just_finished);
      }
      const std::vector<std::size_t> best = top_k(merged_scores, beams, gap);
      for (std::size_t b = 0; b < beams; ++b) {
        sequences[b] = merged[best[b]];
        beam_scores[b] = merged_scores[best[b]];
        is_finished[b] = merged_finished[best[b]];
      }
      ++length;
      const bool continuations = std::find(hits.begin(), hits.end(), false) != hits.end();
      if (!can_improve(length, running_scores[0], beam_scores, is_finished, gap) || !continuations)
        return {sequences[0], beam_scores[0], gap};
    }
  }

 private:
  [[nodiscard]] bool ends(const std::vector<TokenId>& text) const {
    return std::find(eos.begin(), eos.end(), text.back()) != eos.end() || std::ssize(text) == max_new_tokens;
  }

  /// Whether the best running beam may still come among the finished ones.
  [[nodiscard]] bool can_improve(Index length, double running, const std::vector<double>& beam_scores,
                                 const std::vector<bool>& is_finished, double& gap) const {
    const auto penalty = static_cast<double>(options.length_penalty);
    const Index hypothetical = options.early_stopping == EarlyStopping::never && penalty > 0 ? max_new_tokens : length;
    const double possible = running / std::pow(static_cast<double>(hypothetical), penalty);
    const double worst = *std::min_element(beam_scores.begin(), beam_scores.end());
    bool improvement = false;
    bool all_finished = true;
    for (const bool finished : is_finished) {
      improvement = improvement || possible > (finished ? worst : -1e9);
      all_finished = all_finished && finished;
    }
    if (all_finished) gap = std::min(gap, std::abs(possible - worst));
    return improvement && !(all_finished && options.early_stopping == EarlyStopping::yes);
  }

  static std::vector<std::size_t> top_k(const std::vector<double>& values, std::size_t k, double& gap) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
    for (std::size_t i = 0; i < std::min(k, order.size() - 1); ++i)
      if (values[order[i]] > -1e8) gap = std::min(gap, values[order[i]] - values[order[i + 1]]);
    order.resize(k);
    return order;
  }
};

}  // namespace activation_trace::test
