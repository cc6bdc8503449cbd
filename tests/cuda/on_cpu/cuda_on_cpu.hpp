// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The device kernels on a machine without a GPU: what they use of CUDA's language, for an ordinary C++ compiler.
// Included before everything else of a program (-include), with this folder before include/, so that the header that
// holds what a CPU cannot do (ptx.cuh), and the sm_90a kernel, are taken from here. CUDA's runtime is in runtime.hpp.
//
// Blocks run one after the other, the threads of a block as fibers: a warp goes on until all of it waits for the block,
// then another. This finds wrong arithmetic, wrong indices, divergent barriers and most missing ones; it does not find
// what only threads that really run side by side do to each other.
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime.hpp"

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

using std::max;
using std::min;

inline uint3 threadIdx{};
inline uint3 blockIdx{};
inline dim3 blockDim{};
inline dim3 gridDim{};

namespace cuda_on_cpu {

/// The block that runs: one at a time in the process.
class Block {
 public:
  static Block& current() {
    static Block block;
    return block;
  }

  /// Runs `body` once per thread of every block. A `dependent` grid is one that may begin before the work ahead of it
  /// is done: every thread must wait for that (wait_for_previous), which only `can_wait` code can.
  void run_grid(const dim3& blocks, int threads, int shared_bytes, bool dependent, bool can_wait,
                const std::function<void()>& body) {
    dependent_ = dependent;
    can_wait_ = can_wait;
    shared_.assign(static_cast<std::size_t>(shared_bytes), std::byte{0xff});
    gridDim = blocks;
    blockDim = dim3(static_cast<unsigned>(threads));
    for (unsigned z = 0; z < blocks.z; ++z)
      for (unsigned y = 0; y < blocks.y; ++y)
        for (unsigned x = 0; x < blocks.x; ++x) {
          blockIdx = {x, y, z};
          run_block(threads, body);
        }
  }

  /// Until every thread of the block that has not returned is here.
  void wait_for_block() { wait(Waiting::block); }

  void wait_for_previous() { threads_[running_].waited = can_wait_; }

  /// What each lane of this warp gave: 32 values, valid until the next exchange but one.
  template <class T>
  const T* exchange(const T& value) {
    static_assert(sizeof(T) <= slot_bytes && std::is_trivially_copyable_v<T>);
    const std::size_t self = running_;
    Slots& slots = slots_[self / 32][threads_[self].exchanges++ % 2];
    std::memcpy(slots.data + self % 32 * sizeof(T), &value, sizeof(T));
    wait(Waiting::warp);
    return reinterpret_cast<const T*>(slots.data);
  }

  [[nodiscard]] std::byte* shared() { return shared_.data(); }

 private:
  static constexpr std::size_t slot_bytes = 32;
  static constexpr std::size_t stack_bytes = std::size_t{128} << 10;
  enum class Waiting { not_at_all, warp, block };
  struct Slots {
    alignas(16) std::byte data[32 * slot_bytes];
  };
  struct Thread {
    std::unique_ptr<std::byte[]> stack;
    std::jmp_buf jump;
    Waiting waiting = Waiting::not_at_all;
    bool done = false;
    bool waited = false;
    std::size_t exchanges = 0;
  };

  // Fibers are begun by ucontext and then switched by setjmp, which makes no system calls: a third of the time. One
  // that is done waits here for its next block.
  static void enter() {
    Block& block = current();
    for (;;) {
      (*block.body_)();
      Thread& self = block.threads_[block.running_];
      self.done = true;
      change(self.jump, block.scheduler_);
    }
  }

  static void change(std::jmp_buf& from, std::jmp_buf& to) {
    if (_setjmp(from) == 0) _longjmp(to, 1);
  }

  void begin_fiber(Thread& t) {
    t.stack = std::make_unique<std::byte[]>(stack_bytes);
    ucontext_t context{};
    getcontext(&context);
    context.uc_stack.ss_sp = t.stack.get();
    context.uc_stack.ss_size = stack_bytes;
    context.uc_link = nullptr;
    makecontext(&context, &enter, 0);
    if (_setjmp(scheduler_) == 0) setcontext(&context);
  }

