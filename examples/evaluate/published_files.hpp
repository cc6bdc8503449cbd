// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "evaluate/finished_run.hpp"
#include "evaluate/task.hpp"

// The files of the published scripts, to the byte (evaluation/README.md), named by the run's name without its ending.
// Of flags without an effect here they have the scripts' defaults; MC2 is the published one, mc2_reference.
namespace activation_trace::examples {

/// What the published script of a run's task writes. Throws ArgumentError for a task that they do not have, Error for a
/// record without what they say.
[[nodiscard]] std::vector<NamedContent> published_files(const FinishedRun& run);

/// The run's name without its ending.
[[nodiscard]] inline std::string file_stem(const FinishedRun& run) { return run.path.stem().string(); }

/// eval_knowledge_qa or eval_tqa: they have different flags.
enum class PublishedScript { knowledge_qa, truthfulqa };

/// What every rating ends with; the dataset of eval_knowledge_qa is "triviaqa", whatever it is.
void add_published_run(nlohmann::ordered_json& rating, const FinishedRun& run, PublishedScript script,
                       const std::string& prompt);

}  // namespace activation_trace::examples
