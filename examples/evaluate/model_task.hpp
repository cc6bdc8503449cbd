// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/multiple_choice.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/generation/prefix_cache.hpp"
#include "activation_trace/generation/validate.hpp"
#include "evaluate/engine.hpp"
#include "evaluate/task.hpp"
#include "support/score_settings.hpp"

namespace activation_trace::examples {

/// As it was typed: 0.1 rather than the double next to 0.1f.
[[nodiscard]] inline double decimal(float x) {
  std::array<char, 32> text{};
  const char* end = std::to_chars(text.begin(), text.end(), x).ptr;
  double result = 0;
  std::from_chars(text.begin(), end, result);
  return result;
}

[[nodiscard]] inline nlohmann::ordered_json number_or_null(const std::optional<Index>& x) {
  return x ? nlohmann::ordered_json(*x) : nullptr;
}

/// The ids that prompts begin with, whatever is asked: known without the data set, so that a sample's numbers do not
/// depend on which others there are. A question that is tokenised otherwise does without.
template <class Prompt>
[[nodiscard]] std::vector<TokenId> common_start(const Engine& engine, const Prompt& prompt) {
  std::vector<std::vector<TokenId>> prompts;
  for (const char* question : {"What", "Is", "the", "1", "\"", "\u00c9t\u00e9"})
    prompts.push_back(engine.encode(prompt(question)));
  return common_prefix(prompts);
}

/// What all tasks have: a mode, and how it generates and scores.
class ModelTask : public Task {
 protected:
  using Json = nlohmann::ordered_json;
  using Texts = std::vector<std::string>;

 public:
  /// `prefix` is what prompts begin with.
  ModelTask(Engine& engine, const TaskSettings& settings, std::vector<TokenId> prefix = {})
      : engine_(engine),
        settings_(settings),
        prefix_(std::move(prefix)),
        score_(score_options(settings.scoring, settings.scoring.columns.front(), engine.checkpoint())) {
    const Index blocks = engine.checkpoint().config.layers;
    if (settings.grid) {
      score_.info_layer = 0;  // each point has its own, and leaves the norm out at layer N
    } else {
      score_.info_layer = activation_trace::detail::resolve_info_layer(score_.info_layer, blocks);
      if (score_.info_layer == blocks) score_.final_norm.reset();  // which h_N has passed
      score_.recording = Recording::always;                        // the detector's signal, in every mode
    }
    score_.prefix = &prefix_;
    score_.validate();
    generation_ = generation_options(settings.scoring, score_);
    generation_.repetition_penalty = settings.repetition_penalty;
    generation_.max_new_tokens = settings.max_new_tokens;
    generation_.eos = engine.end_tokens();
    generation_.stop = {std::string(kNextQuestion)};
  }

  [[nodiscard]] Json options() const override {
    const ScoreOptions& o = score_;
    Json j{{"decoding_mode", name(o.mode)},
           {"decoding_strategy", name(o.strategy)},
           {"alpha", decimal(o.alpha)},
           {"info_layer", *o.info_layer},
           {"final_norm", o.final_norm.has_value()},
           {"candidate_layers", o.candidate_layers},
           {"mature_layer", number_or_null(o.mature_layer)},
           {"early_exit_layers", early_exit_layers()},
           {"divergence", o.divergence == LayerDivergence::reference ? "reference" : "jensen_shannon"},
           {"relative_top", decimal(o.relative_top)},
           {"min_tokens_to_keep", o.min_tokens_to_keep},
           {"context_span", {o.span.begin, o.span.end}},
           {"batch_size", o.prefill_piece}};
    if (settings_.traits.scores)
      j.update({{"context", o.context == ScoreContext::whole ? "whole" : "prompt"},
                {"filter", o.filter == ScoreFilter::on ? "on" : "off"},
                {"single_entropy", o.single_entropy == SingleEntropy::reference ? "reference" : "negated"},
                {"scoring_dola_base", name(o.activation_dola_base)},
                {"relative_top_value", decimal(o.relative_top_value)},
                {"post_softmax", o.post_softmax == DolaOutput::log_probs ? "on" : "off"}});
    if (settings_.traits.generates)
      j.update({{"activation_dola_base", name(generation_.activation_dola_base)},
                {"max_new_tokens", generation_.max_new_tokens},
                {"repetition_penalty", decimal(generation_.repetition_penalty)},
                {"stop", generation_.stop}});
    return j;
  }

 protected:
  /// A text that was generated, and of its tokens what decoding saw.
  struct Answer {
    GenerationResult result;
    std::vector<double> log_probs;
    std::vector<double> entropies;
    std::vector<double> scores;  ///< what they were chosen by, penalties included
    std::vector<Index> layers;   ///< DoLa's, 0..N; empty in other modes
    std::size_t prompt_tokens;

