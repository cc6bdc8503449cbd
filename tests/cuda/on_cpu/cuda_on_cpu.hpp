// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The device kernels on a machine without a GPU: what they use of CUDA's language, for an ordinary C++ compiler.
// Included before everything else of a program (-include), with this folder before include/, so that the headers that
// hold what a CPU cannot do (ptx.cuh, hopper.cuh) are taken from here. CUDA's runtime is in runtime.hpp, what runs the
// threads of a kernel in machine.hpp.
//
// This finds wrong arithmetic and indices, divergent and missing barriers, reads of what is still on its way. Built for
// ThreadSanitizer (races.hpp) it finds what two threads do to the same memory with nothing between them that orders it.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "machine.hpp"
#include "runtime.hpp"

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __launch_bounds__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __grid_constant__
#define __CUDA_ARCH_FEAT_SM90_ALL

using std::max;
using std::min;

inline uint3 threadIdx{};
inline uint3 blockIdx{};
inline dim3 blockDim{};
inline dim3 gridDim{};

// What nvcc's own header has as templates.
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  const std::tuple<std::remove_cv_t<Parameters>...> copies(arguments...);  // as a launch does
  return cuda_on_cpu::start(*config, reinterpret_cast<const void*>(kernel),
                            [kernel, copies] { std::apply(kernel, copies); });
}
template <class... Parameters>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (*)(Parameters...)) {
  constexpr bool hopper = (std::is_same_v<std::remove_cv_t<Parameters>, CUtensorMap> || ...);
  return cuda_on_cpu::describe(*attributes, hopper);
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaErrorInvalidValue;
  return cuda_on_cpu::allow_shared(reinterpret_cast<const void*>(kernel), value);
}

inline void __syncthreads() { cuda_on_cpu::sync_block(); }
inline void __syncwarp() { cuda_on_cpu::sync_warp(); }
inline void __threadfence() { cuda_on_cpu::fence(); }

namespace cuda_on_cpu {
/// What each lane of this warp gave: 32 values.
template <class T>
const T* exchange(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return static_cast<const T*>(exchange(&value, sizeof(T)));
}
}  // namespace cuda_on_cpu

template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return cuda_on_cpu::exchange(value)[lane % 32];
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return cuda_on_cpu::exchange(value)[static_cast<int>(threadIdx.x % 32) ^ mask];
}
inline unsigned __ballot_sync(unsigned, bool predicate) {
  const int* const lanes = cuda_on_cpu::exchange(predicate ? 1 : 0);
  unsigned bits = 0;
  for (unsigned i = 0; i < 32; ++i) bits |= static_cast<unsigned>(lanes[i]) << i;
  return bits;
}
inline int __popc(unsigned x) { return std::popcount(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
/// Without the selectors' fourth bits, which spread a sign.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selectors) {
  const std::uint64_t bytes = static_cast<std::uint64_t>(y) << 32 | x;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i)
    result |= (static_cast<unsigned>(bytes >> (8 * (selectors >> (4 * i) & 7u))) & 0xffu) << (8 * i);
  return result;
}
template <class T>
T __ldg(const T* address) {
  return *address;
}

namespace cuda_on_cpu {
/// Becomes change(old) and gives the old one: relaxed, it orders nothing without a fence.
template <class T, class Change>
T atomic(T* address, const Change& change) {
  before_atomic(address);
  T old, next;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  do next = change(old);
  while (!__atomic_compare_exchange(address, &old, &next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  after_atomic(address);
  return old;
}
}  // namespace cuda_on_cpu

template <class T>
T atomicAdd(T* address, T value) {
  return cuda_on_cpu::atomic(address, [=](T old) { return old + value; });
}
template <class T>
T atomicExch(T* address, T value) {
  return cuda_on_cpu::atomic(address, [=](T) { return value; });
}
template <class T>
T atomicMin(T* address, T value) {
  return cuda_on_cpu::atomic(address, [=](T old) { return min(old, value); });
}
template <class T>
T atomicMax(T* address, T value) {
  return cuda_on_cpu::atomic(address, [=](T old) { return max(old, value); });
}
inline unsigned atomicInc(unsigned* address, unsigned last) {
  return cuda_on_cpu::atomic(address, [=](unsigned old) { return old >= last ? 0 : old + 1; });
}
