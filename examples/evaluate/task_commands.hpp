// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

#include "evaluate/command.hpp"

namespace activation_trace::examples {

/// A subcommand for every task.
void add_task_commands(CLI::App& app, Command& command);

}  // namespace activation_trace::examples
