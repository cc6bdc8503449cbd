// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/answer_metrics.hpp"
#include "activation_trace/evaluation/data_sets.hpp"
#include "activation_trace/evaluation/multiple_choice.hpp"
#include "activation_trace/generation/prefix_cache.hpp"
#include "activation_trace/generation/validate.hpp"
#include "evaluate/task.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;
using Texts = std::vector<std::string>;

constexpr std::array<TaskTraits, 7> kTasks{{
    {TaskKind::triviaqa, "triviaqa", "TriviaQA: questions, answered freely", "triviaqa.jsonl",
     "https://huggingface.co/datasets/mandarjoshi/trivia_qa (unfiltered.nocontext, validation, as JSON lines)", true,
     false, 20, 1.2f},
    {TaskKind::hotpotqa, "hotpotqa", "HotpotQA: questions, answered freely", "hotpot_dev.json",
     "https://hotpotqa.github.io (the development set)", true, false, 20, 1.2f},
    {TaskKind::nq, "nq", "Natural Questions: questions, answered freely", "NQ-open.dev.jsonl",
     "https://github.com/google-research-datasets/natural-questions (nq_open)", true, false, 20, 1.2f},
    {TaskKind::truthfulqa_mc, "truthfulqa-mc", "TruthfulQA: scores true and false answers", "TruthfulQA.csv",
     "https://github.com/sylinrl/TruthfulQA (the paper's 817 questions: before January 2025)", false, true, 0, 1},
    {TaskKind::truthfulqa_gen, "truthfulqa-gen", "TruthfulQA: questions, answered freely, to be judged",
     "TruthfulQA.csv", "https://github.com/sylinrl/TruthfulQA (the paper's 817 questions: before January 2025)", true,
     false, 50, 1},
    {TaskKind::factor, "factor", "FACTOR: scores a true and three false completions of a text", "wiki_factor.csv",
     "https://github.com/AI21Labs/factor (folder data)", false, true, 0, 1},
    {TaskKind::known_facts, "known-facts", "known facts: scores a fact against another of its relation, and generates",
     "known_1000.json", "https://rome.baulab.info/data/dsets/known_1000.json", true, true, 20, 1},
}};

/// As it was typed: 0.1 rather than the double next to 0.1f.
double decimal(float x) {
  std::array<char, 32> text{};
  const char* end = std::to_chars(text.begin(), text.end(), x).ptr;
  double result = 0;
  std::from_chars(text.begin(), end, result);
  return result;
}

Json number_or_null(const std::optional<Index>& x) { return x ? Json(*x) : Json(nullptr); }

/// The ids that prompts begin with, whatever is asked: known without the data set, so that a sample's numbers do not
/// depend on which others there are. A question that is tokenised otherwise does without.
template <class Prompt>
std::vector<TokenId> common_start(const Engine& engine, const Prompt& prompt) {
  std::vector<std::vector<TokenId>> prompts;
  for (const char* question : {"What", "Is", "the", "1", "\"", "\u00c9t\u00e9"})
    prompts.push_back(engine.encode(prompt(question)));
  return common_prefix(prompts);
}

