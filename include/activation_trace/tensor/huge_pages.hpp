// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Less than this is never worth a huge page: their usual size on x86 and ARM.
constexpr std::size_t huge_page = std::size_t{2} << 20;

/// Asks Linux for huge pages, of which a processor finds the addresses of 512 pages at once, where the memory was not
/// touched yet. A wish: a system without them (or with `never` in /sys/kernel/mm/transparent_hugepage/enabled) leaves
/// the memory as it is, and nothing is said. Of a mapped file it means huge pages in the page cache, shared by all
/// processes, where the file system has them there (ext4 since Linux 6.16, XFS since 5.18) and the file is read from
/// the disk now.
inline void prefer_huge_pages([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(MADV_HUGEPAGE)
  if (bytes < huge_page) return;
  constexpr std::uintptr_t small_page = 4096;  // larger ones refuse an address between them, which is a refused wish
  const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(memory);
  const std::size_t skipped = (small_page - address % small_page) % small_page;
  const std::size_t whole = (bytes - skipped) / small_page * small_page;
  (void)::madvise(static_cast<char*>(const_cast<void*>(memory)) + skipped, whole, MADV_HUGEPAGE);
#endif
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
