// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "activation_trace/cuda/error.cuh"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {

namespace cuda::detail {

/// What this thread may do while another records a graph (cudaStreamCaptureMode): by default CUDA refuses it to
/// allocate and to free where the other records in the default mode, as PyTorch does, and the other's graph is lost.
class CaptureModeGuard {
 public:
  explicit CaptureModeGuard(cudaStreamCaptureMode mode) noexcept : mode_(mode) {
    cudaThreadExchangeStreamCaptureMode(&mode_);
  }
  ~CaptureModeGuard() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  CaptureModeGuard(const CaptureModeGuard&) = delete;
  CaptureModeGuard& operator=(const CaptureModeGuard&) = delete;

 private:
  cudaStreamCaptureMode mode_;
};

}  // namespace cuda::detail

/// Memory of the current device (cuda::DeviceGuard). Allocation synchronises the device: buffers are made before the
/// token loop.
template <>
struct Allocator<Cuda> {
  /// `bytes` bytes with indeterminate content. Throws CudaError.
  static void* allocate(std::size_t bytes) {
    const cuda::detail::CaptureModeGuard mode(cudaStreamCaptureModeThreadLocal);
    void* memory = nullptr;
    cuda::check(cudaMalloc(&memory, bytes), "cudaMalloc");
    return memory;
  }
  /// Gives back what allocate() gave; null is allowed.
  static void deallocate(void* memory) noexcept {
    const cuda::detail::CaptureModeGuard mode(cudaStreamCaptureModeThreadLocal);
    cudaFree(memory);
  }
};

}  // namespace v0
}  // namespace activation_trace
