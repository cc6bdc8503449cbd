// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/export_reference.hpp"

#include <algorithm>
#include <string_view>

#include "activation_trace/evaluation/prompts.hpp"
#include "evaluate/python_json.hpp"
#include "evaluate/task.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

std::string file_stem(const FinishedRun& run) { return run.path.stem().string(); }

/// --early_exit_layers as it was.
Json early_exit_layers(const FinishedRun& run) {
  Json layers = option_of(run, "early_exit_layers");
  return layers.is_array() ? layers : Json::array({-1});
}

std::string published_mode(const FinishedRun& run) {
  const Json mode = option_of(run, "decoding_mode");
  if (mode == "activation_dola") return "with_dola";
  if (mode == "dola_static") return "early_exit_contrastive";
  return mode.is_string() ? mode.get<std::string>() : std::string();
}

/// vars(args) of a script: its flags in their order, as they are here or by default.
Json parameters(const FinishedRun& run, bool truthfulqa) {
  std::string layers;
  for (const Json& layer : early_exit_layers(run)) layers += (layers.empty() ? "" : ",") + layer.dump();
  const auto penalty = option_of(run, "repetition_penalty");
  Json p{{"model_name", model_name(run)}, {"num_gpus", "1"}};
  if (truthfulqa) p["val_test_mode"] = "";
  p.update({{"max_gpu_memory", 27},
            {"device", "cpu"},
            {"output_path", run.path.string()},
            {"early_exit_layers", layers},
            {"parallel", false},
            {"total_shard", 8},
            {"shard_id", nullptr},
            {"do_rating", true},
            {"gpt3_config", nullptr},
            {"max_new_tokens", option_of(run, "max_new_tokens")},
            {"top_p", 0.95},
            {"top_k", 0},
            {"temperature", 0.9},
            {"repetition_penalty", truthfulqa && penalty == 1 ? Json() : penalty},
            {"relative_top", option_of(run, "relative_top")},
            {"dataset_name", truthfulqa          ? "triviaqa"
                             : run.task() == kNq ? std::string(kNaturalQuestions)
                                                 : run.task()},
            {"data_path", run.manifest["data"].value("path", Json())},
            {"decoding_mode", option_of(run, "decoding_mode")}});
  if (truthfulqa) p.update({{"activation", false}, {"with_dola", false}});
  p.update({{"alpha", option_of(run, "alpha")},
            {"info_layer", option_of(run, "info_layer")},
            {"decoding_strategy", option_of(run, "decoding_strategy")}});
  if (!truthfulqa) p["prompt_style"] = option_of(run, "prompt_style");
  p["return_adjust_scores"] = true;
  if (truthfulqa) p["mj_threshold"] = nullptr;
  p["debug"] = false;
  return p;
}

/// What every rating ends with.
void add_run(Json& rating, const FinishedRun& run, const char* dataset, bool truthfulqa, const std::string& prompt) {
  rating.update({{"model_name", model_name(run)},
                 {"dataset", dataset},
                 {"early_exit_layers", early_exit_layers(run)},
                 {"mode", published_mode(run)},
                 {"parameters", parameters(run, truthfulqa)},
                 {"sample_prompt", prompt}});
}

/// labels[i] of the published code: TriviaQA's aliases, HotpotQA's text, NQ's list.
Json answers_of(const FinishedRun& run, const Json& record) {
  const Json& gold = record.at("gold");
  if (run.task() == "hotpotqa") return gold.at(0);
  if (run.task() == kNq) return gold;
  const std::size_t aliases = std::min(record.value("aliases", gold.size()), gold.size());
  return Json(Json::array_t(gold.begin(), gold.begin() + static_cast<std::ptrdiff_t>(aliases)));
}

std::vector<NamedContent> knowledge_qa_files(const FinishedRun& run) {
  Json wrong = Json::object();
  Json right = Json::object();
  Json is_correct = Json::object();
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
                                          {"A", answers_of(run, record)},
                                          {"correct", correct}};
  }
  const std::size_t count = run.records.size();
  Json rating{{"exact_match", 100 * em / static_cast<double>(count)},
              {"f1", 100 * f1 / static_cast<double>(count)},
              {"common", count},
              {"denominator", count},
              {"pred_len", count},
              {"gold_len", count},
              {"is_correct", std::move(is_correct)},
              {"num_error", wrong.size()}};
  add_run(rating, run, "triviaqa", false, prompt_of(run, run.records.begin()->second));  // whatever the data set is
  return {{file_stem(run) + "_results.json",
           python_json({{"error_samples", std::move(wrong)}, {"correct_samples", std::move(right)}})},
          {file_stem(run) + "_rating.json", python_json(rating)}};
}

/// A cell of the data set's table as it was, or else the list in its form.
Json cell(const Json& record, const char* key, const Json& texts) {
  if (record.contains(key)) return record[key];
  std::string joined;
  for (const Json& answer : texts) joined += (joined.empty() ? "" : "; ") + answer.at("text").get<std::string>();
  return joined;
}

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
  add_run(rating, run, "truthfulqa", true, prompt_of(run, run.records.rbegin()->second));  // theirs is the last one's
  return {file_stem(run) + "_rating.json", python_json(rating)};
}

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

std::vector<NamedContent> reference_files(const FinishedRun& run) {
  const std::string task = run.task();
  try {
    if (is_qa(task)) return knowledge_qa_files(run);
    if (task == "truthfulqa-mc") return multiple_choice_files(run);
    if (task == "truthfulqa-gen") return truthfulqa_files(run);
  } catch (const Json::exception& e) {
    throw FormatError(run.path.string(), std::string("a record lacks what the reference writes: ") + e.what());
  }
  throw ArgumentError("--format reference: the published code has no such files for " + task +
                      ", only for triviaqa, hotpotqa, nq, truthfulqa-mc and truthfulqa-gen");
}

}  // namespace activation_trace::examples
