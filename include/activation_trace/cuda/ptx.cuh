// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "activation_trace/tensor/half.hpp"

// Thin wrappers of the instructions that the CUDA headers do not offer, for sm_80 and later (those of sm_90a are in
// hopper.cuh), and of the memory that a launch adds to a block. This is all that kernels need beyond C++ and CUDA's own
// functions: tests/cuda/on_cpu has the same header for a machine without a GPU.
namespace activation_trace {
inline namespace v0 {
namespace cuda::ptx {

/// 2^x by the special-function unit, 2 ulp; below 2^-126 it is 0.
inline __device__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

inline __device__ float widen(Half x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
/// Rounds to nearest, ties to even: as the types' own constructors, which are for the host.
template <class T>
__device__ T narrow(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    T y;
    if constexpr (std::is_same_v<T, Half>)
      asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    else
      asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
  }
}

/// The same of two numbers, the first in the lower half of a word: one instruction for both.
template <class T>
__device__ std::uint32_t narrow_pair(float first, float second) {
  std::uint32_t pair;
  if constexpr (std::is_same_v<T, Half>)
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  else
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

/// (a & mask) | b, in one instruction, which the compiler does not find where mask and b are constants.
inline __device__ std::uint32_t and_or(std::uint32_t a, std::uint32_t mask, std::uint32_t b) {
  std::uint32_t word;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(word) : "r"(a), "r"(mask), "r"(b));
  return word;
}

/// a b + c of two numbers of f16 each, rounded once.
inline __device__ std::uint32_t fma_pair(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t pair;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(b), "r"(c));
  return pair;
}

/// c[16 x 8] += a[16 x 16] b[8 x 16]^T by one warp, fp32 sums.
inline __device__ void multiply(BFloat16, float* c, const std::uint32_t* a, const std::uint32_t* b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
inline __device__ void multiply(Half, float* c, const std::uint32_t* a, const std::uint32_t* b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// c[16 x 8] += a[16 x 8] b[8 x 8]^T of floats, of which 11 bits count.
inline __device__ void multiply_tf32(float* c, const std::uint32_t* a, const std::uint32_t* b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Shared memory whose size the launch gives.
inline __device__ std::byte* dynamic_shared() {
  extern __shared__ std::byte dynamic[];
  return dynamic;
}
inline __device__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Four 8 x 8 matrices of 16-bit numbers from shared memory: lane i gives the address of row i % 8 of matrix i / 8.
inline __device__ void load_matrices(std::uint32_t (&r)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// Copies `bytes` <= 16 to shared memory, the rest of 16 becomes 0; done when its group is waited for.
inline __device__ void copy_async(std::uint32_t target, const void* source, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(bytes) : "memory");
}
inline __device__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Until all but the latest `pending` groups of this thread are done.
template <int pending>
__device__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/// cudaFuncAttributes::ptxVersion from which the two functions below are more than nothing.
constexpr int first_that_waits = 90;

/// Lets the next kernel of the stream start its way to the multiprocessors before this one is done.
inline __device__ void launch_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
/// Until the kernel ahead in the stream is done and what it wrote can be read: the first thing in a kernel that
/// launch_dependent() starts.
inline __device__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace cuda::ptx
}  // namespace v0
}  // namespace activation_trace
