// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <memory>
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
#include "evaluate/mode_manifest.hpp"
#include "evaluate/task_run.hpp"
#include "evaluate/task_settings.hpp"
#include "support/engine.hpp"
#include "support/score_settings.hpp"

namespace activation_trace::examples {

/// The ids that prompts begin with, whatever is asked: known without the data set, so that a sample's numbers do not
/// depend on which others there are. A question that is tokenised otherwise does without.
template <class Prompt>
[[nodiscard]] std::vector<TokenId> common_start(const Engine& engine, const Prompt& prompt) {
  std::vector<std::vector<TokenId>> prompts;
  for (const char* question : {"What", "Is", "the", "1", "\"", "\u00c9t\u00e9"})
    prompts.push_back(engine.encode(prompt(question)));
  return common_prefix(prompts);
}

/// What all runs of tasks have: a mode, and how it generates and scores.
class ModelRun : public TaskRun {
 protected:
  using Json = nlohmann::ordered_json;
  using Texts = std::vector<std::string>;

 public:
  /// `prefix` is what prompts begin with.
  ModelRun(Engine& engine, const TaskSettings& settings, std::vector<TokenId> prefix = {})
      : engine_(engine),
        settings_(settings),
        prefix_(std::move(prefix)),
        context_(settings.context),
        score_(with_mode(settings.scoring, settings.mode.complete(engine.config().layers, engine.embeddings()))) {
    std::visit(
        [&](auto& mode) {
          if constexpr (requires { mode.context; }) context_ = mode.context = with_layer(mode.context);
        },
        score_.mode);
    generation_.mode = score_.mode;
    if (!settings.grid) {  // the detector's signal, in every mode
      context_ = with_layer(context_);
      score_.record = context_;
      generation_.record = RecordOptions{.context = context_};
    }
    score_.validate();
    generation_.prefill_piece = score_.prefill_piece;
    generation_.repetition_penalty = settings.repetition_penalty;
    generation_.max_new_tokens = settings.max_new_tokens;
    generation_.eos = engine.tokenizer().end_tokens();
    generation_.stop = {std::string(kNextQuestion)};
  }

  [[nodiscard]] Json options() const override {
    Json of_modes = options_of_modes(score_.mode, context_, decimal);
    of_modes.update({{"early_exit_layers", early_exit_layers()}, {"batch_size", score_.prefill_piece}});
    add_described(of_modes, score_, decimal);
    const Json base = of_modes["activation_dola_base"];
    of_modes["scoring_dola_base"] = base.is_null() ? Json(name(DolaBase::log_probs)) : base;
    if (base.is_null()) of_modes["activation_dola_base"] = name(DolaBase::logits);
    Json j;
    const auto add = [&](std::initializer_list<const char*> keys) {
      for (const char* key : keys) j[key] = of_modes[key];
    };
    add({"decoding_mode", "decoding_strategy", "alpha", "info_layer", "final_norm", "candidate_layers", "mature_layer",
         "early_exit_layers", "divergence", "relative_top", "min_tokens_to_keep", "context_span", "batch_size"});
    if (settings_.task->scores)
      add({"context", "filter", "single_entropy", "scoring_dola_base", "relative_top_value", "post_softmax"});
    if (settings_.task->generates) add({"activation_dola_base"});
    if (settings_.task->generates)
      j.update({{"max_new_tokens", generation_.max_new_tokens},
                {"repetition_penalty", decimal(generation_.repetition_penalty)},
                {"stop", generation_.stop}});
    add_new_options(j, score_.mode, settings_.student, {"premature_layer", "activation_dola_base"}, decimal);
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
  [[nodiscard]] PrefixCache* prefix() { return &prefix_; }
  [[nodiscard]] const ScoreOptions& scoring() const { return score_; }
  [[nodiscard]] const GenerationOptions& generation() const { return generation_; }

  [[nodiscard]] Index generated_positions(const std::string& prompt) const {
    return static_cast<Index>(engine_.encode(prompt).size()) +
           std::min(generation_.max_new_tokens, engine_.config().max_context);
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
    engine_.generate(prompts, generation_, callbacks, &prefix_);
  }

  /// What multiple choice has to say of a question; none if a stop was asked for before all answers were scored.
  [[nodiscard]] std::optional<Json> choose(const std::string& prompt, const Texts& true_answers,
                                           const Texts& false_answers, Index best, const std::stop_token& stop) {
    const Texts continuations = truthfulqa_continuations(true_answers, false_answers);
    const std::vector<ContinuationScore> scores =
        engine_.score(prompt, continuations, score_, {.stop = stop}, &prefix_);
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
  /// Its info layer as 0..N; at N the norm is left out, which h_N has passed. Each point of a grid has its own layer.
  [[nodiscard]] ContextOptions with_layer(ContextOptions context) const {
    const Index blocks = engine_.config().layers;
    context.info_layer = settings_.grid ? 0 : activation_trace::detail::resolve_info_layer(context.info_layer, blocks);
    if (context.info_layer == blocks) context.final_norm = false;
    return context;
  }

  /// As typed, or what it stands for.
  [[nodiscard]] std::vector<Index> early_exit_layers() const {
    if (!settings_.early_exit_layers.empty()) return settings_.early_exit_layers;
    std::vector<Index> layers = premature_layers(score_.mode);
    layers.push_back(layers.empty() ? -1 : mature_layer(score_.mode).value_or(-1));
    return layers;
  }

  Engine& engine_;
  const TaskSettings settings_;
  PrefixCache prefix_;
  ContextOptions context_;  // the mode's, or the records'
  ScoreOptions score_;
  GenerationOptions generation_;
};

/// A run whose samples are those of a data set, one after another.
template <class Sample>
class SampleRun : public ModelRun {
 public:
  /// As ModelRun.
  SampleRun(Engine& engine, const TaskSettings& settings, std::vector<Sample> samples, std::vector<TokenId> prefix = {})
      : ModelRun(engine, settings, std::move(prefix)), samples_(std::move(samples)) {}

  [[nodiscard]] Index size() const override { return static_cast<Index>(samples_.size()); }

 protected:
  [[nodiscard]] const Sample& at(Index sample) const { return samples_[static_cast<std::size_t>(sample)]; }

 private:
  std::vector<Sample> samples_;
};

/// A Run of the data, which is at its constructor's end.
template <class Run, class Data>
[[nodiscard]] MakeRun run_on(const TaskSettings& settings, Data data) {
  return [settings, data = std::move(data)](Engine& engine) { return std::make_unique<Run>(engine, settings, data); };
}

/// Task::read of a task that has no sweep.
template <class Run, auto reader>
[[nodiscard]] MakeRun read_as(const TaskSettings& settings, const std::filesystem::path& file) {
  return run_on<Run>(settings, reader(file));
}

}  // namespace activation_trace::examples
