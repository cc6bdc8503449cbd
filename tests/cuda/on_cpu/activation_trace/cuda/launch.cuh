// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/cuda/grid.cuh"
#include "activation_trace/cuda/stream.cuh"

// cuda/launch.cuh for a CPU.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

[[nodiscard]] inline int device_attribute(cudaDeviceAttr) { return 8; }

template <class Kernel>
[[nodiscard]] bool compiled_for_device(Kernel*) {
  return true;
}

template <class... Parameters>
void launch(StreamView, const char* name, const Grid& grid, void (*kernel)(Parameters...),
            std::type_identity_t<Parameters>... arguments) {
  // What a device refuses.
  const bool fits = grid.blocks.x > 0 && grid.blocks.y > 0 && grid.blocks.z > 0 && grid.blocks.y < 65536 &&
                    grid.blocks.z < 65536 && grid.threads > 0 && grid.threads <= 1024;
  check(fits ? cudaSuccess : cudaErrorInvalidConfiguration, name);
  cuda_on_cpu::Block::current().run_grid(grid.blocks, grid.threads, grid.dynamic_shared_bytes,
                                         [&] { kernel(arguments...); });
}

template <class... Parameters>
void launch_dependent(StreamView stream, const char* name, const Grid& grid, void (*kernel)(Parameters...),
                      std::type_identity_t<Parameters>... arguments) {
  launch(stream, name, grid, kernel, arguments...);
}

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
