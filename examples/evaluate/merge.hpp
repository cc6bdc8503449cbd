// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

#include "support/command.hpp"

namespace activation_trace::examples {

/// `merge OUT SHARD...`: the shards of a run as the files that a single process would have written.
void add_merge_command(CLI::App& app, Command& command);

}  // namespace activation_trace::examples
