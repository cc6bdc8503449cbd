// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "activation_trace/cuda/allocator.cuh"
#include "activation_trace/cuda/device.cuh"
#include "activation_trace/error.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/space.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Somebody's stream, not owned: the first argument of everything that runs on a device. Implicit from
/// cudaStream_t, so that an engine's own stream is passed as it is. The default is the legacy default stream of the
/// device that is current then. Work on it is the stream's device's, whichever is current. Copies are the same: they
/// share the scratch memory, which is gone with the last of them. One op at a time is queued by them.
template <>
class Execution<Cuda> {
 public:
  Execution() : Execution(cudaStream_t{}) {}
  /// Throws CudaError for what is no stream. Before CUDA 12.8 the stream must be one of the current device.
  Execution(cudaStream_t stream)  // NOLINT(google-explicit-constructor): see above
      : stream_(stream), device_(device_of(stream)), scratch_(std::make_shared<Scratch>()) {}

  /// The stream itself, for CUDA's own functions.
  [[nodiscard]] cudaStream_t get() const noexcept { return stream_; }
  /// The number of the stream's device.
  [[nodiscard]] int device() const noexcept { return device_; }

  /// Blocks the host until the work queued so far is done. Throws CudaError, also for failures of that work.
  void synchronize() const {
    const cuda::DeviceGuard guard(device_);
    cuda::check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

  /// Whether work is recorded for a graph now, and not done.
  [[nodiscard]] bool recording() const {
    const cuda::DeviceGuard guard(device_);
    cudaStreamCaptureStatus status{};
    cuda::check(cudaStreamIsCapturing(stream_, &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
  }

  /// Memory of the device for one op, aligned to 256 bytes, with indeterminate content: the next op's in the order of
  /// the stream, so nothing is kept in it. It grows to the largest size asked for, and what was given out before stays
  /// as long as the execution, for graphs that name it. Growing allocates: not while work is recorded (StateError).
  template <class T>
  [[nodiscard]] VectorView<T, Cuda> scratch(Index count) const {
    const auto bytes = static_cast<Index>(sizeof(T)) * count;
    if (scratch_->empty() || scratch_->back().size() < bytes) {
      if (recording())
        throw StateError("Execution<Cuda>: scratch memory grows while work is recorded; run it once before");
      const cuda::DeviceGuard guard(device_);
      const Index known = scratch_->empty() ? 0 : scratch_->back().size();
      scratch_->emplace_back(std::max({bytes, 2 * known, Index{1} << 16}));  // all that it outgrew is less than it
    }
    return {reinterpret_cast<T*>(scratch_->back().data()), {count}};
  }

 private:
  using Scratch = std::vector<Buffer<std::byte, Cuda>>;

  static int device_of([[maybe_unused]] cudaStream_t stream) {
    int device = 0;
#if CUDART_VERSION >= 12080
    const cudaError_t code = cudaStreamGetDevice(stream, &device);
    if (code != cudaErrorCallRequiresNewerDriver) {
      cuda::check(code, "cudaStreamGetDevice");
      return device;
    }
    cudaGetLastError();
#endif
    cuda::check(cudaGetDevice(&device), "cudaGetDevice");
    return device;
  }

  cudaStream_t stream_;
  int device_;
  std::shared_ptr<Scratch> scratch_;
};

}  // namespace v0
}  // namespace activation_trace
