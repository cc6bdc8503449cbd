// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

namespace activation_trace::examples {

/// What a subcommand does once the whole command line has been read; the result is the exit code. It throws UsageError
/// for a command line that makes no sense (exit code 2) and anything else for what went wrong (1).
///
/// A subcommand is a function `void add_NAME_command(CLI::App& app, Command& command)`, which adds it to `app` and has
/// its callback set `command`. What its options are written to lives in a shared_ptr that both hold.
using Command = std::function<int()>;

}  // namespace activation_trace::examples
