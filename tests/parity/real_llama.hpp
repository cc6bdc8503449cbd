// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <thread>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/ops/execution.hpp"
#include "support/real_model.hpp"

namespace activation_trace::test {

/// SmolLM2, ready to run.
struct RealLlama {
  Checkpoint checkpoint = load_llama(real_model_or_skip());
  Execution<Host> execution{static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 8u))};
  Llama<> llama{checkpoint.config, checkpoint.weights, {.max_context = 704}, execution};
};

}  // namespace activation_trace::test
