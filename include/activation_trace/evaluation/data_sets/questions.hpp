// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/answer_metrics.hpp"
#include "activation_trace/evaluation/data_sets/data_file.hpp"
#include "activation_trace/evaluation/data_sets/python_list.hpp"
#include "activation_trace/evaluation/data_sets/record.hpp"
#include "activation_trace/text/csv.hpp"

namespace activation_trace {
inline namespace v0 {

/// A question with every answer that counts as right.
struct QaQuestion {
  std::string id;                 ///< the data set's own, or the record's number from 0
  std::string question;           ///< as in the data set
  std::vector<std::string> gold;  ///< its right answers, at least one
  /// How many of `gold`, the first, are TriviaQA's own list of aliases; the others are normalised here.
  std::size_t aliases = static_cast<std::size_t>(-1);
};

/// TriviaQA: Hugging Face's records (answer.normalized_aliases and the normalised normalized_value, and HumanAnswers
/// where there are, evaluation/README.md 2.1), its authors' own ({"Data": [...]} with NormalizedAliases), records
/// {question, answers: [...]}, or lines of question, TAB or comma, Python list of aliases.
[[nodiscard]] std::vector<QaQuestion> read_triviaqa(const std::filesystem::path& path);

/// NQ-open: records {question, answer: [...]} or {question, answers: [...]}, or DPR's lines of question, TAB or comma,
/// Python list of answers.
[[nodiscard]] std::vector<QaQuestion> read_nq_open(const std::filesystem::path& path);

/// HotpotQA: records {question, answer} or {question, answers: [...]}, or lines as NQ-open's.
[[nodiscard]] std::vector<QaQuestion> read_hotpotqa(const std::filesystem::path& path);

namespace detail {

/// Rows of a question and a Python list.
[[nodiscard]] inline std::vector<QaQuestion> questions_and_lists(const DataFile& file) {
  std::vector<QaQuestion> questions;
  for (const CsvRow& row : file.rows()) {
    const auto fail = [&](const std::string& problem) { fail_row(file.name(), row, problem); };
    if (row.fields.size() != 2)
      fail(std::string("expected a question, a ") + (file.form() == DataForm::tabs ? "TAB" : "comma") +
           " and a list of answers, found " + std::to_string(row.fields.size()) + " fields");
    auto gold = PythonList::parse(row.fields[1]);
    if (!gold) fail("the answers are not a Python list of strings");
    if (is_blank(row.fields[0])) fail("the question is empty");
    if (!has_answer(*gold)) fail("there is no answer");
    questions.push_back({std::to_string(questions.size()), row.fields[0], std::move(*gold)});
  }
  return questions;
}

/// What `read(record)` makes of each record, or rows of a question and a list.
template <class Read>
std::vector<QaQuestion> read_questions(const std::filesystem::path& path, const Read& read) {
  const DataFile file(path);
  if (!file.has_records()) return questions_and_lists(file);
  std::vector<QaQuestion> questions;
  file.for_each_record([&](const DataRecord& record) { questions.push_back(read(record)); });
  return questions;
}

/// The list "answer" or "answers".
[[nodiscard]] inline std::vector<std::string> listed_answers(const DataRecord& record) {
  const char* key = record.either("answer", "answers");
  std::vector<std::string> gold = record.texts(key);
  if (!has_answer(gold)) record.fail("there is no '" + std::string(key) + "'");
  return gold;
}

/// Fills in TriviaQA's aliases, value and what people answered, in the spelling of Hugging Face or of its authors.
inline void add_normalized_answers(QaQuestion& q, const DataRecord& record) {
  const char* key = record.either("answer", "Answer");
  const DataRecord::Json& answer = record.member(key);
  if (!answer.is_object()) record.fail("expected '" + std::string(key) + "' to be an object");
  q.gold = record.texts(answer, answer.contains("NormalizedAliases") ? "NormalizedAliases" : "normalized_aliases");
  q.aliases = q.gold.size();
  for (const char* name : {"normalized_value", "NormalizedValue"})
    if (const auto value = answer.find(name); value != answer.end() && value->is_string())
      q.gold.push_back(normalize_answer(value->get<std::string>()));
  for (const std::string& human : record.texts(answer, "HumanAnswers")) q.gold.push_back(normalize_answer(human));
  if (q.gold.empty()) record.fail("there is no answer");
}

}  // namespace detail

inline std::vector<QaQuestion> read_triviaqa(const std::filesystem::path& path) {
  return detail::read_questions(path, [](const detail::DataRecord& record) {
    QaQuestion q{record.id(record.either("question_id", "QuestionId")),
                 record.filled_text(record.either("question", "Question")),
                 {}};
    if (!record.has("answer") && record.has("answers"))
      q.gold = detail::listed_answers(record);
    else
      detail::add_normalized_answers(q, record);
    return q;
  });
}

inline std::vector<QaQuestion> read_nq_open(const std::filesystem::path& path) {
  return detail::read_questions(path, [](const detail::DataRecord& record) {
    return QaQuestion{std::to_string(record.number()), record.filled_text("question"), detail::listed_answers(record)};
  });
}

inline std::vector<QaQuestion> read_hotpotqa(const std::filesystem::path& path) {
  return detail::read_questions(path, [](const detail::DataRecord& record) {
    const bool listed = !record.has("answer") && record.has("answers");
    return QaQuestion{record.id(record.either("id", "_id")), record.filled_text("question"),
                      listed ? detail::listed_answers(record) : std::vector{record.filled_text("answer")}};
  });
}

}  // namespace v0
}  // namespace activation_trace