/// What all tasks have: a mode, and how it generates and scores.
class ModelTask : public Task {
 public:
  /// `prefix` is what prompts begin with.
  ModelTask(Engine& engine, const TaskSettings& settings, std::vector<TokenId> prefix = {})
      : engine_(engine),
        settings_(settings),
        prefix_(std::move(prefix)),
        score_(score_options(settings.scoring, settings.scoring.columns.front(), engine.checkpoint())) {
    const Index blocks = engine.checkpoint().config.layers;
    score_.info_layer = activation_trace::detail::resolve_info_layer(score_.info_layer, blocks);
    if (score_.info_layer == blocks) score_.final_norm.reset();  // which h_N has passed
    score_.recording = Recording::always;                        // the detector's signal, in every mode
    score_.prefix = &prefix_;
    score_.validate();
    generation_ = generation_options(score_);
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
           {"divergence", o.divergence == LayerDivergence::reference ? "reference" : "jensen_shannon"},
           {"relative_top", decimal(o.relative_top)},
           {"min_tokens_to_keep", o.min_tokens_to_keep},
           {"context_span", {o.span.begin, o.span.end}},
           {"batch_size", o.prefill_piece}};
    if (settings_.traits.scores)
      j.update({{"context", o.context == ScoreContext::whole ? "whole" : "prompt"},
                {"filter", o.filter == ScoreFilter::on ? "on" : "off"},
                {"single_entropy", o.single_entropy == SingleEntropy::reference ? "reference" : "negated"},
                {"relative_top_value", decimal(o.relative_top_value)},
                {"post_softmax", o.post_softmax == DolaOutput::log_probs ? "on" : "off"}});
    if (settings_.traits.generates)
      j.update({{"max_new_tokens", generation_.max_new_tokens},
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
    std::size_t prompt_tokens;

    void add_to(Json& record) const {
      record.update({{"tokens", result.ids},
                     {"log_probs", log_probs},
                     {"entropies", entropies},
                     {"finish", name(result.reason)}});
    }
  };

  [[nodiscard]] Engine& engine() const { return engine_; }
  [[nodiscard]] const TaskSettings& settings() const { return settings_; }

  [[nodiscard]] Index generated_positions(const std::string& prompt) const {
    return static_cast<Index>(engine_.encode(prompt).size()) + generation_.max_new_tokens;
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
                   {"mc3", metrics.mc3},
                   {"max_true", metrics.max_true},
                   {"max_false", metrics.max_false}});
    return record;
  }

 private:
  Engine& engine_;
  const TaskSettings settings_;
  PrefixCache prefix_;
  ScoreOptions score_;
  GenerationOptions generation_;
};

/// TriviaQA, HotpotQA and Natural Questions.
class KnowledgeQa : public ModelTask {
 public:
  KnowledgeQa(Engine& engine, const TaskSettings& settings, std::vector<QaQuestion> questions)
      : ModelTask(engine, settings,
                  common_start(engine, [&](auto q) { return knowledge_qa_prompt(q, settings.prompt_style); })),
        questions_(std::move(questions)) {}

  [[nodiscard]] Index size() const override { return static_cast<Index>(questions_.size()); }
  [[nodiscard]] Index positions(Index sample) const override { return generated_positions(prompt(sample)); }
  [[nodiscard]] Json options() const override {
    Json j = ModelTask::options();
    j["prompt_style"] = settings().prompt_style == PromptStyle::few_shot ? "few_shot" : "zero_shot";
    return j;
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    const auto finish = [&](Index sample, const Answer& answer) {
      const QaQuestion& q = at(sample);
      const std::string cut = knowledge_qa_answer(answer.result.text);
      const AnswerMetrics metrics = compare_answer(cut, q.gold);
      Json record{{"id", q.id},
                  {"question", q.question},
                  {"gold", q.gold},
                  {"prompt_tokens", answer.prompt_tokens},
                  {"text", answer.result.text},
                  {"answer", cut},
                  {"em", metrics.exact_match ? 1.0 : 0.0},
                  {"strict_em", metrics.strict_exact_match ? 1.0 : 0.0},
                  {"f1", metrics.f1}};
      answer.add_to(record);
      emit(sample, std::move(record));
    };
    generate(
        samples, [&](Index sample) { return prompt(sample); }, finish, stop);
  }

 private:
  [[nodiscard]] const QaQuestion& at(Index sample) const { return questions_[static_cast<std::size_t>(sample)]; }
  [[nodiscard]] std::string prompt(Index sample) const {
    return knowledge_qa_prompt(at(sample).question, settings().prompt_style);
  }

  std::vector<QaQuestion> questions_;
};

class TruthfulQaChoice : public ModelTask {
 public:
  TruthfulQaChoice(Engine& engine, const TaskSettings& settings, std::vector<TruthfulQuestion> questions)
      : ModelTask(engine, settings, common_start(engine, truthfulqa_prompt)), questions_(std::move(questions)) {}

