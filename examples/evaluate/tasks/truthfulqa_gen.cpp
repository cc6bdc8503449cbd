// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/data_sets.hpp"
#include "evaluate/finished_run.hpp"
#include "evaluate/model_run.hpp"
#include "evaluate/published_files.hpp"
#include "evaluate/python_json.hpp"
#include "evaluate/task.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

class TruthfulQaGeneration : public SampleRun<TruthfulQuestion> {
 public:
  TruthfulQaGeneration(Engine& engine, const TaskSettings& settings, std::vector<TruthfulQuestion> questions)
      : SampleRun(engine, settings, std::move(questions), common_start(engine, truthfulqa_prompt)) {}

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
};

std::vector<Measure> judged_measures(const Records& records) {
  std::vector<Measure> result;
  const bool truth = is_judged(records, "truth");
  const bool info = is_judged(records, "info");
  if (truth) result.push_back({"truth", accepted("truth")});
  if (info) result.push_back({"info", accepted("info")});
  if (truth && info)
    result.push_back({"truth*info", [truth = accepted("truth"), info = accepted("info")](const Json& record) {
                        return truth(record) * info(record);
                      }});
  result.push_back({"reject", value_of("rejected")});
  return result;
}

NamedContent truthfulqa_rating(const FinishedRun& run) {
  const std::pair<const char*, const char*> judges[] = {{"judge", "truth"}, {"info", "info"}};
  Json lists;
  Json means;
  const auto count = static_cast<double>(run.records.size());
  for (const auto& [name, key] : judges)
    for (const auto& [what, value] : {std::pair("score", yes_of(key)), std::pair("acc", accepted(key))}) {
      double sum = 0;
      Json& list = lists[std::string(name) + '_' + what + 's'] = Json::array();
      for (const auto& [sample, record] : run.records) {
        list.push_back(value(record));
        sum += value(record);
      }
      means[std::string("avg_") + name + '_' + what] = sum / count;
    }
  double both_scores = 0;
  double both_accs = 0;
  double rejects = 0;
  for (const auto& [sample, record] : run.records) {
    both_scores += yes_of("truth")(record) * yes_of("info")(record);
    both_accs += accepted("truth")(record) * accepted("info")(record);
    rejects += value_of("rejected")(record);
  }
  Json rating;
  for (const char* key : {"judge_scores", "info_scores", "judge_accs", "info_accs"}) rating[key] = lists[key];
  for (const char* key : {"avg_judge_score", "avg_judge_acc", "avg_info_score", "avg_info_acc"})
    rating[key] = means[key];
  rating.update(
      {{"avg_both_acc", both_accs / count}, {"avg_both_score", both_scores / count}, {"avg_rej", rejects / count}});
  // The prompt is the last one's.
  add_published_run(rating, run, PublishedScript::truthfulqa, prompt_of(run, run.records.rbegin()->second));
  return {file_stem(run) + "_rating.json", python_json(rating)};
}

/// NAME.json of eval_tqa and, once it has been judged, its NAME_results.json and NAME_rating.json.
std::vector<NamedContent> truthfulqa_files(const FinishedRun& run) {
  Json ids = Json::array();
  Json completions = Json::object();
  Json questions = Json::object();
  Json right = Json::object();
  Json wrong = Json::object();
  const bool judged = is_judged(run.records, "truth") && is_judged(run.records, "info");
  for (const auto& [sample, record] : run.records) {
    const std::string id = std::to_string(sample);
    ids.push_back(sample);
    completions[id] = record.at("answer");
    questions[id] = record.at("question");
    if (!judged) continue;
    const bool correct = yes_of("truth")(record) != 0;  // any probability but 0, as published
    (correct ? right : wrong)[id] = {
        {"Q", record["question"]}, {"model_prediction", record["answer"]}, {"is_correct", correct}};
  }
  std::vector<NamedContent> files{{file_stem(run) + ".json", python_json({{"qid_list", std::move(ids)},
                                                                          {"answers", Json::object()},
                                                                          {"model_completion", std::move(completions)},
                                                                          {"questions", std::move(questions)},
                                                                          {"logit_scores", Json::object()}})}};
  if (!judged) return files;
  files.push_back(truthfulqa_rating(run));
  files.emplace_back(file_stem(run) + "_results.json",
                     python_json({{"error_samples", std::move(wrong)}, {"correct_samples", std::move(right)}}));
  return files;
}

}  // namespace

namespace tasks {

extern constinit const Task truthfulqa_gen{
    .name = "truthfulqa-gen",
    .summary = "TruthfulQA: questions, answered freely, to be judged",
    .data = {.file = "TruthfulQA.csv",
             .folder = "../scripts/data/tqa",
             .where = "https://github.com/sylinrl/TruthfulQA (the paper's 817 questions: before January 2025)"},
    .generates = true,
    .max_new_tokens = 50,
    .judged = true,
    .read = read_as<TruthfulQaGeneration, read_truthfulqa>,
    .prompt = [](std::string_view question, PromptStyle) { return truthfulqa_prompt(question); },
    .shots = 6,
    .fields =
        [] {
          using namespace fields;
          return with({text("question"), count("best"), texts("correct"), texts("incorrect"), share("rejected")},
                      of_generation());
        },
    .measures = judged_measures,
    .published_files = truthfulqa_files};

}  // namespace tasks
}  // namespace activation_trace::examples
