// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

#include "support/command.hpp"

namespace activation_trace::examples {

/// `chat`: sampled answers to open questions, for another model to compare (gpt4_judge_eval, evaluation/README.md 1.3).
void add_chat_command(CLI::App& app, Command& command);

}  // namespace activation_trace::examples
