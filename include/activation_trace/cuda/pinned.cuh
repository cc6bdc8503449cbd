// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "activation_trace/cuda/allocator.cuh"
#include "activation_trace/cuda/error.cuh"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Memory of the host that stays where it is: a device writes to it in the order of a stream, while the host goes on,
/// and a copy is there when the stream was waited for. For Buffer<T, Pinned>.
struct Pinned {
  static constexpr bool host_accessible = true;  ///< views may be dereferenced in host code
};

/// The same memory as what takes the host's.
template <class T, int Rank>
[[nodiscard]] TensorView<T, Rank> on_host(const TensorView<T, Rank, Pinned>& view) {
  return {view.data(), view.extents(), view.strides()};
}

}  // namespace cuda

/// Memory of the host by cudaMallocHost, also while another thread records a graph.
template <>
struct Allocator<cuda::Pinned> {
  /// `bytes` bytes with indeterminate content. Throws CudaError.
  static void* allocate(std::size_t bytes) {
    const cuda::detail::CaptureModeGuard mode(cudaStreamCaptureModeThreadLocal);
    void* memory = nullptr;
    cuda::check(cudaMallocHost(&memory, bytes), "cudaMallocHost");
    return memory;
  }
  /// Gives back what allocate() gave; null is allowed.
  static void deallocate(void* memory) noexcept {
    const cuda::detail::CaptureModeGuard mode(cudaStreamCaptureModeThreadLocal);
    cudaFreeHost(memory);
  }
};

}  // namespace v0
}  // namespace activation_trace
