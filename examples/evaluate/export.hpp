// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

#include "support/command.hpp"

namespace activation_trace::examples {

/// `export OUT`: a finished run in the file shapes of lm-evaluation-harness or of the reference.
void add_export_command(CLI::App& app, Command& command);

}  // namespace activation_trace::examples
