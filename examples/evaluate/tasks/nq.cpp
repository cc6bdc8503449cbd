// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/tasks/knowledge_qa.hpp"

namespace activation_trace::examples::tasks {

extern constinit const Task nq = [] {
  Task t = knowledge_qa;
  t.name = "nq";
  t.summary = "Natural Questions: questions, answered freely";
  t.data = {.file = "NQ-open.dev.jsonl",
            .folder = "../scripts/data/nq",
            .where = "https://github.com/google-research-datasets/natural-questions (nq_open)"};
  t.dataset_name = "natural_questions";
  t.read = [](const TaskSettings& settings, const std::filesystem::path& file) {
    return knowledge_qa_run(settings, read_nq_open(file));
  };
  t.published_files = [](const FinishedRun& run) {
    return knowledge_qa_files(
        run, [](const nlohmann::ordered_json& record) -> nlohmann::ordered_json { return record.at("gold"); });
  };
  return t;
}();

}  // namespace activation_trace::examples::tasks
