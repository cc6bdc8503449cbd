// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/tasks/knowledge_qa.hpp"

namespace activation_trace::examples::tasks {

extern constinit const Task hotpotqa{
    .name = "hotpotqa",
    .summary = "HotpotQA: questions, answered freely",
    .data = {.file = "hotpot_dev.json",
             .folder = "../scripts/data/hpqa",
             .where = "https://hotpotqa.github.io (the development set)"},
    .generates = true,
    .max_new_tokens = 20,
    .repetition_penalty = 1.2f,
    .dataset_name = "hotpotqa",
    .read = [](const TaskSettings& settings,
               const std::filesystem::path& file) { return knowledge_qa_run(settings, read_hotpotqa(file)); },
    .prompt = knowledge_qa_prompt,
    .styles = true,
    .shots = 2,
    .fields = knowledge_qa_fields,
    .sweep_fields = knowledge_qa_sweep_fields,
    .measures = knowledge_qa_measures,
    .published_files =
        [](const FinishedRun& run) {
          return knowledge_qa_files(run, [](const nlohmann::ordered_json& record) -> nlohmann::ordered_json {
            return record.at("gold").at(0);
          });
        }};

}  // namespace activation_trace::examples::tasks
