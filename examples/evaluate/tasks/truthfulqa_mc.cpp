// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/data_sets.hpp"
#include "activation_trace/evaluation/multiple_choice.hpp"
#include "evaluate/finished_run.hpp"
#include "evaluate/model_run.hpp"
#include "evaluate/published_files.hpp"
#include "evaluate/python_json.hpp"
#include "evaluate/task.hpp"
#include "evaluate/tasks/sweep_grid.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

class TruthfulQaChoice : public SampleRun<TruthfulQuestion> {
 public:
  TruthfulQaChoice(Engine& engine, const TaskSettings& settings, std::vector<TruthfulQuestion> questions)
      : SampleRun(engine, settings, std::move(questions), common_start(engine, truthfulqa_prompt)) {}

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
  SweepGrid grid_;
};

/// A cell of the data set's table as it was, or else the list in its form.
Json cell(const Json& record, const char* key, const Json& texts) {
  if (record.contains(key)) return record[key];
  std::string joined;
  for (const Json& answer : texts) joined += (joined.empty() ? "" : "; ") + answer.at("text").get<std::string>();
  return joined;
}

/// NAME.json of eval_tqamc.
std::vector<NamedContent> multiple_choice_files(const FinishedRun& run) {
  Json questions = Json::array();
  Json scores = Json::array();
  double mc1 = 0;
  double mc2 = 0;
  double mc3 = 0;
  for (const auto& [sample, record] : run.records) {
    const Json& best = record.at("true").at(record.at("best").get<std::size_t>());
    questions.push_back({{"question", record.at("question")},
                         {"answer_best", cell(record, "answer_best", Json::array({best}))},
                         {"answer_true", cell(record, "answer_true", record["true"])},
                         {"answer_false", cell(record, "answer_false", record.at("false"))}});
    Json of_true = Json::array();
    Json of_false = Json::array();
    for (const Json& answer : record["true"]) of_true.push_back(value_of("score")(answer));
    for (const Json& answer : record["false"]) of_false.push_back(value_of("score")(answer));
    const auto highest = [](const Json& side) { return std::max_element(side.begin(), side.end())->get<double>(); };
    scores.push_back({{"max", highest(of_true)},
                      {"diff", highest(of_true) - highest(of_false)},
                      {"scores-true", std::move(of_true)},
                      {"scores-false", std::move(of_false)},
                      {"MC1", value_of("mc1")(record)},
                      {"MC3", value_of("mc3")(record)},
                      {"MC2", mc2_reference_of(record)}});
    mc1 += scores.back()["MC1"].get<double>();
    mc2 += scores.back()["MC2"].get<double>();
    mc3 += scores.back()["MC3"].get<double>();
  }
  const auto count = static_cast<double>(run.records.size());
  return {{file_stem(run) + ".json", python_json({{"question", std::move(questions)},
                                                  {"model_scores", std::move(scores)},
                                                  {"total_mc1", mc1 / count},
                                                  {"total_mc2", mc2 / count},
                                                  {"total_mc3", mc3 / count}})}};
}

}  // namespace

namespace tasks {

extern constinit const Task truthfulqa_mc{
    .name = "truthfulqa-mc",
    .summary = "TruthfulQA: scores true and false answers",
    .data = {.file = "TruthfulQA.csv",
             .folder = "./tfqa",
             .where = "https://github.com/sylinrl/TruthfulQA (the paper's 817 questions: before January 2025)"},
    .scores = true,
    .read =
        [](const TaskSettings& settings, const std::filesystem::path& file) {
          auto questions = read_truthfulqa(file);
          return settings.grid ? run_on<TruthfulQaChoiceSweep>(settings, std::move(questions))
                               : run_on<TruthfulQaChoice>(settings, std::move(questions));
        },
    .prompt = [](std::string_view question, PromptStyle) { return truthfulqa_prompt(question); },
    .shots = 6,
    .fields = [] { return fields::with({fields::text("question")}, fields::of_choice()); },
    .sweep_fields = []() -> std::vector<RecordField> {
      using namespace fields;
      return {text("question"), count("best"), answers("true"), answers("false"),
              grid("mc1"),      grid("mc2"),   grid("mc3")};
    },
    .measures = [](const Records&) { return choice_measures(); },
    .published_files = multiple_choice_files};

}  // namespace tasks
}  // namespace activation_trace::examples