    void add_to(Json& record) const {
      record.update({{"tokens", result.ids}, {"log_probs", log_probs}, {"entropies", entropies}, {"scores", scores}});
      if (!layers.empty()) record["layers"] = layers;
      record["finish"] = name(result.reason);
    }
  };

  [[nodiscard]] Engine& engine() const { return engine_; }
  [[nodiscard]] const TaskSettings& settings() const { return settings_; }
  [[nodiscard]] const ScoreOptions& scoring() const { return score_; }
  [[nodiscard]] const GenerationOptions& generation() const { return generation_; }

  [[nodiscard]] Index generated_positions(const std::string& prompt) const {
    return static_cast<Index>(engine_.encode(prompt).size()) +
           std::min(generation_.max_new_tokens, engine_.checkpoint().config.max_context);
  }
  [[nodiscard]] Index scored_positions(const std::string& prompt, const Texts& true_answers,
                                       const Texts& false_answers) const {
    std::size_t longest = 0;
    for (const std::string& answer : truthfulqa_continuations(true_answers, false_answers))
      longest = std::max(longest, engine_.encode(prompt + answer).size());
    return static_cast<Index>(longest);
  }

  /// Continues the prompts of `samples` and calls finish(sample, answer) for each that ends.
  template <class PromptOf, class Finish>
  void generate(std::span<const Index> samples, const PromptOf& prompt_of, const Finish& finish,
                const std::stop_token& stop) {
    std::vector<std::vector<TokenId>> prompts;
    for (const Index sample : samples) prompts.push_back(engine_.encode(prompt_of(sample)));
    std::vector<Answer> answers(samples.size());
    const auto at = [](Index i) { return static_cast<std::size_t>(i); };
    const GenerationCallbacks callbacks{
        .on_token =
            [&](const GeneratedToken& token) {
              Answer& answer = answers[at(token.sequence)];
              answer.log_probs.push_back(static_cast<double>(token.record->chosen.log_prob));
              answer.entropies.push_back(static_cast<double>(token.record->chosen.entropy));
              answer.scores.push_back(static_cast<double>(token.record->chosen.score));
              if (token.record->layer >= 0) answer.layers.push_back(token.record->layer);
              return Continue::yes;
            },
        .on_finish =
            [&](Index i, const GenerationResult& result) {
              if (result.reason == FinishReason::cancelled) return;
              Answer& answer = answers[at(i)];
              answer.result = result;
              answer.prompt_tokens = prompts[at(i)].size();
              finish(samples[at(i)], answer);
            },
        .stop = stop};
    engine_.generate(prompts, generation_, callbacks);
  }

  /// What multiple choice has to say of a question; none if a stop was asked for before all answers were scored.
  [[nodiscard]] std::optional<Json> choose(const std::string& prompt, const Texts& true_answers,
                                           const Texts& false_answers, Index best, const std::stop_token& stop) {
    const Texts continuations = truthfulqa_continuations(true_answers, false_answers);
    const std::vector<ContinuationScore> scores = engine_.score(prompt, continuations, score_, {.stop = stop});
    if (scores.size() != continuations.size()) return std::nullopt;

    Json record{{"best", best}, {"true", Json::array()}, {"false", Json::array()}};
    if (!scores[0].moved_space.empty()) record["moved_space"] = scores[0].moved_space;
    std::array<std::vector<double>, 2> sums;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const bool is_true = i < true_answers.size();
      const ContinuationScore& s = scores[i];
      Json answer{{"text", is_true ? true_answers[i] : false_answers[i - true_answers.size()]},
                  {"score", s.score},
                  {"log_probs", s.log_probs},
                  {"entropies", s.entropies}};
      if (!s.layers.empty()) answer["layers"] = s.layers;
      record[is_true ? "true" : "false"].push_back(std::move(answer));
      sums[is_true ? 0 : 1].push_back(s.score);
    }
    const MultipleChoiceMetrics metrics = multiple_choice(sums[0], sums[1], best);
    record.update({{"mc1", metrics.mc1},
                   {"mc2", metrics.mc2},
                   {"mc2_reference", metrics.mc2_reference},
                   {"mc3", metrics.mc3},
                   {"max_true", metrics.max_true},
                   {"max_false", metrics.max_false}});
    return record;
  }

 private:
  /// As typed, or what it stands for.
  [[nodiscard]] std::vector<Index> early_exit_layers() const {
    if (!settings_.scoring.bucket || score_.candidate_layers.empty()) return settings_.early_exit_layers;
    std::vector<Index> layers = score_.candidate_layers;
    layers.push_back(score_.mature_layer.value_or(-1));
    return layers;
  }

  Engine& engine_;
  const TaskSettings settings_;
  PrefixCache prefix_;
  ScoreOptions score_;
  GenerationOptions generation_;
};

}  // namespace activation_trace::examples
