// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/nccl_sums.cuh"

namespace activation_trace::examples {

AllReduce<Cuda> nccl_sums(const std::vector<Execution<Cuda>>&) {
  throw Error(
      "--split-mode tensor-nccl: this program was built without NCCL (nccl.h and libnccl, beside CUDA or on "
      "CMAKE_PREFIX_PATH); --split-mode tensor needs none");
}

}  // namespace activation_trace::examples