  void run_block(int threads, const std::function<void()>& body) {
    body_ = &body;
    count_ = static_cast<std::size_t>(threads);
    while (threads_.size() < count_) threads_.emplace_back();
    slots_.resize((count_ + 31) / 32);
    for (std::size_t i = 0; i < count_; ++i) {
      threads_[i].waiting = Waiting::not_at_all;
      threads_[i].done = false;
      threads_[i].waited = false;
      threads_[i].exchanges = 0;
    }
    // Warp by warp as far as each can go, in an order that changes: what one writes before another has read it shows.
    do {
      const std::size_t warps = slots_.size();
      order_ = order_ * 1664525u + 1013904223u;
      for (std::size_t i = 0; i < warps; ++i) run_warp((i + (order_ >> 16)) % warps);
    } while (release(0, count_, Waiting::block));
    for (std::size_t i = 0; i < count_; ++i) {
      if (!threads_[i].done) throw std::logic_error("a barrier that not every thread reaches");
      if (dependent_ && !threads_[i].waited)
        throw std::logic_error("a dependent launch of code that does not wait for the work ahead of it");
    }
  }

  /// Until all threads of the warp are done or wait for the block.
  void run_warp(std::size_t warp) {
    const std::size_t begin = 32 * warp;
    const std::size_t end = std::min(begin + 32, count_);
    do {
      for (std::size_t i = begin; i < end; ++i) {
        Thread& t = threads_[i];
        if (t.done || t.waiting != Waiting::not_at_all) continue;
        running_ = i;
        threadIdx = {static_cast<unsigned>(i), 0, 0};
        if (t.stack)
          change(scheduler_, t.jump);
        else
          begin_fiber(t);
      }
    } while (release(begin, end, Waiting::warp));
  }

  bool release(std::size_t begin, std::size_t end, Waiting kind) {
    bool any = false;
    for (std::size_t i = begin; i < end; ++i) {
      if (threads_[i].done) continue;
      if (threads_[i].waiting != kind) return false;
      any = true;
    }
    for (std::size_t i = begin; i < end; ++i) threads_[i].waiting = Waiting::not_at_all;
    return any;
  }

  void wait(Waiting kind) {
    const std::size_t self = running_;
    threads_[self].waiting = kind;
    change(threads_[self].jump, scheduler_);
  }

  const std::function<void()>* body_ = nullptr;
  bool dependent_ = false;
  bool can_wait_ = false;
  std::size_t count_ = 0;
  std::size_t running_ = 0;
  unsigned order_ = 1;
  std::jmp_buf scheduler_;
  std::deque<Thread> threads_;
  std::vector<std::array<Slots, 2>> slots_;  // [warp]: of this and of the previous exchange
  std::vector<std::byte> shared_;
};

}  // namespace cuda_on_cpu

// What nvcc's own header has as templates.
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  const std::tuple<std::remove_cv_t<Parameters>...> copies(arguments...);  // as a launch does
  return cuda_on_cpu::start(*config, [kernel, copies] { std::apply(kernel, copies); });
}
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
  return cuda_on_cpu::describe(*attributes);
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

inline void __syncthreads() { cuda_on_cpu::Block::current().wait_for_block(); }
inline void __syncwarp() { cuda_on_cpu::Block::current().exchange(0); }
inline void __threadfence() {}

template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return cuda_on_cpu::Block::current().exchange(value)[lane % 32];
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return cuda_on_cpu::Block::current().exchange(value)[static_cast<int>(threadIdx.x % 32) ^ mask];
}
inline unsigned __ballot_sync(unsigned, bool predicate) {
  const int* const lanes = cuda_on_cpu::Block::current().exchange(predicate ? 1 : 0);
  unsigned bits = 0;
  for (unsigned i = 0; i < 32; ++i) bits |= static_cast<unsigned>(lanes[i]) << i;
  return bits;
}
inline int __popc(unsigned x) { return std::popcount(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T atomicAdd(T* address, T value) {
  const T old = *address;
  *address = old + value;
  return old;
}
template <class T>
T atomicExch(T* address, T value) {
  return std::exchange(*address, value);
}
