// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <utility>
#include <vector>

// A device without its runtime: what runs the threads of a kernel, and what they can do to each other.
//
// A multiprocessor is a thread of the host, and its shared memory are that thread's thread_local variables. The threads
// of a CUDA block are fibers on it. Blocks are dealt out to the multiprocessors in turn, those of a cluster to as many;
// one of them runs at a time, and a warp goes on until all of it waits. What may happen late happens as late as it may.
namespace cuda_on_cpu {

/// A kernel on its way.
struct Launch {
  int device;
  dim3 blocks;
  int threads;
  int shared_bytes;
  int cluster;         ///< blocks
  bool dependent;      ///< may begin before the work ahead of it is done: all its threads must wait for that
  bool can_wait;       ///< whether wait_for_previous() is more than nothing
  const void* queued;  ///< released by who queued it
  const void* before;  ///< released by the work ahead of it
  const void* after;   ///< its threads release it when they are done, which orders no two of them
};

/// Runs `body` once per thread of every block. Throws std::logic_error for what a device would hang or be wrong about.
void run_grid(const Launch& launch, const std::function<void()>& body);

/// What a thread has begun and not waited for, in groups, as cp.async and wgmma count them: done by who waits, then.
class AsyncGroups {
 public:
  void add(std::function<void()> work) { open_.push_back(std::move(work)); }
  void commit() { committed_.push_back(std::exchange(open_, {})); }
  void wait(std::size_t pending) {
    for (; committed_.size() > pending; committed_.pop_front())
      for (const auto& work : committed_.front()) work();
  }
  [[nodiscard]] bool empty() const { return open_.empty() && committed_.empty(); }

 private:
  std::vector<std::function<void()>> open_;
  std::deque<std::vector<std::function<void()>>> committed_;
};

/// What a thread of a kernel has of its own.
struct ThreadState {
  AsyncGroups copies;
  AsyncGroups products;
  std::map<float*, std::vector<float>> accumulators;  ///< of products under way: where the code has them are NaNs
  bool products_fenced = false;
};

// Called by the threads of a kernel.

[[nodiscard]] ThreadState& self();
/// Ends the kernel with a std::logic_error.
[[noreturn]] void fail(const char* what);
void wait_for_previous();
/// Until every thread of the block that has not returned is here.
void sync_block();
void sync_warp();
/// What each lane of this warp gave: valid until the next exchange but one. Orders no memory, as shfl does not.
[[nodiscard]] const void* exchange(const void* value, std::size_t bytes);
/// The arrival and the wait of a cluster's barrier.
void arrive_cluster();
void wait_cluster();
[[nodiscard]] int cluster_rank();

/// __threadfence(): an atomic operation of this thread after it publishes what was before it, and what this thread
/// reads after it has seen what those had published whose atomic operations it met before.
void fence();
void before_atomic(const void* address);
void after_atomic(const void* address);

/// Addresses in a block's shared memory as ptx::shared_address() gives them: of dynamic shared memory only, which does
/// not begin at a multiple of 1024.
constexpr std::uint32_t dynamic_begin = 336;
[[nodiscard]] std::byte* dynamic_shared();
/// `bytes` there, all of which must be the block's.
[[nodiscard]] std::byte* shared_at(std::uint32_t address, std::size_t bytes);

/// Barriers in shared memory: counts of arrivals and of bytes. Their state is the machine's, by their place.
struct Barrier {
  unsigned char place[8];
};
void init_barrier(Barrier& barrier, int arrivals);
/// Arrives at the barrier at this place of block `rank` of the cluster, which also waits for `bytes` more.
void arrive(const Barrier& barrier, int rank, std::uint32_t bytes);
/// Until the phase of this parity is over.
void wait_phase(const Barrier& barrier, std::uint32_t parity);

/// What a CUtensorMap says: rows of 16-bit numbers, and the boxes to copy of them.
struct TensorMap {
  const std::byte* data;
  std::uint64_t columns, rows, row_bytes;
  std::uint32_t box_columns, box_rows;
};
/// Copies a box, swizzled by 128 bytes, to this place in the blocks of `mask`, some time before their barriers at that
/// place are complete: when nothing else can go on.
void copy_box(std::uint32_t target, const CUtensorMap& map, int column, int row, const Barrier& barrier, unsigned mask);

/// Where the 128-byte swizzle puts what is at `address`: 16-byte chunks of eight rows trade places.
[[nodiscard]] constexpr std::uint32_t swizzled(std::uint32_t address) { return address ^ ((address >> 7 & 7u) << 4); }

}  // namespace cuda_on_cpu
