// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

// Replaces operator new and delete by counting ones: for one file of a program, whose tests ask what is allocated.
namespace activation_trace::test::heap {

inline std::atomic<long> allocations{0};
inline std::atomic<std::size_t> live{0};  ///< bytes
inline std::atomic<std::size_t> peak{0};  ///< of live

inline void* allocate(std::size_t size, std::size_t alignment) {
  ++allocations;
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  const std::size_t now = live += malloc_usable_size(memory);
  for (std::size_t seen = peak; seen < now && !peak.compare_exchange_weak(seen, now);) {
  }
  return memory;
}

inline void release(void* memory) noexcept {
  if (memory != nullptr) live -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace activation_trace::test::heap

void* operator new(std::size_t size) { return activation_trace::test::heap::allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return activation_trace::test::heap::allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { activation_trace::test::heap::release(memory); }
void operator delete(void* memory, std::size_t) noexcept { activation_trace::test::heap::release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { activation_trace::test::heap::release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  activation_trace::test::heap::release(memory);
}
