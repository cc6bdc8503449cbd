// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/context_strategy_options.hpp"
#include "activation_trace/processors/contrastive_options.hpp"
#include "activation_trace/processors/dola_options.hpp"
#include "activation_trace/processors/sharpness_options.hpp"

// What a token's score is, before penalties (processors/README.md 1 to 4): a mode is one struct, and all there is to
// say about it is in it: its name, its options with their meaning, and what of them cannot be. Command lines, manifests
// and messages come from describe(), in code that names no mode and no option. lp is the log-probability at the mature
// layer; all but Baseline mask what the plausibility filter rejects.
namespace activation_trace {
inline namespace v0 {

/// What the context's entropy is over: the prompt, or the prompt and every token generated so far.
enum class ContextGrowth { prompt, growing };

template <>
struct EnumNames<ContextGrowth> {
  static constexpr std::pair<ContextGrowth, std::string_view> all[] = {{ContextGrowth::prompt, "prompt"},
                                                                       {ContextGrowth::growing, "growing"}};
};

/// Which hidden states are the context, and as what they are read.
struct ContextOptions {
  std::optional<Index> info_layer = {};          ///< hidden state 0..N, negative from the end; none: default_info_layer
  ContextSpan span = {};                         ///< positions that count
  bool final_norm = false;                       ///< normalised as before the LM head; those of N are already
  ContextGrowth growth = ContextGrowth::prompt;  ///< of generation

  friend bool operator==(const ContextOptions&, const ContextOptions&) = default;
  /// Throws ArgumentError for a span that is no range, and for a growing context whose span has an end.
  void validate() const;

  static void describe(auto& self, auto&& field) {
    field("info_layer", self.info_layer, "hidden state 0..N that is read, negative from the end (default: 80 % of N)");
    field("context_span", self.span, "positions of it that count, BEGIN:END; 1: leaves out BOS");
    field("final_norm", self.final_norm, "normalise the hidden states as before the LM head");
    field("context_growth", self.growth, "whether generated tokens join the context");
  }
};

namespace detail {

void describe_mature_layer(auto& layer, auto&& field) {
  field("mature_layer", layer, "the layer that decides (default: N)");
}

}  // namespace detail

/// The logit; in a beam search and in scoring lp.
struct Baseline {
  static constexpr std::string_view name = "baseline";

  std::optional<Index> mature_layer = {};  ///< whose logits decide; none: N

  friend bool operator==(const Baseline&, const Baseline&) = default;
  /// Every value will do.
  void validate() const {}

  static void describe(auto& self, auto&& field) { detail::describe_mature_layer(self.mature_layer, field); }
};

/// lp minus that of one premature layer.
struct DolaStatic {
  static constexpr std::string_view name = "dola_static";

  std::optional<Index> premature_layer = {};  ///< 0..N, negative from the end; there is no default
  std::optional<Index> mature_layer = {};     ///< whose logits decide; none: N
  RelativeTopOptions filter = {};             ///< on lp at the mature layer

  friend bool operator==(const DolaStatic&, const DolaStatic&) = default;
  /// Throws ArgumentError without a premature_layer, and as the filter's.
  void validate() const;

  static void describe(auto& self, auto&& field) {
    field("premature_layer", self.premature_layer, "the layer that mode dola_static subtracts");
    detail::describe_mature_layer(self.mature_layer, field);
    RelativeTopOptions::describe(self.filter, field);
  }
};

/// lp minus that of the candidate layer that diverges most at this step.
struct Dola {
  static constexpr std::string_view name = "dola";

  std::vector<Index> candidate_layers = {};                 ///< premature layers, one or more
  std::optional<Index> mature_layer = {};                   ///< whose logits decide; none: N
  LayerDivergence divergence = LayerDivergence::reference;  ///< by which the candidate layer is chosen
  RelativeTopOptions filter = {};                           ///< on lp at the mature layer

  friend bool operator==(const Dola&, const Dola&) = default;
  /// Throws ArgumentError without candidate_layers, and as the filter's.
  void validate() const;

  static void describe(auto& self, auto&& field) {
    field("candidate_layers", self.candidate_layers, "premature layers that are compared, 0,2,4");
    detail::describe_mature_layer(self.mature_layer, field);
    field("divergence", self.divergence, "by which the layer is chosen");
    RelativeTopOptions::describe(self.filter, field);
  }
};

/// lp minus alpha times context entropy, or another strategy.
struct Activation {
  static constexpr std::string_view name = "activation";

  float alpha = 0.5f;                                   ///< 0 to 1e30
  RelativeTopOptions filter = {};                       ///< on lp
  ContextOptions context = {};                          ///< what the entropies are over
  ContextStrategy strategy = ContextStrategy::entropy;  ///< what of the context is added, times alpha
  StrategyBase base = StrategyBase::log_probs;          ///< of the strategies from subject on
  Index subject_key = 0;                                ///< position within the context, of strategy subject
  float majority_threshold = 0.001f;                    ///< probability, of strategy majority_voting
  std::optional<Index> mature_layer = {};               ///< whose logits decide; none: N

  friend bool operator==(const Activation&, const Activation&) = default;
  /// Throws ArgumentError for a number out of its range, for raw logits as base of entropy or single_entropy, and as
  /// filter and context do.
  void validate() const;
  /// Whether the option of that key makes a difference with this strategy and base.
  [[nodiscard]] bool has_use(std::string_view key) const;

  static void describe(auto& self, auto&& field) {
    field("alpha", self.alpha, "weight of the entropy");
    RelativeTopOptions::describe(self.filter, field);
    ContextOptions::describe(self.context, field);
    field("decoding_strategy", self.strategy, "what of the context is added");
    field("strategy_base", self.base,
          "to what, from subject on: log-probabilities that passed the filter, or as "
          "published the raw logits of all tokens");
    field("subject_key", self.subject_key, "position of strategy subject");
    field("majority_threshold", self.majority_threshold, "probability of strategy majority_voting");
    detail::describe_mature_layer(self.mature_layer, field);
  }
};

/// Dola, minus alpha times context entropy.
struct ActivationDola {
  static constexpr std::string_view name = "activation_dola";

  float alpha = 0.5f;                                       ///< 0 to 1e30
  RelativeTopOptions filter = {};                           ///< on lp, before DoLa subtracts
  ContextOptions context = {};                              ///< what the entropies are over
  ContextStrategy strategy = ContextStrategy::entropy;      ///< or single_entropy
  std::vector<Index> candidate_layers = {};                 ///< premature layers, one or more
  std::optional<Index> mature_layer = {};                   ///< whose logits decide; none: N
  LayerDivergence divergence = LayerDivergence::reference;  ///< by which the candidate layer is chosen
  /// What is subtracted; none: as published, in generation the raw logits (a number per step away from the
  /// log-probabilities, and no other choice without a repetition penalty, whose factor depends on signs), and in
  /// scoring log-probabilities.
  std::optional<DolaBase> base = {};

  friend bool operator==(const ActivationDola&, const ActivationDola&) = default;
  /// Throws ArgumentError for an alpha out of its range, without candidate_layers, for another strategy than entropy
  /// and single_entropy, and as filter and context do.
  void validate() const;
  /// Whether the option of that key makes a difference with this strategy.
  [[nodiscard]] bool has_use(std::string_view key) const {
    return key != "alpha" || strategy != ContextStrategy::single_entropy;
  }

  static void describe(auto& self, auto&& field) {
    field("alpha", self.alpha, "weight of the entropy");
    RelativeTopOptions::describe(self.filter, field);
    ContextOptions::describe(self.context, field);
    field("decoding_strategy", self.strategy, "what of the context is added");
    field("candidate_layers", self.candidate_layers, "premature layers that are compared, 0,2,4");
    detail::describe_mature_layer(self.mature_layer, field);
    field("divergence", self.divergence, "by which the layer is chosen");
    field("activation_dola_base", self.base,
          "what activation_dola subtracts (default, as published: logits in generation, log_probs in scoring)");
  }
};

/// lp minus a coefficient times an amateur's, who is an argument of the call.
struct Contrastive {
  static constexpr std::string_view name = "contrastive";

  float coefficient = 1;                   ///< of the amateur, >= 0, and over student_temperature at most 1e30
  float student_temperature = 1;           ///< divides the amateur's log-probabilities; > 0
  std::optional<Index> mature_layer = {};  ///< whose logits decide; none: N
  RelativeTopOptions filter = {};          ///< on the expert's lp

  friend bool operator==(const Contrastive&, const Contrastive&) = default;
  /// Throws ArgumentError for a number out of its range, and as the filter's.
  void validate() const;

  static void describe(auto& self, auto&& field) {
    field("contrastive_coefficient", self.coefficient, "weight of the amateur");
    field("student_temperature", self.student_temperature, "divides its logits");
    detail::describe_mature_layer(self.mature_layer, field);
    RelativeTopOptions::describe(self.filter, field);
  }
};

/// What steps are recorded by in modes that read no context; those that do are recorded by their own.
struct RecordOptions {
  ContextOptions context = {};     ///< what recorded entropies are over
  RelativeTopOptions filter = {};  ///< of modes that have none

  friend bool operator==(const RecordOptions&, const RecordOptions&) = default;
};

/// The default is activation decoding as published.
using Mode = std::variant<Activation, Baseline, DolaStatic, Dola, ActivationDola, Contrastive>;

/// Calls visit(M{}) for every mode.
template <class Visit>
void for_each_mode(Visit&& visit) {
  [&]<class... M>(std::variant<M...>*) { (visit(M{}), ...); }(static_cast<Mode*>(nullptr));
}

/// What command lines and manifests call the mode, "activation_dola".
[[nodiscard]] inline std::string_view name(const Mode& mode) {
  return std::visit([](const auto& m) { return m.name; }, mode);
}

/// Throws ArgumentError naming the first option that cannot be, or the two that make no sense together.
inline void validate(const Mode& mode) {
  std::visit([](const auto& m) { m.validate(); }, mode);
}

/// Calls field(key, value, help) for every option of the mode, in the order in which they are declared. `mode` may be
/// const: then so are the values.
template <class AnyMode, class Field>
requires std::is_same_v<std::remove_const_t<AnyMode>, Mode>
void describe(AnyMode& mode, Field&& field) {
  std::visit([&](auto& m) { std::remove_cvref_t<decltype(m)>::describe(m, field); }, mode);
}

/// Whether the mode has an option of that key, and one that makes a difference to it as it is: of what a mode has for
/// one strategy some means nothing to the others.
[[nodiscard]] bool has_use(const Mode& mode, std::string_view key);

/// The layer whose logits decide, as given; none: N.
[[nodiscard]] inline std::optional<Index> mature_layer(const Mode& mode) {
  return std::visit([](const auto& m) { return m.mature_layer; }, mode);
}

/// The layers that the mode compares with the mature one, as given; none in most modes.
[[nodiscard]] std::vector<Index> premature_layers(const Mode& mode);

/// Whether the mode subtracts what an amateur says, who is an argument of the call.
[[nodiscard]] inline bool needs_amateur(const Mode& mode) { return std::holds_alternative<Contrastive>(mode); }

/// The context that the mode reads; null if it reads none.
[[nodiscard]] const ContextOptions* context_of(const Mode& mode);

/// The mode's plausibility filter; null if it has none.
[[nodiscard]] const RelativeTopOptions* filter_of(const Mode& mode);

/// The weight of the context's entropy in a score; none in modes that weigh it not.
[[nodiscard]] std::optional<float> entropy_weight(const Mode& mode);

namespace detail {

inline void require(bool ok, const std::string& problem) {
  if (!ok) throw ArgumentError(problem);
}

template <class Number>
void require(bool ok, const char* option, const char* expected, Number found) {
  if (!ok) throw ArgumentError(std::string(option) + ": expected " + expected + ", got " + std::to_string(found));
}

inline void require_candidates(const std::vector<Index>& layers, std::string_view mode) {
  require(!layers.empty(), "candidate_layers: decoding_mode " + std::string(mode) + " needs at least one");
}

/// What `member` gives of the mode, nothing of modes that it does not take: its result names what a mode must have.
template <class Result, class Member>
Result where_there_is(const Mode& mode, Member member) {
  return std::visit(
      [&](const auto& m) -> Result {
        if constexpr (std::is_invocable_v<Member, decltype(m)>) return member(m);
        return {};
      },
      mode);
}

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void ContextOptions::validate() const {
  detail::check_context(span, std::nullopt);
  detail::require(
      growth == ContextGrowth::prompt || span.end == std::numeric_limits<Index>::max(),
      "context_growth growing: the context span ends at " + std::to_string(span.end) + ", so nothing would join it");
}

ACTIVATION_TRACE_COMPILED_INLINE void DolaStatic::validate() const {
  detail::require(premature_layer.has_value(), "premature_layer: decoding_mode dola_static needs one");
  filter.validate();
}

ACTIVATION_TRACE_COMPILED_INLINE void Dola::validate() const {
  detail::require_candidates(candidate_layers, name);
  filter.validate();
}

ACTIVATION_TRACE_COMPILED_INLINE void Activation::validate() const {
  detail::check_alpha(alpha);
  filter.validate();
  context.validate();
  detail::require(base == StrategyBase::log_probs || !reads_entropy(strategy),
                  "strategy_base logits: decoding_strategy " + std::string(activation_trace::name(strategy)) +
                      " is added to log-probabilities");
  detail::require(subject_key >= 0, "subject_key", "a position >= 0", subject_key);
  detail::require(majority_threshold >= 0 && majority_threshold <= 1, "majority_threshold", "a number in [0, 1]",
                  majority_threshold);
}

ACTIVATION_TRACE_COMPILED_INLINE bool Activation::has_use(std::string_view key) const {
  if (key == "relative_top" || key == "min_tokens_to_keep") return base == StrategyBase::log_probs;
  if (key == "alpha") return strategy != ContextStrategy::single_entropy;
  if (key == "strategy_base") return !reads_entropy(strategy);
  if (key == "subject_key") return strategy == ContextStrategy::subject;
  return key != "majority_threshold" || strategy == ContextStrategy::majority_voting;
}

ACTIVATION_TRACE_COMPILED_INLINE void ActivationDola::validate() const {
  detail::check_alpha(alpha);
  filter.validate();
  context.validate();
  detail::require_candidates(candidate_layers, name);
  detail::require(reads_entropy(strategy), "decoding_strategy " + std::string(activation_trace::name(strategy)) +
                                               ": decoding_mode activation_dola knows entropy and single_entropy only");
}

ACTIVATION_TRACE_COMPILED_INLINE void Contrastive::validate() const {
  detail::check_contrastive(coefficient, student_temperature);
  filter.validate();
}

ACTIVATION_TRACE_COMPILED_INLINE bool has_use(const Mode& mode, std::string_view key) {
  bool described = false;
  describe(mode, [&](std::string_view known, const auto&, std::string_view) { described |= known == key; });
  const auto differs = [&](const auto& m) {
    if constexpr (requires { m.has_use(key); }) return m.has_use(key);
    return true;
  };
  return described && std::visit(differs, mode);
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<Index> premature_layers(const Mode& mode) {
  if (const auto* one = std::get_if<DolaStatic>(&mode))
    return one->premature_layer ? std::vector<Index>{*one->premature_layer} : std::vector<Index>{};
  return detail::where_there_is<std::vector<Index>>(
      mode, [](const auto& m) -> decltype(m.candidate_layers) { return m.candidate_layers; });
}

ACTIVATION_TRACE_COMPILED_INLINE const ContextOptions* context_of(const Mode& mode) {
  return detail::where_there_is<const ContextOptions*>(
      mode, [](const auto& m) -> decltype(&m.context) { return &m.context; });
}

ACTIVATION_TRACE_COMPILED_INLINE const RelativeTopOptions* filter_of(const Mode& mode) {
  return detail::where_there_is<const RelativeTopOptions*>(
      mode, [](const auto& m) -> decltype(&m.filter) { return &m.filter; });
}

ACTIVATION_TRACE_COMPILED_INLINE std::optional<float> entropy_weight(const Mode& mode) {
  return detail::where_there_is<std::optional<float>>(mode, [](const auto& m) -> std::optional<decltype(m.alpha)> {
    return m.strategy == ContextStrategy::entropy ? m.alpha : 0;
  });
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
