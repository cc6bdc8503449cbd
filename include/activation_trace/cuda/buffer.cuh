// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <type_traits>

#include "activation_trace/cuda/allocator.cuh"
#include "activation_trace/cuda/error.cuh"
#include "activation_trace/cuda/stream.cuh"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

namespace cuda {

namespace detail {
template <class T, int Rank, class From, class To>
void check_copy(const TensorView<const T, Rank, From>& from, const TensorView<T, Rank, To>& to) {
  if (from.extents() != to.extents()) throw ShapeError("copy: source and target have different extents");
  constexpr int last = Rank - 1;
  if ((from.extent(last) > 1 && from.stride(last) != 1) || (to.extent(last) > 1 && to.stride(last) != 1))
    throw ShapeError("copy: the last dimension must be contiguous");
  if constexpr (Rank == 2)
    if (from.extent(0) > 1 && (from.stride(0) < from.extent(1) || to.stride(0) < to.extent(1)))
      throw ShapeError("copy: rows must not overlap or run backwards");
}
}  // namespace detail

/// Copies elements between spaces in the order of `stream`; rows may be strided, columns may not. Returns at
/// once for device memory; pageable host memory is copied before it returns (CUDA's rules for
/// cudaMemcpyAsync). Throws ShapeError for different extents.
template <class T, class From, class To>
void copy(Execution<Cuda> stream, TensorView<const T, 2, From> from, TensorView<T, 2, To> to) {
  detail::check_copy(from, to);
  if (from.empty()) return;
  const DeviceGuard guard(stream.device());
  const auto bytes = [](Index elements) { return static_cast<std::size_t>(elements) * sizeof(T); };
  const auto pitch = [&](const auto& view) { return bytes(view.extent(0) > 1 ? view.stride(0) : view.extent(1)); };
  check(cudaMemcpy2DAsync(to.data(), pitch(to), from.data(), pitch(from), bytes(from.extent(1)),
                          static_cast<std::size_t>(from.extent(0)), cudaMemcpyDefault, stream.get()),
        "cudaMemcpy2DAsync");
}

/// The same for vectors without gaps.
template <class T, class From, class To>
void copy(Execution<Cuda> stream, TensorView<const T, 1, From> from, TensorView<T, 1, To> to) {
  detail::check_copy(from, to);
  if (from.empty()) return;
  const DeviceGuard guard(stream.device());
  check(cudaMemcpyAsync(to.data(), from.data(), static_cast<std::size_t>(from.size()) * sizeof(T), cudaMemcpyDefault,
                        stream.get()),
        "cudaMemcpyAsync");
}

/// The same for a source view that is not const.
template <class T, int Rank, class From, class To>
requires(!std::is_const_v<T>) void copy(Execution<Cuda> stream, TensorView<T, Rank, From> from,
                                        TensorView<T, Rank, To> to) {
  copy(stream, TensorView<const T, Rank, From>(from), to);
}

/// The same from one device to another, in the order of `stream`, which is of either.
template <class T>
void copy_peer(Execution<Cuda> stream, VectorView<const T, Cuda> from, int from_device,
               std::type_identity_t<VectorView<T, Cuda>> to, int to_device) {
  detail::check_copy(from, VectorView<T, Cuda>(to));
  if (from.empty()) return;
  const DeviceGuard guard(stream.device());
  check(cudaMemcpyPeerAsync(to.data(), to_device, from.data(), from_device,
                            static_cast<std::size_t>(from.size()) * sizeof(T), stream.get()),
        "cudaMemcpyPeerAsync");
}

/// Sets every byte of contiguous device memory to `value`, in the order of `stream`: 0, or 0xff for ids of -1.
template <class T>
void set_bytes(Execution<Cuda> stream, VectorView<T, Cuda> target, int value) {
  const DeviceGuard guard(stream.device());
  check(cudaMemsetAsync(target.data(), value, static_cast<std::size_t>(target.size()) * sizeof(T), stream.get()),
        "cudaMemsetAsync");
}

namespace detail {
/// "12 MiB", for messages.
[[nodiscard]] inline std::string mebibytes(double bytes) {
  return std::to_string(std::llround(bytes / 0x1p20)) + " MiB";
}

/// What make() makes on `device`. Where that has no memory for it, Error: `what` takes `bytes`, and how much is free,
/// `advice` behind it.
template <class Make>
[[nodiscard]] auto made_in_memory(int device, const std::string& what, double bytes, const std::string& advice,
                                  const Make& make) {
  const DeviceGuard guard(device);
  try {
    return make();
  } catch (const CudaError& error) {
    if (error.code() != cudaErrorMemoryAllocation) throw;
  }
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  throw Error(what + " take " + mebibytes(bytes) + ", and of the " + mebibytes(static_cast<double>(total)) +
              " of CUDA device " + std::to_string(device) + " only " + mebibytes(static_cast<double>(free)) +
              " are free" + advice);
}
}  // namespace detail

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
