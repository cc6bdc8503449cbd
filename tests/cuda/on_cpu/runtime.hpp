// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <functional>

// CUDA's runtime for a CPU, as late and as strict as its documentation allows (CUDA C++ Programming Guide,
// "Asynchronous Concurrent Execution" and "Multi-Device System"). What a program may not rely on does not happen:
//  - the work of a stream is done when somebody waits for that stream, and not before: a synchronisation, a copy to
//    pageable memory, cudaFree. A copy to memory that is pinned is there no sooner. Streams have no order among each
//    other: all but the default stream do not block.
//  - recorded work is done when its graph is launched and that stream is waited for. What may wait cannot be recorded.
//  - an event is reached when the work ahead of it on its stream is done, and no more need be.
//  - a kernel, an event, a graph or a memset on a stream whose device is not the current one is an error.
//  - a block has 48 KiB of dynamic shared memory, up to 227 on devices of 9.0 and 99 on others where that was asked for
//    of the kernel on that device.
namespace cuda_on_cpu {

/// Bytes that a device has: as many MiB as the environment's CUDA_ON_CPU_MIB says, or 1 TiB.
inline std::size_t memory_of_device() {
  const char* const mebibytes = std::getenv("CUDA_ON_CPU_MIB");
  return (mebibytes == nullptr ? std::size_t{1} << 20 : std::strtoull(mebibytes, nullptr, 10)) << 20;
}

/// What a device is, and what has been done on it since the program began.
struct Device {
  int major;                               ///< compute capability
  int ptx_version;                         ///< of what the kernels' code for it was made of
  std::size_t bytes = 0;                   ///< of memory in use
  std::size_t total = memory_of_device();  ///< bytes of memory
  int pageable_copies = 0;                 ///< from the host's pageable memory: they may wait for the device
  int dependent_launches = 0;              ///< programmatic ones
  int graph_launches = 0;
  bool reaches_peers = true;  ///< copies between devices are direct; else by the host
  int most_peers = 8;         ///< whose memory it can have mapped
};

/// Devices like an H100, and some that run what was compiled for sm_80. All else takes any number of them.
inline std::array<Device, 4> devices{{{.major = 9, .ptx_version = 90},
                                      {.major = 12, .ptx_version = 80},
                                      {.major = 9, .ptx_version = 90},
                                      {.major = 8, .ptx_version = 80}}};

/// Told the device of each kernel that begins, where somebody wants to know in which order they can be done.
inline std::function<void(int)> on_kernel;

cudaError_t start(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> thread);
/// That a kernel may have so many bytes of dynamic shared memory on the current device: above 48 KiB it must be said.
cudaError_t allow_shared(const void* kernel, int bytes);
/// Of a kernel; one for Hopper, which takes tensor maps, is there where the code is sm_90a's.
cudaError_t describe(cudaFuncAttributes& attributes, bool hopper);

}  // namespace cuda_on_cpu
