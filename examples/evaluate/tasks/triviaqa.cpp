// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/tasks/knowledge_qa.hpp"

namespace activation_trace::examples::tasks {

extern constinit const Task triviaqa{
    .name = "triviaqa",
    .summary = "TriviaQA: questions, answered freely",
    .data =
        {.file = "triviaqa.jsonl",
         .folder = "../scripts/data/trqa",
         .where =
             "https://huggingface.co/datasets/mandarjoshi/trivia_qa (unfiltered.nocontext, validation, as JSON lines)"},
    .generates = true,
    .max_new_tokens = 20,
    .repetition_penalty = 1.2f,
    .dataset_name = "triviaqa",
    .read = [](const TaskSettings& settings,
               const std::filesystem::path& file) { return knowledge_qa_run(settings, read_triviaqa(file)); },
    .prompt = knowledge_qa_prompt,
    .styles = true,
    .shots = 2,
    .fields = knowledge_qa_fields,
    .sweep_fields = knowledge_qa_sweep_fields,
    .measures = knowledge_qa_measures,
    .published_files =
        [](const FinishedRun& run) {
          return knowledge_qa_files(run, [](const nlohmann::ordered_json& record) -> nlohmann::ordered_json {
            const nlohmann::ordered_json& gold = record.at("gold");  // the aliases of it
            const std::size_t aliases = std::min(record.value("aliases", gold.size()), gold.size());
            return nlohmann::ordered_json::array_t(gold.begin(), gold.begin() + static_cast<std::ptrdiff_t>(aliases));
          });
        }};

}  // namespace activation_trace::examples::tasks