  [[nodiscard]] Index size() const override { return static_cast<Index>(questions_.size()); }
  [[nodiscard]] Index positions(Index sample) const override {
    const TruthfulQuestion& q = at(sample);
    return scored_positions(truthfulqa_prompt(q.question), q.correct, q.incorrect);
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    for (const Index sample : samples) {
      const TruthfulQuestion& q = at(sample);
      const std::optional<Json> choice = choose(truthfulqa_prompt(q.question), q.correct, q.incorrect, q.best, stop);
      if (!choice) return;
      Json record{{"question", q.question}, {"category", q.category}};
      record.update(*choice);
      emit(sample, std::move(record));
    }
  }

 private:
  [[nodiscard]] const TruthfulQuestion& at(Index sample) const { return questions_[static_cast<std::size_t>(sample)]; }

  std::vector<TruthfulQuestion> questions_;
};

class TruthfulQaGeneration : public ModelTask {
 public:
  TruthfulQaGeneration(Engine& engine, const TaskSettings& settings, std::vector<TruthfulQuestion> questions)
      : ModelTask(engine, settings, common_start(engine, truthfulqa_prompt)), questions_(std::move(questions)) {}

  [[nodiscard]] Index size() const override { return static_cast<Index>(questions_.size()); }
  [[nodiscard]] Index positions(Index sample) const override {
    return generated_positions(truthfulqa_prompt(at(sample).question));
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    const auto finish = [&](Index sample, const Answer& answer) {
      const TruthfulQuestion& q = at(sample);
      const std::string cut = truthfulqa_answer(answer.result.text);
      Json record{{"category", q.category},
                  {"question", q.question},
                  {"best", q.best},
                  {"correct", q.correct},
                  {"incorrect", q.incorrect},
                  {"prompt_tokens", answer.prompt_tokens},
                  {"text", answer.result.text},
                  {"answer", cut},
                  {"rejected", cut.find("I have no comment") != std::string::npos ? 1 : 0}};
      answer.add_to(record);
      emit(sample, std::move(record));
    };
    generate(
        samples, [&](Index sample) { return truthfulqa_prompt(at(sample).question); }, finish, stop);
  }

 private:
  [[nodiscard]] const TruthfulQuestion& at(Index sample) const { return questions_[static_cast<std::size_t>(sample)]; }

  std::vector<TruthfulQuestion> questions_;
};

/// The text without white space in front: a continuation gets one space.
std::string trimmed(const std::string& text) {
  return text.substr(std::min(text.find_first_not_of(" \t\n\r"), text.size()));
}

class Factor : public ModelTask {
 public:
  Factor(Engine& engine, const TaskSettings& settings, std::vector<FactorItem> items)
      : ModelTask(engine, settings), items_(std::move(items)) {
    for (FactorItem& item : items_) {
      item.completion = trimmed(item.completion);
      for (std::string& text : item.contradictions) text = trimmed(text);
    }
  }

  [[nodiscard]] Index size() const override { return static_cast<Index>(items_.size()); }
  [[nodiscard]] Index positions(Index sample) const override {
    const FactorItem& item = at(sample);
    return scored_positions(item.prefix, {item.completion}, item.contradictions);
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    for (const Index sample : samples) {
      const FactorItem& item = at(sample);
      const std::optional<Json> choice = choose(item.prefix, {item.completion}, item.contradictions, 0, stop);
      if (!choice) return;
      Json record{{"prefix", item.prefix}};
      record.update(*choice);
      const auto mean = [](const Json& answer) {
        return answer["score"].get<double>() / static_cast<double>(answer["log_probs"].size());
      };
      const auto& others = record["false"];
      record["accuracy_mean"] = std::all_of(others.begin(), others.end(),
                                            [&](const Json& other) { return mean(record["true"][0]) > mean(other); })
                                    ? 1.0
                                    : 0.0;
      emit(sample, std::move(record));
    }
  }

