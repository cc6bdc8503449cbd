// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/cuda/error.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Makes a device current while it lives, and the one that was when it goes. What takes a stream works on the stream's
/// device by itself; a guard is for what CUDA does on the current device: making a Stream, a Buffer<T, Cuda>.
class DeviceGuard {
 public:
  /// Throws CudaError.
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&previous_), "cudaGetDevice");
    if (device == previous_) return;
    check(cudaSetDevice(device), "cudaSetDevice");
    changed_ = true;
  }
  ~DeviceGuard() {
    if (changed_) cudaSetDevice(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = 0;
  bool changed_ = false;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
