// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "activation_trace/cuda/ptx.cuh"
#include "activation_trace/tensor/half.hpp"

// cuda/hopper.cuh for a CPU. Barriers and boxes are machine.hpp's. Products read the matrices that their descriptors
// name, in the block's shared memory, when they are waited for (PTX ISA, "Asynchronous Warpgroup Level Matrix
// Instructions"); sums of 16 products are formed in double and rounded once.
namespace activation_trace {
inline namespace v0 {
namespace cuda::hopper {

using ptx::shared_address;

using Barrier = cuda_on_cpu::Barrier;

inline void init(Barrier& barrier, int arrivals) {
  barrier = {};
  cuda_on_cpu::init_barrier(barrier, arrivals);
}
/// Reads what init() wrote: a barrier is not used before that can be seen.
inline void use(const Barrier& barrier) {
  static_cast<void>(*static_cast<const volatile unsigned char*>(barrier.place));
}

inline void fence_barrier_init() {}
inline void arrive_expect_bytes(Barrier& barrier, std::uint32_t bytes) {
  use(barrier);
  cuda_on_cpu::arrive(barrier, cuda_on_cpu::cluster_rank(), bytes);
}
inline void arrive(Barrier& barrier) {
  use(barrier);
  cuda_on_cpu::arrive(barrier, cuda_on_cpu::cluster_rank(), 0);
}
inline void arrive_at(const Barrier& barrier, std::uint32_t rank) {
  use(barrier);
  cuda_on_cpu::arrive(barrier, static_cast<int>(rank), 0);
}
inline void wait(const Barrier& barrier, std::uint32_t parity) {
  use(barrier);
  cuda_on_cpu::wait_phase(barrier, parity);
}

inline std::uint32_t cluster_rank() { return static_cast<std::uint32_t>(cuda_on_cpu::cluster_rank()); }
inline void cluster_arrive() { cuda_on_cpu::arrive_cluster(); }
inline void cluster_wait() { cuda_on_cpu::wait_cluster(); }

template <int registers>
void release_registers() {}
template <int registers>
void claim_registers() {}

inline void load_box_multicast(void* target, const CUtensorMap* map, int column, int row, Barrier& barrier,
                               std::uint16_t mask) {
  cuda_on_cpu::copy_box(shared_address(target), *map, column, row, barrier, mask);
}
inline void load_box(void* target, const CUtensorMap* map, int column, int row, Barrier& barrier) {
  const unsigned here = 1u << cuda_on_cpu::cluster_rank();
  load_box_multicast(target, map, column, row, barrier, static_cast<std::uint16_t>(here));
}

/// Start address, the distance of groups of eight rows, and the swizzle, where the PTX ISA has them.
inline std::uint64_t descriptor(const void* tile) {
  return (shared_address(tile) & 0x3ffffu) >> 4 | std::uint64_t{1024 >> 4} << 32 | std::uint64_t{1} << 62;
}

/// 16 numbers from k = 0 on of row `row` of the matrix of a descriptor.
template <class T>
std::array<double, 16> row_of(std::uint64_t matrix, int row) {
  const auto start = static_cast<std::uint32_t>(matrix & 0x3fffu) << 4;
  const auto group = static_cast<std::uint32_t>(matrix >> 32 & 0x3fffu) << 4;
  if (matrix >> 62 != 1) cuda_on_cpu::fail("a descriptor without the 128-byte swizzle");
  const std::uint32_t address =
      start + static_cast<std::uint32_t>(row / 8) * group + static_cast<std::uint32_t>(row % 8) * 128;
  std::array<double, 16> numbers;
  for (std::uint32_t half = 0; half < 2; ++half) {
    std::uint16_t bits[8];
    std::memcpy(bits, cuda_on_cpu::shared_at(cuda_on_cpu::swizzled(address + 16 * half), 16), 16);
    for (std::size_t k = 0; k < 8; ++k)
      numbers[8 * half + k] = static_cast<double>(static_cast<float>(T::from_bits(bits[k])));
  }
  return numbers;
}

/// sums[64 x N] = or += a b^T, this thread's share: rows lane / 4 and lane / 4 + 8 of its warp's 16, columns 8 i +
/// 2 (lane % 4) + {0, 1}.
template <class T, int N>
void multiply_now(float* sums, std::uint64_t a, std::uint64_t b, bool keep) {
  const int thread = static_cast<int>(threadIdx.x) % 128;
  const int lane = thread % 32;
  const int row = thread / 32 * 16 + lane / 4;
  const std::array<double, 16> rows[2] = {row_of<T>(a, row), row_of<T>(a, row + 8)};
  for (int i = 0; i < N / 8; ++i)
    for (int j = 0; j < 2; ++j) {
      const std::array<double, 16> column = row_of<T>(b, 8 * i + 2 * (lane % 4) + j);
      for (int r = 0; r < 2; ++r) {
        float& place = sums[4 * i + 2 * r + j];
        double sum = keep ? static_cast<double>(place) : 0.0;
        for (std::size_t k = 0; k < 16; ++k) sum += rows[r][k] * column[k];
        place = static_cast<float>(sum);
      }
    }
}

inline void wgmma_fence() { cuda_on_cpu::self().products_fenced = true; }
inline void wgmma_commit() { cuda_on_cpu::self().products.commit(); }
template <int pending>
void wgmma_wait() {
  cuda_on_cpu::ThreadState& self = cuda_on_cpu::self();
  self.products.wait(pending);
  cuda_on_cpu::sync_warp();  // it is one instruction of the warp: when it is over, all lanes' products are done
  if (!self.products.empty()) return;
  for (const auto& [place, sums] : self.accumulators) std::copy(sums.begin(), sums.end(), place);
  self.accumulators.clear();
  self.products_fenced = false;
}
template <int N>
void read_after_wait(float (&)[N]) {}

template <class T, int N>
struct Wgmma {
  static void multiply(float (&acc)[N / 2], std::uint64_t a, std::uint64_t b, int keep) {
    cuda_on_cpu::ThreadState& self = cuda_on_cpu::self();
    if (!self.products_fenced) cuda_on_cpu::fail("wgmma without a fence after the registers were used");
    std::vector<float>& sums = self.accumulators[acc];
    if (sums.empty()) {
      sums.assign(acc, acc + N / 2);
      std::fill(acc, acc + N / 2, NAN);
    }
    self.products.add([&sums, a, b, keep] { multiply_now<T, N>(sums.data(), a, b, keep != 0); });
  }
};

}  // namespace cuda::hopper
}  // namespace v0
}  // namespace activation_trace