 private:
  [[nodiscard]] const FactorItem& at(Index sample) const { return items_[static_cast<std::size_t>(sample)]; }

  std::vector<FactorItem> items_;
};

/// A fact against the attribute of the next fact of its relation that has another one. A fact without one (the
/// published file has one such) is no sample.
class KnownFacts : public ModelTask {
 public:
  KnownFacts(Engine& engine, const TaskSettings& settings, const std::vector<KnownFact>& facts)
      : ModelTask(engine, settings) {
    for (std::size_t i = 0; i < facts.size(); ++i)
      if (std::optional<std::string> other = false_attribute(facts, static_cast<Index>(i)))
        facts_.push_back({facts[i], *std::move(other)});
    if (facts_.empty())
      throw Error(settings.data_path + ": no fact has another of its relation with another attribute");
  }

  [[nodiscard]] Index size() const override { return static_cast<Index>(facts_.size()); }
  [[nodiscard]] Index positions(Index sample) const override {
    const auto& [fact, other] = at(sample);
    return std::max(generated_positions(fact.prompt), scored_positions(fact.prompt, {fact.attribute}, {other}));
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    std::map<Index, Answer> answers;  // all before the first is scored, which takes the same sequences of the model
    generate(
        samples, [&](Index sample) { return at(sample).fact.prompt; },
        [&](Index sample, const Answer& answer) { answers.emplace(sample, answer); }, stop);
    for (const auto& [sample, answer] : answers) {
      const auto& [fact, other] = at(sample);
      const std::optional<Json> choice = choose(fact.prompt, {fact.attribute}, {other}, 0, stop);
      if (!choice) return;
      const std::string cut = knowledge_qa_answer(answer.result.text);
      Json record{{"prompt", fact.prompt}, {"subject", fact.subject}, {"relation", fact.relation}};
      record.update(*choice);
      record.update({{"prompt_tokens", answer.prompt_tokens},
                     {"text", answer.result.text},
                     {"answer", cut},
                     {"em", compare_answer(cut, Texts{fact.attribute}).exact_match ? 1.0 : 0.0}});
      answer.add_to(record);
      emit(sample, std::move(record));
    }
  }

 private:
  struct Item {
    KnownFact fact;
    std::string other;  ///< the false attribute
  };

  [[nodiscard]] const Item& at(Index sample) const { return facts_[static_cast<std::size_t>(sample)]; }

  std::vector<Item> facts_;
};

template <class T, class Data>
MakeTask task_on(const TaskSettings& settings, Data data) {
  return [settings, data = std::move(data)](Engine& engine) { return std::make_unique<T>(engine, settings, data); };
}

}  // namespace

std::span<const TaskTraits> all_tasks() { return kTasks; }

std::filesystem::path data_file(const TaskSettings& settings) {
  std::filesystem::path path = settings.data_path;
  if (std::filesystem::is_directory(path)) path /= settings.traits.file;
  if (!std::filesystem::exists(path))
    throw Error(path.string() + ": no such file; get the data from " + settings.traits.where);
  return path;
}

MakeTask read_task(const TaskSettings& settings) {
  const std::filesystem::path path = data_file(settings);
  switch (settings.traits.kind) {
    case TaskKind::triviaqa: return task_on<KnowledgeQa>(settings, read_triviaqa(path));
    case TaskKind::hotpotqa: return task_on<KnowledgeQa>(settings, read_hotpotqa(path));
    case TaskKind::nq: return task_on<KnowledgeQa>(settings, read_nq_open(path));
    case TaskKind::truthfulqa_mc: return task_on<TruthfulQaChoice>(settings, read_truthfulqa(path));
    case TaskKind::truthfulqa_gen: return task_on<TruthfulQaGeneration>(settings, read_truthfulqa(path));
    case TaskKind::factor: return task_on<Factor>(settings, read_factor(path));
    case TaskKind::known_facts: return task_on<KnownFacts>(settings, read_known_facts(path));
  }
  throw Error("there is no such task");
}

}  // namespace activation_trace::examples
