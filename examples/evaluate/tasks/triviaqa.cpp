// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/tasks/knowledge_qa.hpp"

namespace activation_trace::examples::tasks {

extern constinit const Task triviaqa = [] {
  Task t = knowledge_qa;
  t.name = "triviaqa";
  t.summary = "TriviaQA: questions, answered freely";
  t.data = {
      .file = "triviaqa.jsonl",
      .folder = "../scripts/data/trqa",
      .where =
          "https://huggingface.co/datasets/mandarjoshi/trivia_qa (unfiltered.nocontext, validation, as JSON lines)"};
  t.dataset_name = "triviaqa";
  t.read = [](const TaskSettings& settings, const std::filesystem::path& file) {
    return knowledge_qa_run(settings, read_triviaqa(file));
  };
  t.published_files = [](const FinishedRun& run) {
    return knowledge_qa_files(run, [](const nlohmann::ordered_json& record) -> nlohmann::ordered_json {
      const nlohmann::ordered_json& gold = record.at("gold");  // the aliases of it
      const std::size_t aliases = std::min(record.value("aliases", gold.size()), gold.size());
      return nlohmann::ordered_json::array_t(gold.begin(), gold.begin() + static_cast<std::ptrdiff_t>(aliases));
    });
  };
  return t;
}();

}  // namespace activation_trace::examples::tasks
