// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "activation_trace/cuda/buffer.cuh"
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

/// An event, where the host waits for nothing.
template <>
struct Mark<Cuda> {
  void set(Execution<Cuda>& execution) {
    if (!event) event.emplace(execution);
    event->record(execution);
  }
  void wait(Execution<Cuda>& execution) const {
    if (event) event->hold(execution);
  }

  std::optional<cuda::Event> event;
};

template <>
struct Crossing<Cuda> {
  static void bring(Execution<Cuda>& from, Execution<Cuda>& to, const MatrixView<const float, Cuda>& x,
                    const MatrixView<float, Cuda>& y) {
    if (y.contiguous())
      cuda::copy_peer(from, VectorView<const float, Cuda>(x.data(), {x.size()}), from.device(),
                      VectorView<float, Cuda>(y.data(), {y.size()}), to.device());
    else
      cuda::copy(from, x, y);  // addresses are unique among devices, so they say where
    cuda::Event there(from);
    there.record(from);
    there.hold(to);
  }
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
