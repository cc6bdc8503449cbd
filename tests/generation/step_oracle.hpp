// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <variant>
#include <vector>

#include "generation/fake_model.hpp"
#include "support/mode_fields.hpp"
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
    const ModeFields mode(options);
    std::vector<TokenId> text = prompt;
    text.insert(text.end(), generated.begin(), generated.end());
    const Index blocks = model.config().layers;
    const auto logits = [&](Index layer) { return widened(model.logits_of(layer, text.back())); };
    const std::size_t vocab = logits(blocks).size();

    Step result;
    const std::vector<double> z = logits(resolved(mode.mature_layer.value_or(blocks)));
    const std::vector<double> lp = test::log_softmax(z);
    result.log_probs = lp;
    const double lowest = threshold(mode.filter, lp);

    const Matrix hidden = context(mode, text);
    result.entropy = reference_entropies(hidden, model.lm_head_matrix());

    const auto alpha = static_cast<double>(mode.alpha);
    std::vector<double> scores(vocab);
    const bool on_logits = mode.strategy_base == StrategyBase::logits;  // published so: leaves no token out
    if (std::holds_alternative<Baseline>(options.mode)) {
      scores = z;
    } else if (std::holds_alternative<Activation>(options.mode)) {
      for (std::size_t v = 0; v < vocab; ++v)
        scores[v] = (on_logits ? z : lp)[v] + alpha * strategy(mode, hidden, v, result.entropy[v]);
    } else if (!std::holds_alternative<Contrastive>(options.mode)) {
      double largest = -1;
      for (const Index candidate : mode.premature_layers) {
        const double d = test::layer_divergence(lp, test::log_softmax(logits(resolved(candidate))), mode.divergence);
        if (d <= largest) continue;
        largest = d;
        result.layer = resolved(candidate);
      }
      const std::vector<double> raw = logits(result.layer);
      const std::vector<double> early = test::log_softmax(raw);
      const bool with_entropy = std::holds_alternative<ActivationDola>(options.mode);
      for (std::size_t v = 0; v < vocab; ++v) {
        scores[v] = lp[v] - early[v];
        if (with_entropy && mode.dola_base.value_or(DolaBase::logits) == DolaBase::logits) scores[v] = lp[v] - raw[v];
        if (!with_entropy && mode.filter.relative_top == 0) scores[v] = z[v] - raw[v];
        if (with_entropy && mode.strategy == ContextStrategy::entropy) scores[v] -= alpha * result.entropy[v];
      }
    } else {
      const std::vector<double> a = amateur_logits(text);
      const std::vector<double> a_lp = test::log_softmax(a);
      const double weight = static_cast<double>(mode.coefficient) / static_cast<double>(mode.student_temperature);
      for (std::size_t v = 0; v < vocab; ++v)
        scores[v] = mode.filter.relative_top == 0 ? z[v] - weight * a[v] : lp[v] - weight * a_lp[v];
    }
    if (!std::holds_alternative<Baseline>(options.mode) && !on_logits)
      for (std::size_t v = 0; v < vocab; ++v)
        if (lp[v] < lowest) scores[v] = -infinity;

    add_penalties(text, generated, scores);
    result.scores = scores;
    return result;
  }

 private:
  [[nodiscard]] Index resolved(Index layer) const { return layer < 0 ? layer + model.config().layers + 1 : layer; }

  [[nodiscard]] static double threshold(const RelativeTopOptions& filter, std::vector<double> log_probs) {
    if (filter.relative_top == 0) return -std::numeric_limits<double>::infinity();
    std::sort(log_probs.rbegin(), log_probs.rend());
    return std::min(log_probs[static_cast<std::size_t>(filter.min_tokens_to_keep) - 1],
                    log_probs[0] + std::log(static_cast<double>(filter.relative_top)));
  }

  /// The states that the mode reads.
  [[nodiscard]] Matrix context(const ModeFields& mode, const std::vector<TokenId>& text) const {
    const Index info = resolved(mode.context.info_layer.value_or(4));
    Matrix hidden{0, 6, {}};
    const std::size_t positions = mode.context.growth == ContextGrowth::growing ? text.size() : prompt.size();
    for (std::size_t i = 0; i < positions; ++i) {
      const auto position = static_cast<Index>(i);
      if (position < mode.context.span.begin || position >= mode.context.span.end) continue;
      const std::vector<float> row = model.state(info, position, text[i]);
      hidden.data.insert(hidden.data.end(), row.begin(), row.end());
      ++hidden.rows;
    }
    return hidden;
  }

  [[nodiscard]] std::vector<double> amateur_logits(const std::vector<TokenId>& text) const {
    std::vector<TokenId> seen = text;
    if (!amateur_sees_prompt) seen.erase(seen.begin(), seen.begin() + static_cast<Index>(prompt.size()) - 1);
    return amateur != nullptr ? widened(amateur->logits_of(amateur->config().layers, text.back())) : trigram(seen);
  }

  /// Bias and penalties.
  void add_penalties(const std::vector<TokenId>& text, const std::vector<TokenId>& generated,
                     std::vector<double>& scores) const {
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
  }

  // 1.6
  [[nodiscard]] double strategy(const ModeFields& mode, const Matrix& hidden, std::size_t v, double entropy) const {
    std::vector<double> s;
    for (Index i = 0; i < hidden.rows; ++i) {
      double product = 0;
      for (Index k = 0; k < hidden.cols; ++k)
        product += hidden.at(i, k) * model.lm_head_matrix().at(static_cast<Index>(v), k);
      s.push_back(product);
    }
    const std::vector<double> p = test::log_softmax(s);
    switch (mode.strategy) {
      case ContextStrategy::entropy: return -entropy;
      case ContextStrategy::single_entropy: return 0;
      case ContextStrategy::subject: return std::exp(p[static_cast<std::size_t>(mode.subject_key)]);
      case ContextStrategy::entropy_inverse: return 1 / entropy;
      case ContextStrategy::tendency: return s.back() - s.front();
      case ContextStrategy::ema: {
        double e = s.front();
        for (std::size_t i = 1; i < s.size(); ++i) e = 0.9 * e + 0.1 * s[i];
        return e;
      }
      case ContextStrategy::majority_voting:
        return static_cast<double>(std::count_if(
            p.begin(), p.end(), [&](double x) { return std::exp(x) > static_cast<double>(mode.majority_threshold); }));
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
