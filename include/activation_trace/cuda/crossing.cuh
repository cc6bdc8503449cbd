// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "activation_trace/cuda/stream.cuh"
#include "activation_trace/model/llama_part.hpp"

// A model's blocks on several devices: memory of each, and states that go from one to the next.
namespace activation_trace {
inline namespace v0 {
namespace detail {

template <>
struct MemoryScope<Cuda> {
  explicit MemoryScope(const Execution<Cuda>& execution) : guard(execution.device()) {}
  cuda::DeviceGuard guard;
};

/// By the stream that they come from, which waits for what the other was asked before; the other waits for them.
template <>
struct Crossing<Cuda> {
  Crossing(Execution<Cuda>& source, Execution<Cuda>& target) : from_execution(source), to_execution(target) {
    order(to_execution, from_execution);
  }
  Crossing(const Crossing&) = delete;
  Crossing& operator=(const Crossing&) = delete;

  void operator()(MatrixView<const float, Cuda> from, MatrixView<float, Cuda> to) {
    const cuda::DeviceGuard guard(from_execution.device());
    cuda::check(cudaMemcpyPeerAsync(to.data(), to_execution.device(), from.data(), from_execution.device(),
                                    static_cast<std::size_t>(from.size()) * sizeof(float), from_execution.get()),
                "cudaMemcpyPeerAsync");
    order(from_execution, to_execution);
  }

  /// What `after` is asked from now on waits for what `before` was asked until now.
  static void order(Execution<Cuda>& before, Execution<Cuda>& after) {
    cuda::Event event(before);
    event.record(before);
    const cuda::DeviceGuard guard(after.device());
    cuda::check(cudaStreamWaitEvent(after.get(), event.get(), 0), "cudaStreamWaitEvent");
  }

  Execution<Cuda>& from_execution;
  Execution<Cuda>& to_execution;
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
