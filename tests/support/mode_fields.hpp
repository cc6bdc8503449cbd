// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <type_traits>
#include <variant>
#include <vector>

#include "activation_trace/generation/options.hpp"
#include "activation_trace/processors/mode.hpp"

namespace activation_trace::test {

/// What oracles read of any mode: its fields, read one by one, those that it has not at their defaults.
struct ModeFields {
  std::optional<Index> mature_layer = {};
  std::vector<Index> premature_layers = {};
  LayerDivergence divergence = LayerDivergence::reference;
  RelativeTopOptions filter = {};
  ContextOptions context = {};
  float alpha = 0;
  ContextStrategy strategy = ContextStrategy::entropy;
  StrategyBase strategy_base = StrategyBase::log_probs;
  Index subject_key = 0;
  float majority_threshold = 0;
  std::optional<DolaBase> dola_base = {};
  float coefficient = 0;
  float student_temperature = 1;

  explicit ModeFields(const Mode& mode) {
    std::visit([this](const auto& m) { read(m); }, mode);
  }

  /// The same, with the context and filter of the records where the mode has none.
  explicit ModeFields(const GenerationOptions& options) {
    if (options.record) {
      context = options.record->context;
      filter = options.record->filter;
    }
    std::visit([this](const auto& m) { read(m); }, options.mode);
  }

 private:
  template <class M>
  void read(const M& m) {
    mature_layer = m.mature_layer;
    if constexpr (!std::is_same_v<M, Baseline>) filter = m.filter;
    if constexpr (std::is_same_v<M, DolaStatic>) premature_layers = {m.premature_layer.value()};
    if constexpr (std::is_same_v<M, Dola> || std::is_same_v<M, ActivationDola>) {
      premature_layers = m.candidate_layers;
      divergence = m.divergence;
    }
    if constexpr (std::is_same_v<M, Activation> || std::is_same_v<M, ActivationDola>) {
      alpha = m.alpha;
      context = m.context;
      strategy = m.strategy;
    }
    if constexpr (std::is_same_v<M, Activation>) {
      strategy_base = m.base;
      subject_key = m.subject_key;
      majority_threshold = m.majority_threshold;
    }
    if constexpr (std::is_same_v<M, ActivationDola>) dola_base = m.base;
    if constexpr (std::is_same_v<M, Contrastive>) {
      coefficient = m.coefficient;
      student_temperature = m.student_temperature;
    }
  }
};

/// Sets alpha of a mode that has one.
inline void set_alpha(Mode& mode, float alpha) {
  if (auto* activation = std::get_if<Activation>(&mode)) activation->alpha = alpha;
  if (auto* on_dola = std::get_if<ActivationDola>(&mode)) on_dola->alpha = alpha;
}

/// Calls change(context) for every context that the options have: the mode's, and that of records.
template <class Change>
void change_contexts(GenerationOptions& options, const Change& change) {
  if (auto* activation = std::get_if<Activation>(&options.mode)) change(activation->context);
  if (auto* on_dola = std::get_if<ActivationDola>(&options.mode)) change(on_dola->context);
  if (options.record) change(options.record->context);
}

}  // namespace activation_trace::test
