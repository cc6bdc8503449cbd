// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/evaluation/data_sets/data_file.hpp"
#include "activation_trace/evaluation/data_sets/record.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/text/csv.hpp"

namespace activation_trace {
inline namespace v0 {

/// A question of TruthfulQA with its right and wrong answers.
struct TruthfulQuestion {
  std::string category;                ///< "Misconceptions"; empty where the form has none
  std::string question;                ///< as in the data set
  std::vector<std::string> correct;    ///< each ends in a full stop
  std::vector<std::string> incorrect;  ///< the same
  Index best = 0;                      ///< the best answer's place in `correct`
  std::array<std::string, 3> cells;    ///< Best Answer, Correct Answers, Incorrect Answers as the table has them
};

/// TruthfulQA's CSV with the columns Question, Best Answer, Correct Answers and Incorrect Answers, the lists split at
/// ';' (evaluation/README.md 1.2); records with mc1_targets and mc2_targets, either {answer: 0 or 1} as in its authors'
/// mc_task.json or {choices, labels} as Hugging Face has them, mc1's right answer being the best one; or records
/// {question, best_answer, correct_answers, incorrect_answers}. A best answer that is missing from its list joins it.
[[nodiscard]] std::vector<TruthfulQuestion> read_truthfulqa(const std::filesystem::path& path);

namespace detail {

/// "a" as "a.", and nothing as nothing.
[[nodiscard]] inline std::string with_full_stop(std::string_view text) {
  std::string answer = strip(text);
  return answer.empty() || answer.ends_with('.') ? answer : answer + '.';
}

/// "a; b" as {"a.", "b."}.
[[nodiscard]] inline std::vector<std::string> split_answers(std::string_view text) {
  std::vector<std::string> answers;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(';', begin), text.size());
    if (std::string answer = with_full_stop(text.substr(begin, end - begin)); !answer.empty())
      answers.push_back(std::move(answer));
    begin = end + 1;
  }
  return answers;
}

/// As a table's cell has them.
[[nodiscard]] inline std::string joined(const std::vector<std::string>& answers) {
  std::string cell;
  for (const std::string& answer : answers) cell += (cell.empty() ? "" : "; ") + answer;
  return cell;
}

/// Finds the best answer among the right ones, or puts it there; calls fail(problem) for a question that cannot be
/// asked.
template <class Fail>
[[nodiscard]] TruthfulQuestion complete(TruthfulQuestion q, const std::string& best, const Fail& fail) {
  if (q.question.empty()) fail("the question is empty");
  if (best.empty()) fail("there is no best answer");
  if (q.incorrect.empty()) fail("there are no incorrect answers");
  const auto place = std::find(q.correct.begin(), q.correct.end(), best);
  q.best = place - q.correct.begin();
  if (place == q.correct.end()) q.correct.push_back(best);
  return q;
}

/// Answers with a label each.
struct LabelledAnswers {
  std::vector<std::string> right;
  std::vector<std::string> wrong;

  /// From {answer: label} or {"choices": [answer], "labels": [label]}.
  LabelledAnswers(const DataRecord& record, const char* key) {
    using Json = DataRecord::Json;
    const Json& targets = record.member(key);
    const auto fail = [&](const char* problem) { record.fail("'" + std::string(key) + "': " + problem); };
    const auto add = [&](std::string_view answer, const Json& label) {
      const bool is_right = label == 1 || label == true;
      if (!is_right && label != 0 && label != false) fail("expected labels of 0 or 1");
      if (std::string text = with_full_stop(answer); !text.empty())
        (is_right ? right : wrong).push_back(std::move(text));
    };
    if (!targets.is_object()) fail("expected an object");
    const auto labels = targets.find("labels");
    if (labels == targets.end() || !labels->is_array()) {
      for (const auto& [answer, label] : targets.items()) add(answer, label);
      return;
    }
    const std::vector<std::string> choices = record.texts(targets, "choices");
    if (choices.size() != labels->size()) fail("expected a label for each choice");
    for (std::size_t i = 0; i < choices.size(); ++i) add(choices[i], (*labels)[i]);
  }
};

[[nodiscard]] inline TruthfulQuestion truthful_question(const DataRecord& record) {
  TruthfulQuestion q{.category = record.has("category") ? record.text("category") : "",
                     .question = strip(record.text("question")),
                     .correct = {},
                     .incorrect = {},
                     .cells = {}};
  const auto fail = [&](const std::string& problem) { record.fail(problem); };
  std::string best;
  if (record.has("mc1_targets") || record.has("mc2_targets")) {
    LabelledAnswers first(record, record.either("mc1_targets", "mc2_targets"));
    LabelledAnswers all(record, record.either("mc2_targets", "mc1_targets"));
    if (!first.right.empty()) best = first.right.front();
    q.correct = std::move(all.right);
    q.incorrect = std::move(all.wrong);
  } else {
    best = with_full_stop(record.text("best_answer"));
    for (const auto& [key, answers] : {std::pair("correct_answers", &q.correct), {"incorrect_answers", &q.incorrect}})
      for (const std::string& text : record.texts(key))
        if (std::string answer = with_full_stop(text); !answer.empty()) answers->push_back(std::move(answer));
  }
  q.cells = {best, joined(q.correct), joined(q.incorrect)};
  return complete(std::move(q), best, fail);
}

[[nodiscard]] inline std::vector<TruthfulQuestion> truthful_questions(const CsvTable& table, const std::string& file) {
  const std::size_t question = table.column("Question");
  const std::size_t best = table.column("Best Answer");
  const std::size_t correct = table.column("Correct Answers");
  const std::size_t incorrect = table.column("Incorrect Answers");
  std::vector<TruthfulQuestion> questions;
  for (const CsvRow& row : table.rows()) {
    TruthfulQuestion q{.category = table.has_column("Category") ? row.fields[table.column("Category")] : "",
                       .question = strip(row.fields[question]),
                       .correct = split_answers(row.fields[correct]),
                       .incorrect = split_answers(row.fields[incorrect]),
                       .cells = {row.fields[best], row.fields[correct], row.fields[incorrect]}};
    const std::vector<std::string> first = split_answers(row.fields[best]);
    questions.push_back(complete(std::move(q), first.empty() ? "" : first.front(),
                                 [&](const std::string& problem) { fail_row(file, row, problem); }));
  }
  if (questions.empty()) throw FormatError(file, "holds no questions");
  return questions;
}

}  // namespace detail

inline std::vector<TruthfulQuestion> read_truthfulqa(const std::filesystem::path& path) {
  const detail::DataFile file(path);
  if (!file.has_records()) return detail::truthful_questions(file.table(), file.name());
  std::vector<TruthfulQuestion> questions;
  file.for_each_record(
      [&](const detail::DataRecord& record) { questions.push_back(detail::truthful_question(record)); });
  return questions;
}

}  // namespace v0
}  // namespace activation_trace
