// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "generation/fake_model.hpp"
#include "support/oracle.hpp"

// The steps of processors/README.md 1 to 4 over a FakeModel, as plainly as they can be written, in double.
namespace activation_trace::test {

inline std::vector<double> widened(std::span<const float> values) { return {values.begin(), values.end()}; }

/// One text.
struct StepOracle {
  const FakeModel& model;
  GenerationOptions options;
  std::vector<TokenId> prompt;
  const FakeModel* amateur = nullptr;  ///< none: the trigram model
  bool amateur_sees_prompt = true;

  struct Step {
    std::vector<double> scores;  ///< before the choice
    Index layer = -1;            ///< DoLa's
    std::vector<double> log_probs;
    std::vector<double> entropy;
  };

  [[nodiscard]] Step step(const std::vector<TokenId>& generated) const {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    std::vector<TokenId> text = prompt;
    text.insert(text.end(), generated.begin(), generated.end());
    const Index blocks = model.config().layers;
    const auto resolved = [&](Index layer) { return layer < 0 ? layer + blocks + 1 : layer; };
    const auto logits = [&](Index layer) { return widened(model.logits_of(layer, text.back())); };
    const std::size_t vocab = logits(blocks).size();

    Step result;
    const std::vector<double> z = logits(resolved(options.mature_layer.value_or(blocks)));
    const std::vector<double> lp = testing::log_softmax(z);
    result.log_probs = lp;
    std::vector<double> sorted = lp;
    std::sort(sorted.rbegin(), sorted.rend());
    const double lowest = std::min(sorted[static_cast<std::size_t>(options.min_tokens_to_keep) - 1],
                                   sorted[0] + std::log(static_cast<double>(options.relative_top)));
    const auto kept = [&](std::size_t v) { return options.relative_top == 0 || lp[v] >= lowest; };

    // The context.
    const Index info = resolved(options.info_layer.value_or(4));
    Matrix hidden{0, 6, {}};
    const std::size_t positions = options.context_growth == ContextGrowth::growing ? text.size() : prompt.size();
    for (std::size_t i = 0; i < positions; ++i) {
      const auto position = static_cast<Index>(i);
      if (position < options.context.begin || position >= options.context.end) continue;
      const std::vector<float> row = model.state(info, position, text[i]);
      hidden.data.insert(hidden.data.end(), row.begin(), row.end());
      ++hidden.rows;
    }
    result.entropy = reference_entropies(hidden, model.lm_head());

    // The mode.
    const auto alpha = static_cast<double>(options.alpha);
    std::vector<double> scores(vocab);
    switch (options.decoding_mode) {
      case DecodingMode::baseline: scores = z; break;
      case DecodingMode::activation:
        for (std::size_t v = 0; v < vocab; ++v)
          scores[v] = (on_logits() ? z : lp)[v] + alpha * strategy(hidden, v, result.entropy[v]);
        break;
      case DecodingMode::dola_static:
      case DecodingMode::dola:
      case DecodingMode::activation_dola: {
        double largest = -1;
        for (const Index candidate : options.candidate_layers) {
          const double d =
              testing::layer_divergence(lp, testing::log_softmax(logits(resolved(candidate))), options.divergence);
          if (d <= largest) continue;
          largest = d;
          result.layer = resolved(candidate);
        }
        const std::vector<double> raw = logits(result.layer);
        const std::vector<double> early = testing::log_softmax(raw);
        const bool with_entropy = options.decoding_mode == DecodingMode::activation_dola;
        for (std::size_t v = 0; v < vocab; ++v) {
          scores[v] = lp[v] - early[v];
          if (with_entropy && options.activation_dola_base == DolaBase::logits) scores[v] = lp[v] - raw[v];
          if (!with_entropy && options.relative_top == 0) scores[v] = z[v] - raw[v];
          if (with_entropy && options.strategy == DecodingStrategy::entropy) scores[v] -= alpha * result.entropy[v];
        }
        break;
      }
      case DecodingMode::contrastive: {
        std::vector<TokenId> seen = text;
        if (!amateur_sees_prompt) seen.erase(seen.begin(), seen.begin() + static_cast<Index>(prompt.size()) - 1);
        const std::vector<double> a =
            amateur != nullptr ? widened(amateur->logits_of(amateur->config().layers, text.back())) : trigram(seen);
        const std::vector<double> a_lp = testing::log_softmax(a);
        const double weight =
            static_cast<double>(options.contrastive_coefficient) / static_cast<double>(options.student_temperature);
        for (std::size_t v = 0; v < vocab; ++v)
          scores[v] = options.relative_top == 0 ? z[v] - weight * a[v] : lp[v] - weight * a_lp[v];
        break;
      }
    }
    if (options.decoding_mode != DecodingMode::baseline && !on_logits())
      for (std::size_t v = 0; v < vocab; ++v)
        if (!kept(v)) scores[v] = -infinity;

    // Bias and penalties.
    for (const auto& [id, bias] : options.logit_bias) scores[static_cast<std::size_t>(id)] += static_cast<double>(bias);
    const std::set<TokenId> seen(text.begin(), text.end());
    const auto penalty = static_cast<double>(options.repetition_penalty);
    for (const TokenId id : seen) {
      double& s = scores[static_cast<std::size_t>(id)];
      s = s < 0 ? s * penalty : s / penalty;
    }
    const std::set<TokenId> distinct(generated.begin(), generated.end());
    for (const TokenId id : distinct)
      scores[static_cast<std::size_t>(id)] -= static_cast<double>(options.presence_penalty);
    for (const TokenId id : generated)
      scores[static_cast<std::size_t>(id)] -= static_cast<double>(options.frequency_penalty);
    result.scores = scores;
    return result;
  }

