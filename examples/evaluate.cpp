// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// The paper's experiments, a subcommand each. Results go to files and, as a table, to standard output; everything else
// to standard error. Exit codes: 0 done, 1 something went wrong, 2 the command line makes no sense.
#include <CLI/CLI.hpp>
#include <optional>

#include "evaluate/command.hpp"
#include "evaluate/compare.hpp"
#include "evaluate/export.hpp"
#include "evaluate/task_commands.hpp"
#include "support/command_line.hpp"

namespace activation_trace::examples {
namespace {

int run(int argc, char** argv) {
  CLI::App app("Runs the experiments of activation decoding on public data sets.", "evaluate");
  app.require_subcommand(1);
  add_version(app);
  Command command;
  add_task_commands(app, command);
  add_compare_command(app, command);
  add_export_command(app, command);
  if (const std::optional<int> done = parse(app, argc, argv)) return *done;
  return command();
}

}  // namespace
}  // namespace activation_trace::examples

int main(int argc, char** argv) {
  return activation_trace::examples::guarded("evaluate", activation_trace::examples::run, argc, argv);
}
