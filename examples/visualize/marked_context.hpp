// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <string_view>

#include "activation_trace/processors/mode.hpp"
#include "support/described_options.hpp"

namespace activation_trace::examples {

/// The context that a picture is of, whose info layer it marks.
inline void add_marked_context(CLI::App& app, DescribedOptions& options) {
  options.add(app, ContextOptions{}, [](std::string_view key) { return key != "context_growth"; });
  options.option("info_layer")
      ->description("the hidden state 0..N that is marked, negative from the end (default: 80 % of N)");
}

}  // namespace activation_trace::examples
