// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

#include "support/command.hpp"

namespace activation_trace::examples {

/// `judge OUT`: has the open-ended answers of a finished run rated, by a local model, an HTTP endpoint or a file.
void add_judge_command(CLI::App& app, Command& command);

}  // namespace activation_trace::examples
