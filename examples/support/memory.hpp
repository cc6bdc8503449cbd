// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

#include "activation_trace/error.hpp"
#include "activation_trace/model/llama.hpp"

namespace activation_trace::examples {

/// Throws Error for options that take more memory than the machine has: before it is asked for, because a system that
/// promises more than it has ends the program when the memory is used.
inline void check_memory(const LlamaConfig& config, const LlamaOptions& options) {
  const double needed = llama_memory(config, options);
  const double there = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (needed <= there || options.max_context > config.max_context) return;  // the model itself refuses the latter
  char sizes[96];
  std::snprintf(sizes, sizeof sizes, " takes %.3g GiB of memory, and this machine has %.3g; give a smaller -c",
                needed / 0x1p30, there / 0x1p30);
  const std::string positions = "a context of " + std::to_string(options.max_context) + " positions";
  throw Error(config.source + ": " +
              (options.sequences == 1 ? positions + sizes
                                      : positions + " for each of " + std::to_string(options.sequences) +
                                            " texts at once" + sizes + ", or fewer texts at once"));
}

}  // namespace activation_trace::examples
