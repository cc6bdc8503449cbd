// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "activation_trace/cuda.cuh"

activation_trace::SoftmaxState state_by_nvcc(const std::vector<float>& logits) {
  activation_trace::SoftmaxState state;
  for (const float x : logits) state.push(x);
  return state;
}

/// Whether Buffer<T, Cuda> uses the allocator of this side: without a device it fails with CUDA's error.
const char* space_by_nvcc() {
  try {
    const activation_trace::Buffer<float, activation_trace::Cuda> buffer(16);
    return "device";
  } catch (const activation_trace::CudaError&) {
    return "device";
  }
}
