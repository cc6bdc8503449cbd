// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// Pictures of what the method reads, as a page, SVG, numbers or text (report/README.md). Exit codes: 0 done, 1
// something went wrong, 2 the command line makes no sense.
#include <CLI/CLI.hpp>
#include <optional>

#include "support/command_line.hpp"
#include "visualize/auroc.hpp"
#include "visualize/grid.hpp"
#include "visualize/map.hpp"
#include "visualize/trace.hpp"

namespace activation_trace::examples {
namespace {

int run(int argc, char** argv) {
  CLI::App app("Draws activations, entropies and what they tell.", "visualize");
  app.require_subcommand(1);
  add_version(app);
  Command command;
  add_map_command(app, command);
  add_trace_command(app, command);
  add_auroc_command(app, command);
  add_grid_command(app, command);
  if (const std::optional<int> done = parse(app, argc, argv)) return *done;
  return command();
}

}  // namespace
}  // namespace activation_trace::examples

int main(int argc, char** argv) {
  return activation_trace::examples::guarded("visualize", activation_trace::examples::run, argc, argv);
}
