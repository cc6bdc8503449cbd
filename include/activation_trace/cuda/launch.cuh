// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <type_traits>

#include "activation_trace/cuda/grid.cuh"
#include "activation_trace/cuda/stream.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

[[nodiscard]] inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
  return value;
}

/// Whether this program holds machine code of the kernel for the current device. The kernel has static shared memory,
/// and its body is empty for architectures that it is not for.
template <class Kernel>
[[nodiscard]] bool compiled_for_device(Kernel* kernel) {
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  return attributes.sharedSizeBytes != 0;
}

/// Starts `kernel` in the order of `stream`, with the first `attribute_count` of `attribute`. Throws CudaError, named
/// `name`, if it cannot be started.
template <class... Parameters>
void start(StreamView stream, const char* name, const Grid& grid, cudaLaunchAttribute attribute,
           unsigned attribute_count, void (*kernel)(Parameters...), const Parameters&... arguments) {
  constexpr int always_there = 48 << 10;
  if (grid.dynamic_shared_bytes > always_there)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, grid.dynamic_shared_bytes), name);
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(grid.dynamic_shared_bytes);
  config.stream = stream.get();
  config.attrs = &attribute;
  config.numAttrs = attribute_count;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

/// Starts `kernel` in the order of `stream`. Throws CudaError.
template <class... Parameters>
void launch(StreamView stream, const char* name, const Grid& grid, void (*kernel)(Parameters...),
            std::type_identity_t<Parameters>... arguments) {
  start(stream, name, grid, {}, 0, kernel, arguments...);
}

/// The same for a kernel that begins with ptx::wait_for_previous(): it is on its way to the multiprocessors before the
/// kernel ahead of it is done (programmatic dependent launch; older devices run one after the other).
template <class... Parameters>
void launch_dependent(StreamView stream, const char* name, const Grid& grid, void (*kernel)(Parameters...),
                      std::type_identity_t<Parameters>... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  start(stream, name, grid, attribute, device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9 ? 1 : 0, kernel,
        arguments...);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
