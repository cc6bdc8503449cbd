// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/tasks/knowledge_qa.hpp"

namespace activation_trace::examples::tasks {

extern constinit const Task hotpotqa = [] {
  Task t = knowledge_qa;
  t.name = "hotpotqa";
  t.summary = "HotpotQA: questions, answered freely";
  t.data = {.file = "hotpot_dev.json",
            .folder = "../scripts/data/hpqa",
            .where = "https://hotpotqa.github.io (the development set)"};
  t.dataset_name = "hotpotqa";
  t.read = [](const TaskSettings& settings, const std::filesystem::path& file) {
    return knowledge_qa_run(settings, read_hotpotqa(file));
  };
  t.published_files = [](const FinishedRun& run) {
    return knowledge_qa_files(
        run, [](const nlohmann::ordered_json& record) -> nlohmann::ordered_json { return record.at("gold").at(0); });
  };
  return t;
}();

}  // namespace activation_trace::examples::tasks
