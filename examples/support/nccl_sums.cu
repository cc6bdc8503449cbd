// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/nccl_sums.cuh"

#include <memory>

#include "activation_trace/cuda/nccl_communicator.cuh"

namespace activation_trace::examples {

AllReduce<Cuda> nccl_sums(const std::vector<Execution<Cuda>>& ranks) {
  return cuda::all_reduce_of(std::make_shared<cuda::NcclCommunicator>(ranks));
}

}  // namespace activation_trace::examples
