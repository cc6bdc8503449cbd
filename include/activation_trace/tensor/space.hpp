// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace activation_trace {
inline namespace v0 {

/// Memory that the CPU reads and writes.
struct Host {
  static constexpr bool host_accessible = true;  ///< views may be dereferenced in host code
};

/// Memory of a CUDA device. A host translation unit may name and pass such views, never dereference them;
/// the code that works on them is in cuda/*.cuh.
struct Cuda {
  static constexpr bool host_accessible = false;  ///< views may not be dereferenced in host code
};

/// Where the ops of a memory space run, and with what: the first argument of each of them. Host's has threads, an
/// instruction set and scratch memory (ops/execution.hpp); Cuda's is a stream with its device's scratch memory
/// (cuda/execution.cuh).
template <class Space = Host>
class Execution;

}  // namespace v0
}  // namespace activation_trace