 private:
  // The published first commit leaves no token out.
  [[nodiscard]] bool on_logits() const { return options.strategy_base == StrategyBase::logits; }

  // 1.6
  [[nodiscard]] double strategy(const Matrix& hidden, std::size_t v, double entropy) const {
    std::vector<double> s;
    for (Index i = 0; i < hidden.rows; ++i) {
      double product = 0;
      for (Index k = 0; k < hidden.cols; ++k) product += hidden.at(i, k) * model.lm_head().at(static_cast<Index>(v), k);
      s.push_back(product);
    }
    const std::vector<double> p = testing::log_softmax(s);
    switch (options.strategy) {
      case DecodingStrategy::entropy: return -entropy;
      case DecodingStrategy::single_entropy: return 0;
      case DecodingStrategy::subject: return std::exp(p[static_cast<std::size_t>(options.subject_key)]);
      case DecodingStrategy::entropy_inverse: return 1 / entropy;
      case DecodingStrategy::tendency: return s.back() - s.front();
      case DecodingStrategy::ema: {
        double e = s.front();
        for (std::size_t i = 1; i < s.size(); ++i) e = 0.9 * e + 0.1 * s[i];
        return e;
      }
      case DecodingStrategy::majority_voting:
        return static_cast<double>(std::count_if(p.begin(), p.end(), [&](double x) {
          return std::exp(x) > static_cast<double>(options.majority_threshold);
        }));
    }
    return 0;
  }

  // Counts of three in a row, 0.1 added.
  [[nodiscard]] std::vector<double> trigram(const std::vector<TokenId>& text) const {
    const auto vocab = static_cast<std::size_t>(model.config().vocab);
    std::map<TokenId, double> counts;
    double total = 0;
    for (std::size_t i = 2; i < text.size(); ++i)
      if (text[i - 2] == text[text.size() - 2] && text[i - 1] == text[text.size() - 1]) {
        ++counts[text[i]];
        ++total;
      }
    std::vector<double> result(vocab);
    for (std::size_t v = 0; v < vocab; ++v)
      result[v] = std::log((counts[static_cast<TokenId>(v)] + 0.1) / (total + 0.1 * static_cast<double>(vocab)));
    return result;
  }
};

/// The largest; `gap` becomes its distance to the second.
inline TokenId plain_argmax(const std::vector<double>& scores, double& gap) {
  const auto best = std::max_element(scores.begin(), scores.end());
  gap = std::numeric_limits<double>::infinity();
  for (auto s = scores.begin(); s != scores.end(); ++s)
    if (s != best) gap = std::min(gap, *best - *s);
  return static_cast<TokenId>(best - scores.begin());
}

}  // namespace activation_trace::test
