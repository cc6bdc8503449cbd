// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

#include "evaluate/ranks.hpp"
#include "support/command.hpp"

namespace activation_trace::examples {

/// `sweep TASK`: a whole alpha x info_layer grid in little more than one run.
void add_sweep_command(CLI::App& app, Command& command, Ranks& ranks);

}  // namespace activation_trace::examples
