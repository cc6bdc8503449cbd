// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/cuda/buffer.cuh"

int main() {
  try {
    const activation_trace::Buffer<float, activation_trace::Cuda> buffer(16);
    return buffer.size() == 16 ? 0 : 1;
  } catch (const activation_trace::CudaError&) {
    return 0;  // a machine without a device
  }
}
