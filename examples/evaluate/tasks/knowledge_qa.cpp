// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/tasks/knowledge_qa.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "activation_trace/evaluation/answer_metrics.hpp"
#include "evaluate/model_run.hpp"
#include "evaluate/published_files.hpp"
#include "evaluate/python_json.hpp"
#include "evaluate/tasks/sweep_grid.hpp"

namespace activation_trace::examples {
namespace {

class KnowledgeQa : public SampleRun<QaQuestion> {
 public:
  KnowledgeQa(Engine& engine, const TaskSettings& settings, std::vector<QaQuestion> questions)
      : SampleRun(engine, settings, std::move(questions),
                  common_start(engine, [&](auto q) { return knowledge_qa_prompt(q, settings.prompt_style); })) {}

  [[nodiscard]] Index positions(Index sample) const override { return generated_positions(prompt(sample)); }
  [[nodiscard]] Json data_of(Index sample) const override {
    const QaQuestion& q = at(sample);
    Json data{{"id", q.id}, {"question", q.question}, {"gold", q.gold}};
    if (q.aliases < q.gold.size()) data["aliases"] = q.aliases;
    return data;
  }
  [[nodiscard]] Json options() const override {
    Json j = ModelRun::options();
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
  [[nodiscard]] std::string prompt(Index sample) const {
    return knowledge_qa_prompt(at(sample).question, settings().prompt_style);
  }
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
  SweepGrid grid_;
};

}  // namespace

MakeRun knowledge_qa_run(const TaskSettings& settings, std::vector<QaQuestion> questions) {
  return settings.grid ? run_on<KnowledgeQaSweep>(settings, std::move(questions))
                       : run_on<KnowledgeQa>(settings, std::move(questions));
}

std::vector<RecordField> knowledge_qa_fields() {
  using namespace fields;
  return with({text("question"), texts("gold"), share("em"), share("strict_em"), share("f1")}, of_generation());
}

std::vector<RecordField> knowledge_qa_sweep_fields() {
  using namespace fields;
  return {text("question"), grid("em"), grid("strict_em"), grid("f1")};
}

std::vector<Measure> knowledge_qa_measures(const Records&) {
  return {{"em", value_of("em")}, {"strict_em", value_of("strict_em")}, {"f1", value_of("f1")}};
}

std::vector<NamedContent> knowledge_qa_files(const FinishedRun& run,
                                             nlohmann::ordered_json (*labels)(const nlohmann::ordered_json& record)) {
  nlohmann::ordered_json wrong = nlohmann::ordered_json::object();
  nlohmann::ordered_json right = nlohmann::ordered_json::object();
  nlohmann::ordered_json is_correct = nlohmann::ordered_json::object();
  double em = 0;
  double f1 = 0;
  for (const auto& [sample, record] : run.records) {
    const int correct = value_of("em")(record) != 0 ? 1 : 0;
    em += correct;
    f1 += value_of("f1")(record);
    const std::string id = std::to_string(sample);
    is_correct[id] = correct;
    (correct != 0 ? right : wrong)[id] = {{"Q", record.at("question")},
                                          {"model_prediction", record.at("answer")},
                                          {"A", labels(record)},
                                          {"correct", correct}};
  }
  const std::size_t count = run.records.size();
  nlohmann::ordered_json rating{{"exact_match", 100 * em / static_cast<double>(count)},
                                {"f1", 100 * f1 / static_cast<double>(count)},
                                {"common", count},
                                {"denominator", count},
                                {"pred_len", count},
                                {"gold_len", count},
                                {"is_correct", std::move(is_correct)},
                                {"num_error", wrong.size()}};
  add_published_run(rating, run, PublishedScript::knowledge_qa, prompt_of(run, run.records.begin()->second));
  return {{file_stem(run) + "_results.json",
           python_json({{"error_samples", std::move(wrong)}, {"correct_samples", std::move(right)}})},
          {file_stem(run) + "_rating.json", python_json(rating)}};
}

}  // namespace activation_trace::examples
