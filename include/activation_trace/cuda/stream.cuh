// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <type_traits>

#include "activation_trace/cuda/error.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Somebody's stream, not owned: the first argument of everything that runs on a device. Implicit from
/// cudaStream_t, so that an engine's own stream is passed as it is. The default is the legacy default stream.
class StreamView {
 public:
  StreamView() noexcept = default;
  StreamView(cudaStream_t stream) noexcept : stream_(stream) {}  // NOLINT(google-explicit-constructor): see above

  [[nodiscard]] cudaStream_t get() const noexcept { return stream_; }

  /// Blocks the host until the work queued so far is done. Throws CudaError, also for failures of that work.
  void synchronize() const { check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Owns a stream that does not synchronise with the legacy default stream.
class Stream {
 public:
  Stream() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    stream_.reset(stream);
  }

  operator StreamView() const noexcept { return {stream_.get()}; }  // NOLINT(google-explicit-constructor)
  [[nodiscard]] cudaStream_t get() const noexcept { return stream_.get(); }
  void synchronize() const { StreamView(*this).synchronize(); }

 private:
  struct Destroy {
    void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
  };
  std::unique_ptr<std::remove_pointer_t<cudaStream_t>, Destroy> stream_;
};

/// Owns an event. Events time work and order streams.
class Event {
 public:
  Event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "cudaEventCreate");
    event_.reset(event);
  }

  [[nodiscard]] cudaEvent_t get() const noexcept { return event_.get(); }
  void record(StreamView stream) { check(cudaEventRecord(event_.get(), stream.get()), "cudaEventRecord"); }
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
