// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

#include "support/command.hpp"

namespace activation_trace::examples {

/// `compare A B`: two runs over the same questions side by side, the paired test, and what flipped.
void add_compare_command(CLI::App& app, Command& command);

}  // namespace activation_trace::examples
