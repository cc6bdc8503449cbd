// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// The paper's experiments, a subcommand each. Results go to files and, as a table, to standard output; everything else
// to standard error. Exit codes: 0 done, 1 something went wrong, 2 the command line makes no sense.
#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "evaluate/chat.hpp"
#include "evaluate/compare.hpp"
#include "evaluate/export.hpp"
#include "evaluate/judge.hpp"
#include "evaluate/merge.hpp"
#include "evaluate/ranks.hpp"
#include "evaluate/sweep.hpp"
#include "evaluate/task.hpp"
#include "evaluate/task_commands.hpp"
#include "support/command.hpp"
#include "support/command_line.hpp"

namespace activation_trace::examples {
namespace {

int run(int argc, char** argv) {
  Ranks ranks;
  return ranks.together([&] {
    CLI::App app("Runs the experiments of activation decoding on public data sets.", "evaluate");
    app.require_subcommand(1);
    add_version(app);
    Command command;
    add_task_commands(app, command, ranks);
    add_merge_command(app, command);
    add_compare_command(app, command);
    add_export_command(app, command);
    add_judge_command(app, command);
    add_sweep_command(app, command, ranks);
    add_chat_command(app, command);
    if (const std::optional<int> done = parse(app, argc, argv)) return *done;
    const std::string chosen = app.get_subcommands().front()->get_name();
    const bool shares = chosen == "sweep" || find_task(chosen) != nullptr;
    if (ranks.size() > 1 && !shares) throw UsageError(chosen + ": not under mpirun, which is for tasks and sweeps");
    return command();
  });
}

}  // namespace
}  // namespace activation_trace::examples

int main(int argc, char** argv) {
  return activation_trace::examples::guarded("evaluate", activation_trace::examples::run, argc, argv);
}
