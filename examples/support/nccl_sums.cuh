// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "activation_trace/cuda/execution.cuh"
#include "activation_trace/model/llama_ranks.hpp"

namespace activation_trace::examples {

/// Sums over ranks by NCCL. Throws Error where this program was built without. nccl_sums.cu, or no_nccl_sums.cu.
[[nodiscard]] AllReduce<Cuda> nccl_sums(const std::vector<Execution<Cuda>>& ranks);

}  // namespace activation_trace::examples
