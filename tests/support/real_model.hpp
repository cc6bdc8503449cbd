// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace activation_trace::test {

/// Where SmolLM2-135M-Instruct.Q4_1.gguf is expected: $ACTIVATION_TRACE_MODEL, else where examples/get_model.sh puts
/// it.
inline std::filesystem::path real_model_path() {
  if (const char* given = std::getenv("ACTIVATION_TRACE_MODEL")) return given;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const auto folder = cache != nullptr && *cache != '\0'
                          ? std::filesystem::path(cache)
                          : std::filesystem::path(home != nullptr ? home : "") / ".cache";
  return folder / "activation_trace" / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

/// That file. Without it the program says so and ends as skipped, so tests that ask for it are programs of their own.
inline std::filesystem::path real_model_or_skip() {
  const std::filesystem::path path = real_model_path();
  if (!std::filesystem::exists(path)) {
    std::printf("Skipped: this test needs the model %s; examples/get_model.sh fetches it\n", path.c_str());
    std::exit(77);
  }
  return path;
}

}  // namespace activation_trace::test
