// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/answer_metrics.hpp"
#include "activation_trace/evaluation/data_sets.hpp"
#include "activation_trace/evaluation/multiple_choice.hpp"
#include "evaluate/model_task.hpp"
#include "evaluate/task.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;
using Texts = std::vector<std::string>;

constexpr std::array<TaskTraits, 7> kTasks{{
    {TaskKind::triviaqa, "triviaqa", "TriviaQA: questions, answered freely", "triviaqa.jsonl", "../scripts/data/trqa",
     "https://huggingface.co/datasets/mandarjoshi/trivia_qa (unfiltered.nocontext, validation, as JSON lines)", true,
     false, 20, 1.2f},
    {TaskKind::hotpotqa, "hotpotqa", "HotpotQA: questions, answered freely", "hotpot_dev.json", "../scripts/data/hpqa",
     "https://hotpotqa.github.io (the development set)", true, false, 20, 1.2f},
    {TaskKind::nq, "nq", "Natural Questions: questions, answered freely", "NQ-open.dev.jsonl", "../scripts/data/nq",
     "https://github.com/google-research-datasets/natural-questions (nq_open)", true, false, 20, 1.2f},
    {TaskKind::truthfulqa_mc, "truthfulqa-mc", "TruthfulQA: scores true and false answers", "TruthfulQA.csv", "./tfqa",
     "https://github.com/sylinrl/TruthfulQA (the paper's 817 questions: before January 2025)", false, true, 0, 1},
    {TaskKind::truthfulqa_gen, "truthfulqa-gen", "TruthfulQA: questions, answered freely, to be judged",
     "TruthfulQA.csv", "../scripts/data/tqa",
     "https://github.com/sylinrl/TruthfulQA (the paper's 817 questions: before January 2025)", true, false, 50, 1},
    {TaskKind::factor, "factor", "FACTOR: scores a true and three false completions of a text", "wiki_factor.csv",
     nullptr, "https://github.com/AI21Labs/factor (folder data)", false, true, 0, 1},
    {TaskKind::known_facts, "known-facts", "known facts: scores a fact against another of its relation, and generates",
     "known_1000.json", nullptr, "https://rome.baulab.info/data/dsets/known_1000.json", true, true, 20, 1},
}};

/// TriviaQA, HotpotQA and Natural Questions.
class KnowledgeQa : public ModelTask {
 public:
  KnowledgeQa(Engine& engine, const TaskSettings& settings, std::vector<QaQuestion> questions)
      : ModelTask(engine, settings,
                  common_start(engine, [&](auto q) { return knowledge_qa_prompt(q, settings.prompt_style); })),
        questions_(std::move(questions)) {}

