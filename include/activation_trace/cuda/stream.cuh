// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <type_traits>

#include "activation_trace/cuda/device.cuh"
#include "activation_trace/cuda/execution.cuh"

namespace activation_trace {
inline namespace v0 {

namespace cuda {

/// Owns a stream of the device that is current when it is made. It does not synchronise with the legacy default stream.
class Stream {
 public:
  Stream() : stream_(create()), view_(stream_.get()) {}

  /// For whatever takes somebody's stream.
  operator Execution<Cuda>() const noexcept { return view_; }  // NOLINT(google-explicit-constructor)
  /// The stream itself, for CUDA's own functions.
  [[nodiscard]] cudaStream_t get() const noexcept { return stream_.get(); }
  /// As Execution<Cuda>::synchronize().
  void synchronize() const { view_.synchronize(); }

 private:
  static cudaStream_t create() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    return stream;
  }
  struct Destroy {
    void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
  };
  std::unique_ptr<std::remove_pointer_t<cudaStream_t>, Destroy> stream_;
  Execution<Cuda> view_;
};

/// Owns an event. Events time work and order streams.
class Event {
 public:
  /// For streams of the device of `stream`.
  explicit Event(Execution<Cuda> stream) {
    const DeviceGuard guard(stream.device());
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "cudaEventCreate");
    event_.reset(event);
  }

  /// The event itself, for CUDA's own functions.
  [[nodiscard]] cudaEvent_t get() const noexcept { return event_.get(); }
  /// The event is reached when the work queued on `stream` so far is done. Throws CudaError.
  void record(Execution<Cuda> stream) {
    const DeviceGuard guard(stream.device());
    check(cudaEventRecord(event_.get(), stream.get()), "cudaEventRecord");
  }
  /// What `stream`, of any device, is asked from now on waits for the event where it is now; for nothing if it never
  /// was recorded. The event need not live until then. Throws CudaError.
  void hold(Execution<Cuda> stream) const {
    const DeviceGuard guard(stream.device());
    check(cudaStreamWaitEvent(stream.get(), event_.get(), 0), "cudaStreamWaitEvent");
  }
  /// Blocks the host until the event is reached. Throws CudaError.
  void synchronize() const { check(cudaEventSynchronize(event_.get()), "cudaEventSynchronize"); }

  /// Milliseconds from `start` to this event, both recorded and reached.
  [[nodiscard]] float milliseconds_since(const Event& start) const {
    float time = 0;
    check(cudaEventElapsedTime(&time, start.get(), event_.get()), "cudaEventElapsedTime");
    return time;
  }

 private:
  struct Destroy {
    void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
  };
  std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, Destroy> event_;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
