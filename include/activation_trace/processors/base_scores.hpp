// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/processors/contrastive.hpp"
#include "activation_trace/processors/dola.hpp"
#include "activation_trace/processors/mode.hpp"

// What a mode makes of the models' logits before a context's entropies are subtracted: one function per mode, for
// generation and scoring alike (processors/README.md 8).
namespace activation_trace {
inline namespace v0 {

/// What the models say at one position. Views of their memory.
struct StepLogits {
  std::span<const float> mature;        ///< [V]
  MatrixView<const float> early = {};   ///< [C, V] of the premature layers, for the DoLa modes
  std::span<const float> amateur = {};  ///< [V], for contrastive decoding
};

/// A mode's processor, by what it does. Copies share it.
struct BaseScores {
  /// `scores`[V], which hold logits.mature and may be its memory, become the mode's; empty where they are that.
  std::function<void(const StepLogits& logits, std::span<float> scores)> process = {};
  std::shared_ptr<const DolaProcessor> dola = {};  ///< the one that chooses a layer, if one does
};

/// What scoring makes of a DoLa's differences.
struct ScoringForm {
  DolaOutput output = DolaOutput::log_probs;  ///< whether they are normalised again
  float masked_value = -1000;                 ///< in place of what the filter rejects
};

/// What base_scores() makes a processor for.
struct BaseUse {
  std::span<const Index> early;             ///< the premature layers as 0..N
  Execution<Host>& execution;               ///< must outlive the processor
  std::optional<ScoringForm> scoring = {};  ///< none: generation
};

/// What a mode's DoLa does.
template <class M>
[[nodiscard]] DolaOptions dola_options(const M& mode, const std::optional<ScoringForm>& scoring = {}) {
  DolaOptions options{.filter = mode.filter};
  if constexpr (requires { mode.divergence; }) options.divergence = mode.divergence;
  if constexpr (requires { mode.base; }) {
    options.base = mode.base.value_or(scoring ? DolaBase::log_probs : DolaBase::logits);
    options.unfiltered = Unfiltered::log_probs;
  }
  if (scoring) {
    options.unfiltered = Unfiltered::log_probs;
    options.output = scoring->output;
    options.masked_value = scoring->masked_value;
  }
  return options;
}

/// The processor of a mode, which is one that validate() accepts.
[[nodiscard]] BaseScores base_scores(const Mode& mode, const BaseUse& use);

#if ACTIVATION_TRACE_BODIES

namespace detail {

inline BaseScores dola_scores(const DolaOptions& options, const BaseUse& use) {
  auto dola =
      std::make_shared<DolaProcessor>(std::vector<Index>(use.early.begin(), use.early.end()), options, use.execution);
  auto process = [dola](const StepLogits& logits, std::span<float> scores) {
    dola->observe_layers(logits.early);
    dola->process(scores);
  };
  return {std::move(process), std::move(dola)};
}

// One for each mode.

inline BaseScores scores_of(const Baseline&, const BaseUse&) { return {}; }

inline BaseScores scores_of(const Activation&, const BaseUse&) { return {}; }

inline BaseScores scores_of(const DolaStatic& mode, const BaseUse& use) {
  return dola_scores(dola_options(mode, use.scoring), use);
}

inline BaseScores scores_of(const Dola& mode, const BaseUse& use) {
  return dola_scores(dola_options(mode, use.scoring), use);
}

inline BaseScores scores_of(const ActivationDola& mode, const BaseUse& use) {
  return dola_scores(dola_options(mode, use.scoring), use);
}

inline BaseScores scores_of(const Contrastive& mode, const BaseUse& use) {
  const ContrastiveOptions options{.coefficient = mode.coefficient,
                                   .student_temperature = mode.student_temperature,
                                   .filter = mode.filter,
                                   .unfiltered = use.scoring ? Unfiltered::log_probs : Unfiltered::logits};
  auto contrastive = std::make_shared<ContrastiveProcessor>(options, use.execution);
  return {.process = [contrastive = std::move(contrastive)](const StepLogits& logits, std::span<float> scores) {
    contrastive->observe_amateur(logits.amateur);
    contrastive->process(scores);
  }};
}

}  // namespace detail

ACTIVATION_TRACE_COMPILED_INLINE BaseScores base_scores(const Mode& mode, const BaseUse& use) {
  return std::visit([&](const auto& m) { return detail::scores_of(m, use); }, mode);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
