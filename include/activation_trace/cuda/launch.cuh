// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>

#include "activation_trace/cuda/grid.cuh"
#include "activation_trace/cuda/ptx.cuh"
#include "activation_trace/cuda/stream.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

[[nodiscard]] inline int device_attribute(Execution<Cuda> stream, cudaDeviceAttr attribute) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, stream.device()), "cudaDeviceGetAttribute");
  return value;
}

/// What this program holds of a kernel for the device of `stream`, all 0 if nothing: CUDA is asked once per kernel and
/// device, which takes microseconds.
template <class Kernel>
[[nodiscard]] cudaFuncAttributes attributes_of(Execution<Cuda> stream, Kernel* kernel) {
  static std::mutex mutex;
  static std::map<std::pair<Kernel*, int>, cudaFuncAttributes> known;
  const std::scoped_lock lock(mutex);
  const auto [place, is_new] = known.try_emplace({kernel, stream.device()});
  if (!is_new) return place->second;
  const DeviceGuard guard(stream.device());
  if (cudaFuncGetAttributes(&place->second, kernel) != cudaSuccess) {
    cudaGetLastError();
    place->second = {};
  }
  return place->second;
}

/// Whether this program holds machine code of the kernel for the device of `stream`. The kernel has static shared
/// memory, and its body is empty for architectures that it is not for.
template <class Kernel>
[[nodiscard]] bool compiled_for_device(Execution<Cuda> stream, Kernel* kernel) {
  return attributes_of(stream, kernel).sharedSizeBytes != 0;
}

/// Starts `kernel` in the order of `stream`, with the first `attribute_count` of `attribute`. Throws CudaError, named
/// `name`, if it cannot be started.
template <class... Parameters>
void start(Execution<Cuda> stream, const char* name, const Grid& grid, cudaLaunchAttribute attribute,
           unsigned attribute_count, void (*kernel)(Parameters...), const Parameters&... arguments) {
  const DeviceGuard guard(stream.device());
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
void launch(Execution<Cuda> stream, const char* name, const Grid& grid, void (*kernel)(Parameters...),
            std::type_identity_t<Parameters>... arguments) {
  start(stream, name, grid, {}, 0, kernel, arguments...);
}

/// The same for a kernel that begins with ptx::wait_for_previous(): it is on its way to the multiprocessors before the
/// kernel ahead of it is done (programmatic dependent launch). Whether it waits is decided by the PTX that its code was
/// made of, and not by the device: sm_120 may run what was compiled for compute_80. Then one runs after the other.
template <class... Parameters>
void launch_dependent(Execution<Cuda> stream, const char* name, const Grid& grid, void (*kernel)(Parameters...),
                      std::type_identity_t<Parameters>... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  start(stream, name, grid, attribute, attributes_of(stream, kernel).ptxVersion >= ptx::first_that_waits ? 1 : 0,
        kernel, arguments...);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
