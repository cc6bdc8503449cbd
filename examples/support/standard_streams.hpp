// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <string>
#include <system_error>

#include "activation_trace/error.hpp"
#include "activation_trace/text/mapped_file.hpp"

namespace activation_trace::examples {

/// Occupies those of the descriptors 0 to 2 that are closed, or the next file to be opened would get their number and
/// what is meant for standard output (`program >&-`). As if they were closed still, the wrong direction fails: what
/// cannot be printed is an error.
inline void occupy_standard_streams() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor)
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF &&
        ::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY) != descriptor)
      throw Error("descriptor " + std::to_string(descriptor) +
                  " is closed, and /dev/null cannot be opened in its place");
}

/// Throws Error if what was printed has not arrived.
inline void flush_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw Error("standard output cannot be written");
}

/// What a prompt may have, in bytes: far above any context, and far below what a device or a stream can deliver.
inline constexpr std::size_t kLongestPrompt = std::size_t{1} << 26;

/// The content of a file; - is standard input. Throws Error naming what cannot be read, is no regular file or has more
/// than kLongestPrompt bytes.
[[nodiscard]] inline std::string read_all(const std::string& name) {
  const bool standard = name == "-";
  const std::string shown = standard ? "standard input" : name;
  // O_NONBLOCK: opening a pipe must not wait for a writer; regular files ignore it.
  const activation_trace::detail::DescriptorGuard file(
      standard ? ::dup(STDIN_FILENO) : ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const auto fail = [&](const std::string& why) { throw Error(shown + ": the prompt cannot be read: " + why); };
  struct ::stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) fail(std::generic_category().message(errno));
  if (S_ISDIR(status.st_mode)) fail("it is a folder");
  if (!standard && !S_ISREG(status.st_mode)) fail("it is not a regular file; pass what it delivers by -p -");
  std::string text;
  std::array<char, 65536> piece;
  while (true) {
    const ::ssize_t n = ::read(file.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(std::generic_category().message(errno));
    if (n == 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(n));
    if (text.size() > kLongestPrompt) fail("it has more than " + std::to_string(kLongestPrompt) + " bytes");
  }
}

}  // namespace activation_trace::examples
