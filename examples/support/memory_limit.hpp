// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

// How much memory a program may use, which in a container or a batch job is less than the machine has.
namespace activation_trace::examples {

/// The lowest limit of Linux's control groups that the program is in, in bytes; infinity where there is none, or no
/// control group. `groups` says which groups these are, as /proc/self/cgroup does, `root` is where they are mounted.
[[nodiscard]] inline double control_group_limit(const std::filesystem::path& groups = "/proc/self/cgroup",
                                                const std::filesystem::path& root = "/sys/fs/cgroup") {
  namespace fs = std::filesystem;
  double lowest = std::numeric_limits<double>::infinity();
  // A group's limit holds for those below it. A container may see the names of groups that it does not see as files:
  // its own is the root then.
  const auto add_limits = [&](const fs::path& mounted, std::string_view group, const char* file) {
    for (fs::path below = fs::path(group).relative_path();; below = below.parent_path()) {
      std::ifstream limit(mounted / below / file);
      if (double bytes = 0; limit >> bytes) lowest = std::min(lowest, bytes);  // "max" is no number: no limit
      if (below.empty()) break;
    }
  };
  std::ifstream lines(groups);
  for (std::string line; std::getline(lines, line);) {  // NUMBER:CONTROLLERS:GROUP
    const std::size_t controllers = line.find(':') + 1;
    const std::size_t group = line.find(':', controllers) + 1;
    if (controllers == 0 || group == 0) continue;
    const std::string named = ',' + line.substr(controllers, group - 1 - controllers) + ',';
    if (named == ",,")  // version 2; beside version 1 it is mounted elsewhere, and has no memory
      add_limits(root, line.substr(group), "memory.max");
    else if (named.find(",memory,") != std::string::npos)
      add_limits(root / "memory", line.substr(group), "memory.limit_in_bytes");
  }
  return lowest;
}

/// The machine's memory in bytes.
[[nodiscard]] inline double machine_memory() {
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

/// Throws Error naming the model where `sequences` texts of `context` positions take `needed` bytes, and that is more
/// than the machine has, or the program's control group may use: before they are asked for, because a system that
/// promises more than it has ends the program when the memory is used.
inline void check_memory(const std::string& model, double needed, Index context, Index sequences) {
  const double machine = machine_memory();
  const double limit = control_group_limit();
  const double there = std::min(machine, limit);
  if (needed <= there) return;
  char sizes[128];
  std::snprintf(sizes, sizeof sizes, " takes %.3g GiB of memory, and this %s %.3g; give a smaller -c", needed / 0x1p30,
                limit < machine ? "program's control group (cgroup) may use" : "machine has", there / 0x1p30);
  const std::string positions = "a context of " + std::to_string(context) + " positions";
  throw Error(model + ": " +
              (sequences == 1 ? positions + sizes
                              : positions + " for each of " + std::to_string(sequences) + " texts at once" + sizes +
                                    ", or fewer texts at once"));
}

}  // namespace activation_trace::examples
