// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

#include "evaluate/ranks.hpp"
#include "support/command.hpp"

namespace activation_trace::examples {

/// A subcommand for every task. The tasks run on all ranks.
void add_task_commands(CLI::App& app, Command& command, Ranks& ranks);

}  // namespace activation_trace::examples
