// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <type_traits>

#include "activation_trace/cuda/stream.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Owns a recorded sequence of device work, which launch() starts as a whole: one call of the driver instead of one per
/// kernel. It names the memory that the recorded calls were given, and must not outlive it.
class Graph {
 public:
  /// Records what `work(stream)` queues on `stream`, which must not be the legacy default stream, without running it;
  /// the stream's device is current meanwhile. Work that allocates or synchronises cannot be recorded. Throws
  /// CudaError, and what `work` throws.
  template <class Work>
  Graph(Execution<Cuda> stream, Work&& work) {
    const DeviceGuard guard(stream.device());
    check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t recorded = nullptr;
    try {
      work(stream);
    } catch (...) {
      cudaStreamEndCapture(stream.get(), &recorded);
      if (recorded != nullptr) cudaGraphDestroy(recorded);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream.get(), &recorded), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t code = cudaGraphInstantiate(&executable, recorded, 0);
    cudaGraphDestroy(recorded);
    check(code, "cudaGraphInstantiate");
    executable_.reset(executable);
  }

  /// Starts the work in the order of `stream`, any stream of the same device.
  void launch(Execution<Cuda> stream) const {
    const DeviceGuard guard(stream.device());
    check(cudaGraphLaunch(executable_.get(), stream.get()), "cudaGraphLaunch");
  }

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t executable) const noexcept { cudaGraphExecDestroy(executable); }
  };
  std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, Destroy> executable_;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
