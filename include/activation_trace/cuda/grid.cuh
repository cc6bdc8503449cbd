// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

struct Grid {
  dim3 blocks;
  int threads;  ///< per block
  int dynamic_shared_bytes = 0;
};

[[nodiscard]] inline dim3 blocks(Index x, Index y = 1, Index z = 1) {
  return {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
