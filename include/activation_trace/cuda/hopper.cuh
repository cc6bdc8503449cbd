// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "activation_trace/cuda/ptx.cuh"
#include "activation_trace/tensor/half.hpp"

// Thin wrappers of the sm_90a instructions that the CUDA headers do not offer: PTX ISA sections
// "mbarrier", "cp.async.bulk.tensor" and "wgmma". Call them from code compiled for sm_90a only.
namespace activation_trace {
inline namespace v0 {
namespace cuda::hopper {

using ptx::shared_address;

/// Arrival counter in shared memory with a transaction count of bytes.
using Barrier = std::uint64_t;

inline __device__ void init(Barrier& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals) : "memory");
}

/// Makes initialised barriers visible to the copy engine and to the other blocks of the cluster.
inline __device__ void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

inline __device__ void arrive_expect_bytes(Barrier& barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
               : "memory");
}

inline __device__ void arrive(Barrier& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}

/// Arrives at the barrier at the same place in block `rank` of the cluster. The default scope, the block, is
/// meant: products read shared memory and write none, and .cluster here and in wait costs a fence of the whole
/// device per call, 1 us per tile of k: 4.7 instead of 3.2 ms at (2048, 4096, 128256) on an H100.
inline __device__ void arrive_at(const Barrier& barrier, std::uint32_t rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(shared_address(&barrier)),
      "r"(rank)
      : "memory");
}

inline __device__ void wait(const Barrier& barrier, std::uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}

inline __device__ std::uint32_t cluster_rank() {
  std::uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

inline __device__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
inline __device__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

/// Trade of registers between warpgroups. Both sides of one if/else must do it in a kernel with a register cap.
template <int registers>
__device__ void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ void claim_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

/// Copies the box at (column, row) of a tensor map to shared memory; its bytes complete on `barrier`.
inline __device__ void load_box(void* target, const void* map, int column, int row, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          shared_address(target)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(&barrier))
      : "memory");
}

/// The same to this place in every block of `mask`, each with its own barrier at the same place.
inline __device__ void load_box_multicast(void* target, const void* map, int column, int row, Barrier& barrier,
                                          std::uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, "
      "%3}], [%4], %5;" ::"r"(shared_address(target)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(&barrier)), "h"(mask)
      : "memory");
}

/// Matrix descriptor of a K-major tile in shared memory with rows of 128 bytes and the 128-byte swizzle:
/// eight rows are one 1024-byte atom. Advance by 32 bytes per 16 elements of k.
inline __device__ std::uint64_t descriptor(const void* tile) {
  constexpr std::uint64_t swizzle_128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t atom_stride = std::uint64_t{1024 >> 4} << 32;
  constexpr std::uint64_t unused_with_swizzle = std::uint64_t{1} << 16;
  return ((shared_address(tile) & 0x3ffffu) >> 4) | swizzle_128 | atom_stride | unused_with_swizzle;
}

inline __device__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
inline __device__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int pending>
__device__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

/// What reads `acc` after this stays after the wait before it: products that are under way look done to the compiler.
template <int N>
__device__ void read_after_wait(float (&acc)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(acc[i]));
}

/// acc[64 x N] = or += a[64 x 16] b[N x 16]^T by one warpgroup; acc has N / 2 registers per thread.
template <class T, int N>
struct Wgmma;

// The operand lists of inline assembly are text: only macros can write N / 2 registers.
#define AT_ACC8(i)                                                                                        \
  "+f"(acc[i]), "+f"(acc[i + 1]), "+f"(acc[i + 2]), "+f"(acc[i + 3]), "+f"(acc[i + 4]), "+f"(acc[i + 5]), \
      "+f"(acc[i + 6]), "+f"(acc[i + 7])
#define AT_ACC16(i) AT_ACC8(i), AT_ACC8(i + 8)
#define AT_ACC32(i) AT_ACC16(i), AT_ACC16(i + 16)
#define AT_R0 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define AT_R16 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define AT_R32 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define AT_R48 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define AT_R64 "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define AT_R80 "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define AT_R96 "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111"
#define AT_R112 "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define AT_R_64 AT_R0 "," AT_R16
#define AT_R_128 AT_R_64 "," AT_R32 "," AT_R48
#define AT_R_160 AT_R_128 "," AT_R64
#define AT_R_192 AT_R_160 "," AT_R80
#define AT_R_224 AT_R_192 "," AT_R96
#define AT_R_256 AT_R_224 "," AT_R112
#define AT_WGMMA(T, N, type, a, b, keep_operand, ...)                                                                  \
  template <>                                                                                                          \
  struct Wgmma<T, N> {                                                                                                 \
    static __device__ void multiply(float (&acc)[N / 2], std::uint64_t desc_a, std::uint64_t desc_b, int keep) {       \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " keep_operand                                                    \
                   ", 0;\n"                                                                                            \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " {" AT_R_##N "}, " a ", " b        \
                                                                                                 ", p, 1, 1, 0, 0;\n}" \
                   : __VA_ARGS__                                                                                       \
                   : "l"(desc_a), "l"(desc_b), "r"(keep));                                                             \
    }                                                                                                                  \
  };
#define AT_WGMMA_SIZES(T, type)                                                                         \
  AT_WGMMA(T, 64, type, "%32", "%33", "%34", AT_ACC32(0))                                               \
  AT_WGMMA(T, 128, type, "%64", "%65", "%66", AT_ACC32(0), AT_ACC32(32))                                \
  AT_WGMMA(T, 160, type, "%80", "%81", "%82", AT_ACC32(0), AT_ACC32(32), AT_ACC16(64))                  \
  AT_WGMMA(T, 192, type, "%96", "%97", "%98", AT_ACC32(0), AT_ACC32(32), AT_ACC32(64))                  \
  AT_WGMMA(T, 224, type, "%112", "%113", "%114", AT_ACC32(0), AT_ACC32(32), AT_ACC32(64), AT_ACC16(96)) \
  AT_WGMMA(T, 256, type, "%128", "%129", "%130", AT_ACC32(0), AT_ACC32(32), AT_ACC32(64), AT_ACC32(96))
AT_WGMMA_SIZES(BFloat16, "bf16")
AT_WGMMA_SIZES(Half, "f16")
#undef AT_WGMMA_SIZES
#undef AT_WGMMA
#undef AT_R_256
#undef AT_R_224
#undef AT_R_192
#undef AT_R_160
#undef AT_R_128
#undef AT_R_64
#undef AT_R112
#undef AT_R96
#undef AT_R80
#undef AT_R64
#undef AT_R48
#undef AT_R32
#undef AT_R16
#undef AT_R0
#undef AT_ACC32
#undef AT_ACC16
#undef AT_ACC8

}  // namespace cuda::hopper
}  // namespace v0
}  // namespace activation_trace
