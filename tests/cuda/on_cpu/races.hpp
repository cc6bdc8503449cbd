// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#ifdef CUDA_ON_CPU_RACES
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
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
/// While it lives, the machine sees to its own: what it allocates and copies is nobody's.
class Unseen {
 public:
  Unseen() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unseen() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};
#else
inline void release(const void*) {}
inline void acquire(const void*) {}
class Identity {
 public:
  static Identity current() { return {}; }
  void become() {}
};
class Unseen {
 public:
  Unseen() {}  // not trivial: it is used by being there
};
#endif

}  // namespace cuda_on_cpu
