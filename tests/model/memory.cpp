// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/model/llama.hpp"
#include "support/real_model.hpp"

using namespace activation_trace;

namespace {

/// Bytes of one line of /proc/self/status.
double status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    double kibibytes = 0;
    if (line.starts_with(key + ":") && std::istringstream(line.substr(key.size() + 1)) >> kibibytes)
      return kibibytes * 1024;
  }
  FAIL("no " << key << " in /proc/self/status");
  return 0;
}

}  // namespace

TEST_CASE("SmolLM2 with a context of 512 needs at most the mapped file and 150 MB") {
  const std::filesystem::path path = test::real_model_or_skip();
  const Checkpoint checkpoint = load_llama(path);
  Execution<Host> execution(2);
  Llama model(checkpoint.config, checkpoint.weights, {.max_context = 512}, execution);
  std::vector<TokenId> ids;
  for (TokenId i = 0; i < 500; ++i) ids.push_back(i * 97 % 49152);
  model.forward(ids);
  for (std::size_t i = 0; i < 12; ++i) model.forward(std::span(ids).subspan(i, 1));
  const double peak = status_bytes("VmHWM");
  const auto file = static_cast<double>(std::filesystem::file_size(path));
  MESSAGE("peak " << peak / 1e6 << " MB, anonymous " << status_bytes("RssAnon") / 1e6 << " MB, file " << file / 1e6
                  << " MB");
  CHECK(peak <= file + 150e6);
}
