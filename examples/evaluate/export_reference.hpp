// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "evaluate/finished_run.hpp"

namespace activation_trace::examples {

/// A name and what is to be in it.
using NamedContent = std::pair<std::string, std::string>;

/// What the published scripts write of such a run, to the byte: NAME_results.json and NAME_rating.json of
/// eval_knowledge_qa, NAME.json of eval_tqamc, NAME.json of eval_tqa and, once it has been judged, its
/// NAME_results.json and NAME_rating.json (evaluation/README.md), where NAME is the run's without its ending. MC2 is
/// the published one, mc2_reference. Of flags without an effect here the files have the scripts' defaults, of "device"
/// "cpu". Throws ArgumentError for a task that they do not have, Error for a record without what they say.
[[nodiscard]] std::vector<NamedContent> reference_files(const FinishedRun& run);

}  // namespace activation_trace::examples
