// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#ifdef CUDA_ON_CPU_RACES
#include <sanitizer/tsan_interface.h>
#endif

// What orders two accesses, told to ThreadSanitizer where a program is built with it: who acquires an address has seen
// all that those who released it before had seen. Each thread of a kernel is a fiber of its own to it. The machine
// itself is not instrumented, and so orders nothing by the way.
namespace cuda_on_cpu {

#ifdef CUDA_ON_CPU_RACES
inline void release(const void* address) { __tsan_release(const_cast<void*>(address)); }
inline void acquire(const void* address) { __tsan_acquire(const_cast<void*>(address)); }
/// Who does what is done now.
class Identity {
 public:
  static Identity current() { return Identity(__tsan_get_current_fiber()); }
  void become() {
    if (fiber_ == nullptr) fiber_ = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(fiber_, __tsan_switch_to_fiber_no_sync);
  }
  Identity() = default;

 private:
  explicit Identity(void* fiber) : fiber_(fiber) {}
  void* fiber_ = nullptr;
};
#else
inline void release(const void*) {}
inline void acquire(const void*) {}
class Identity {
 public:
  static Identity current() { return {}; }
  void become() {}
};
#endif

}  // namespace cuda_on_cpu