  [[nodiscard]] Index size() const override { return static_cast<Index>(questions_.size()); }
  [[nodiscard]] Index positions(Index sample) const override { return generated_positions(prompt(sample)); }
  [[nodiscard]] Json data_of(Index sample) const override {
    const QaQuestion& q = at(sample);
    Json data{{"id", q.id}, {"question", q.question}, {"gold", q.gold}};
    if (q.aliases < q.gold.size()) data["aliases"] = q.aliases;
    return data;
  }
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
      Json record = data_of(sample);
      record.update({{"prompt_tokens", answer.prompt_tokens},
                     {"text", answer.result.text},
                     {"answer", cut},
                     {"em", metrics.exact_match ? 1.0 : 0.0},
                     {"strict_em", metrics.strict_exact_match ? 1.0 : 0.0},
                     {"f1", metrics.f1}});
      answer.add_to(record);
      emit(sample, std::move(record));
    };
    generate(
        samples, [&](Index sample) { return prompt(sample); }, finish, stop);
  }

 protected:
  [[nodiscard]] const QaQuestion& at(Index sample) const { return questions_[static_cast<std::size_t>(sample)]; }
  [[nodiscard]] std::string prompt(Index sample) const {
    return knowledge_qa_prompt(at(sample).question, settings().prompt_style);
  }

 private:
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
  [[nodiscard]] Json data_of(Index sample) const override {
    const TruthfulQuestion& q = at(sample);
    Json data{{"question", q.question}, {"category", q.category}};
    const char* cells[] = {"answer_best", "answer_true", "answer_false"};
    for (std::size_t i = 0; i < q.cells.size(); ++i)
      if (!q.cells[i].empty()) data[cells[i]] = q.cells[i];
    return data;
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    for (const Index sample : samples) {
      const TruthfulQuestion& q = at(sample);
      const std::optional<Json> choice = choose(truthfulqa_prompt(q.question), q.correct, q.incorrect, q.best, stop);
      if (!choice) return;
      Json record = data_of(sample);
      record.update(*choice);
      emit(sample, std::move(record));
    }
  }

 protected:
  [[nodiscard]] const TruthfulQuestion& at(Index sample) const { return questions_[static_cast<std::size_t>(sample)]; }

 private:
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
  [[nodiscard]] Json data_of(Index sample) const override {
    const TruthfulQuestion& q = at(sample);
    return {{"category", q.category},
            {"question", q.question},
            {"best", q.best},
            {"correct", q.correct},
            {"incorrect", q.incorrect}};
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    const auto finish = [&](Index sample, const Answer& answer) {
      const std::string cut = truthfulqa_answer(answer.result.text);
      Json record = data_of(sample);
      record.update({{"prompt_tokens", answer.prompt_tokens},
                     {"text", answer.result.text},
                     {"answer", cut},
                     {"rejected", cut.find("I have no comment") != std::string::npos ? 1 : 0}});
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

/// The points of a sweep, and what records and manifest say of them.
class Grid {
 public:
  Grid(const GridSettings& settings, Index blocks) : alphas_(settings.alphas) {
    std::vector<Index> layers;
    if (settings.layers)
      layers = *settings.layers;
    else  // every second one of the upper half, as published
      for (Index layer = blocks; layer >= blocks / 2; layer -= 2) layers.insert(layers.begin(), layer);
    layers_ = resolve_layers(layers, blocks);
    for (const double alpha : alphas_)
      for (const Index layer : layers_) points_.push_back({static_cast<float>(alpha), layer});
  }

  [[nodiscard]] const std::vector<Index>& layers() const { return layers_; }
  [[nodiscard]] const std::vector<GridPoint>& points() const { return points_; }  ///< [alphas][layers]

  /// [alphas][layers] of what value(point) says.
  template <class Value>
  [[nodiscard]] Json rows(const Value& value) const {
    Json rows = Json::array();
    for (std::size_t point = 0; point < points_.size(); ++point) {
      if (point % layers_.size() == 0) rows.push_back(Json::array());
      rows.back().push_back(value(point));
    }
    return rows;
  }

  /// The options of a task with the grid in place of one point.
  [[nodiscard]] Json options(Json of_task) const {
    of_task.erase("alpha");
    of_task.erase("info_layer");
    of_task.update({{"alphas", alphas_}, {"info_layers", layers_}});
    return of_task;
  }

 private:
  std::vector<double> alphas_;
  std::vector<Index> layers_;
  std::vector<GridPoint> points_;
};

class KnowledgeQaSweep : public KnowledgeQa {
 public:
  KnowledgeQaSweep(Engine& engine, const TaskSettings& settings, std::vector<QaQuestion> questions)
      : KnowledgeQa(engine, settings, std::move(questions)), grid_(*settings.grid, engine.config().layers) {}

  [[nodiscard]] Json options() const override { return grid_.options(KnowledgeQa::options()); }
  [[nodiscard]] Json data_of(Index sample) const override { return {{"question", at(sample).question}}; }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    for (const Index sample : samples) {
      const std::vector<GenerationResult> results = engine().generate_grid(
          engine().encode(prompt(sample)), grid_.points(), generation(), {.stop = stop}, prefix());
      Texts answers;
      std::vector<AnswerMetrics> metrics;
      for (const GenerationResult& result : results) {
        if (result.reason == FinishReason::cancelled) return;
        answers.push_back(knowledge_qa_answer(result.text));
        metrics.push_back(compare_answer(answers.back(), at(sample).gold));
      }
      Json record = data_of(sample);
      record["answers"] = grid_.rows([&](std::size_t i) { return answers[i]; });
      record["em"] = grid_.rows([&](std::size_t i) { return metrics[i].exact_match ? 1.0 : 0.0; });
      record["strict_em"] = grid_.rows([&](std::size_t i) { return metrics[i].strict_exact_match ? 1.0 : 0.0; });
      record["f1"] = grid_.rows([&](std::size_t i) { return metrics[i].f1; });
      emit(sample, std::move(record));
    }
  }

 private:
  Grid grid_;
};

/// Scores are linear in alpha, so one pass gives them all.
class TruthfulQaChoiceSweep : public TruthfulQaChoice {
 public:
  TruthfulQaChoiceSweep(Engine& engine, const TaskSettings& settings, std::vector<TruthfulQuestion> questions)
      : TruthfulQaChoice(engine, settings, std::move(questions)), grid_(*settings.grid, engine.config().layers) {}

  [[nodiscard]] Json options() const override { return grid_.options(TruthfulQaChoice::options()); }
  [[nodiscard]] Json data_of(Index sample) const override {
    return {{"question", at(sample).question}, {"best", at(sample).best}};
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    const auto sum = [](const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0); };
    for (const Index sample : samples) {
      const TruthfulQuestion& q = at(sample);
      const Texts continuations = truthfulqa_continuations(q.correct, q.incorrect);
      const std::vector<LayerEntropies> answers = engine().layer_entropies(
          truthfulqa_prompt(q.question), continuations, grid_.layers(), scoring(), {.stop = stop}, prefix());
      if (answers.size() != continuations.size()) return;

      Json record = data_of(sample);
      record.update({{"true", Json::array()}, {"false", Json::array()}});
      if (!answers[0].moved_space.empty()) record["moved_space"] = answers[0].moved_space;
      for (std::size_t i = 0; i < answers.size(); ++i) {
        const bool correct = i < q.correct.size();
        Json entropies = Json::array();
        for (const std::vector<double>& of_layer : answers[i].entropies) entropies.push_back(sum(of_layer));
        record[correct ? "true" : "false"].push_back(
            {{"text", correct ? q.correct[i] : q.incorrect[i - q.correct.size()]},
             {"log_prob", sum(answers[i].log_probs)},
             {"entropies", std::move(entropies)}});
      }
      std::vector<MultipleChoiceMetrics> metrics;
      for (std::size_t point = 0; point < grid_.points().size(); ++point) {
        const double alpha = static_cast<double>(grid_.points()[point].alpha);
        const std::size_t layer = point % grid_.layers().size();
        std::array<std::vector<double>, 2> scores;
        for (std::size_t i = 0; i < answers.size(); ++i)
          scores[i < q.correct.size() ? 0 : 1].push_back(sum(answers[i].log_probs) -
                                                         alpha * sum(answers[i].entropies[layer]));
        metrics.push_back(multiple_choice(scores[0], scores[1], q.best));
      }
      record["mc1"] = grid_.rows([&](std::size_t i) { return metrics[i].mc1; });
      record["mc2"] = grid_.rows([&](std::size_t i) { return metrics[i].mc2; });
      record["mc2_reference"] = grid_.rows([&](std::size_t i) { return metrics[i].mc2_reference; });
      record["mc3"] = grid_.rows([&](std::size_t i) { return metrics[i].mc3; });
      emit(sample, std::move(record));
    }
  }

 private:
  Grid grid_;
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
  [[nodiscard]] Json data_of(Index sample) const override { return {{"prefix", at(sample).prefix}}; }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    for (const Index sample : samples) {
      const FactorItem& item = at(sample);
      const std::optional<Json> choice = choose(item.prefix, {item.completion}, item.contradictions, 0, stop);
      if (!choice) return;
      Json record = data_of(sample);
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
  [[nodiscard]] Json data_of(Index sample) const override {
    const KnownFact& fact = at(sample).fact;
    return {{"prompt", fact.prompt}, {"subject", fact.subject}, {"relation", fact.relation}};
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
      Json record = data_of(sample);
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

/// One point, or the grid.
template <class Single, class Sweep, class Data>
MakeTask task_or_sweep_on(const TaskSettings& settings, Data data) {
  return settings.grid ? task_on<Sweep>(settings, std::move(data)) : task_on<Single>(settings, std::move(data));
}

}  // namespace

std::span<const TaskTraits> all_tasks() { return kTasks; }

std::filesystem::path data_file(const TaskSettings& settings) {
  std::filesystem::path path = settings.data_path;
  if (std::filesystem::is_directory(path)) {
    const std::filesystem::path usual = path / settings.traits.file;
    std::vector<std::filesystem::path> alike;
    for (const auto& entry : std::filesystem::directory_iterator(path))
      if (entry.path().extension() == usual.extension()) alike.push_back(entry.path());
    path = alike.size() == 1 ? alike.front() : usual;
  }
  if (!std::filesystem::exists(path))
    throw Error(path.string() + ": no such file (--data-path says where it is); get the data from " +
                settings.traits.where);
  return path;
}

MakeTask read_task(const TaskSettings& settings) {
  const std::filesystem::path path = data_file(settings);
  const auto qa = [&](std::vector<QaQuestion> questions) {
    return task_or_sweep_on<KnowledgeQa, KnowledgeQaSweep>(settings, std::move(questions));
  };
  if (settings.grid && !sweeps(settings.traits)) throw Error(std::string(settings.traits.name) + ": has no sweep");
  switch (settings.traits.kind) {
    case TaskKind::triviaqa: return qa(read_triviaqa(path));
    case TaskKind::hotpotqa: return qa(read_hotpotqa(path));
    case TaskKind::nq: return qa(read_nq_open(path));
    case TaskKind::truthfulqa_mc:
      return task_or_sweep_on<TruthfulQaChoice, TruthfulQaChoiceSweep>(settings, read_truthfulqa(path));
    case TaskKind::truthfulqa_gen: return task_on<TruthfulQaGeneration>(settings, read_truthfulqa(path));
    case TaskKind::factor: return task_on<Factor>(settings, read_factor(path));
    case TaskKind::known_facts: return task_on<KnownFacts>(settings, read_known_facts(path));
  }
  throw Error("there is no such task");
}

}  // namespace activation_trace::examples
