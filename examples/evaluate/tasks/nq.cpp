// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/tasks/knowledge_qa.hpp"

namespace activation_trace::examples::tasks {

extern constinit const Task nq{
    .name = "nq",
    .summary = "Natural Questions: questions, answered freely",
    .data = {.file = "NQ-open.dev.jsonl",
             .folder = "../scripts/data/nq",
             .where = "https://github.com/google-research-datasets/natural-questions (nq_open)"},
    .generates = true,
    .max_new_tokens = 20,
    .repetition_penalty = 1.2f,
    .dataset_name = "natural_questions",
    .read = [](const TaskSettings& settings,
               const std::filesystem::path& file) { return knowledge_qa_run(settings, read_nq_open(file)); },
    .prompt = knowledge_qa_prompt,
    .styles = true,
    .shots = 2,
    .fields = knowledge_qa_fields,
    .sweep_fields = knowledge_qa_sweep_fields,
    .measures = knowledge_qa_measures,
    .published_files =
        [](const FinishedRun& run) {
          return knowledge_qa_files(
              run, [](const nlohmann::ordered_json& record) -> nlohmann::ordered_json { return record.at("gold"); });
        }};

}  // namespace activation_trace::examples::tasks
