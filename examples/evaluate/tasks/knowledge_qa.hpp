// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "activation_trace/evaluation/data_sets.hpp"
#include "evaluate/finished_run.hpp"
#include "evaluate/task.hpp"

// What TriviaQA, HotpotQA and Natural Questions have in common: questions that are answered freely after the published
// prompt, and rated by EM and F1.
namespace activation_trace::examples {

/// The questions, or their sweep.
[[nodiscard]] MakeRun knowledge_qa_run(const TaskSettings& settings, std::vector<QaQuestion> questions);

[[nodiscard]] std::vector<RecordField> knowledge_qa_fields();
[[nodiscard]] std::vector<RecordField> knowledge_qa_sweep_fields();
[[nodiscard]] std::vector<Measure> knowledge_qa_measures(const Records& records);

/// Such a task, of which its names, its data and how they are read are still to be said.
inline constexpr Task knowledge_qa{.name = {},
                                   .summary = nullptr,
                                   .data = {.file = nullptr, .where = nullptr},
                                   .generates = true,
                                   .max_new_tokens = 20,
                                   .repetition_penalty = 1.2f,
                                   .read = nullptr,
                                   .prompt = knowledge_qa_prompt,
                                   .styles = true,
                                   .shots = 2,
                                   .fields = knowledge_qa_fields,
                                   .sweep_fields = knowledge_qa_sweep_fields,
                                   .measures = knowledge_qa_measures};

/// NAME_results.json and NAME_rating.json of eval_knowledge_qa; `labels` is what it has as a record's right answers.
[[nodiscard]] std::vector<NamedContent> knowledge_qa_files(
    const FinishedRun& run, nlohmann::ordered_json (*labels)(const nlohmann::ordered_json& record));

}  // namespace activation_trace::examples
