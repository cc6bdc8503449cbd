// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <source_location>
#include <string>

#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// A CUDA call failed. `what()` names the call, the place in the source, and CUDA's own name and text for it.
class CudaError : public Error {
 public:
  /// `call` is what was called, `location` where.
  CudaError(cudaError_t code, const std::string& call, const std::source_location& location)
      : Error(std::string(location.file_name()) + ":" + std::to_string(location.line()) + ": " + call + ": " +
              cudaGetErrorName(code) + " (" + cudaGetErrorString(code) + ")"),
        code_(code) {}
  /// Of a library beside CUDA's: `text` is its own name and text for what failed.
  CudaError(const std::string& text, const std::string& call, const std::source_location& location)
      : Error(std::string(location.file_name()) + ":" + std::to_string(location.line()) + ": " + call + ": " + text),
        code_(cudaErrorUnknown) {}

  /// CUDA's own number; cudaErrorUnknown of what another library said.
  [[nodiscard]] cudaError_t code() const noexcept { return code_; }

 private:
  cudaError_t code_;
};

/// What exists on the device only. What exists on both sides is a specialisation for Cuda beside the host's, such as
/// EntropySharpnessProcessor<Cuda>.
namespace cuda {

/// Throws CudaError unless `code` is cudaSuccess. `call` is what was called: check(cudaMalloc(...), "cudaMalloc").
inline void check(cudaError_t code, const char* call,
                  const std::source_location& location = std::source_location::current()) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // reported here: the next call starts clean, unless the device is lost
  throw CudaError(code, call, location);
}

/// Throws CudaError if the kernel launch just before could not be started.
inline void check_launch(const char* kernel, const std::source_location& location = std::source_location::current()) {
  check(cudaGetLastError(), kernel, location);
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
