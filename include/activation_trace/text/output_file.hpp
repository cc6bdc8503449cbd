// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/mapped_file.hpp"

namespace activation_trace {
inline namespace v0 {

/// A file that is written to piece by piece (POSIX): a piece is with the kernel when write() returns, and on the disk
/// after sync(). Everything throws Error naming the file and the system's reason. Moves, does not copy.
class OutputFile {
 public:
  /// Begins an empty file; at a pipe or a device it just writes. Follows links.
  static OutputFile begin(const std::filesystem::path& path) { return {path, O_TRUNC, path.string()}; }
  /// Begins a file where nothing is: not even a link, which would lead elsewhere. `name` is for messages.
  static OutputFile create(const std::filesystem::path& path, std::string name) {
    return {path, O_EXCL | O_NOFOLLOW, std::move(name)};
  }
  /// Goes on behind what is there, or begins. Refuses a link.
  static OutputFile append(const std::filesystem::path& path) { return {path, O_APPEND | O_NOFOLLOW, path.string()}; }

  /// Writes all of it; what throws leaves nothing of it in a file that can be shortened.
  void write(std::string_view bytes);
  /// Waits until everything written is on the disk, if it is on one at all.
  void sync();

 private:
  OutputFile(const std::filesystem::path& path, int how, std::string name);

  [[noreturn]] void fail(int error) const {
    throw Error(name_ + ": cannot be written: " + std::generic_category().message(error));
  }

  std::string name_;
  detail::DescriptorGuard descriptor_;
  bool regular_ = false;
};

/// Writes a file, under another name first: whenever the machine stops, `path` holds all of this or what it held
/// before. A link at `path` is replaced, not followed. Throws Error if that fails.
void write_whole_file(const std::filesystem::path& path, std::string_view content);

namespace detail {

/// Waits until the names in a folder are on the disk, where the file system has that.
inline void sync_folder(const std::filesystem::path& folder) {
  const DescriptorGuard descriptor(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() >= 0) std::ignore = ::fsync(descriptor.get());
}

/// A name beside `path` that nobody can foresee; hidden, as it is there for a moment only.
[[nodiscard]] inline std::filesystem::path temporary_beside(const std::filesystem::path& path) {
  constexpr std::size_t longest = 200;  // names have 255 bytes at most
  std::random_device random;
  char suffix[24];
  std::snprintf(suffix, sizeof suffix, ".%08x%08x", random(), random());
  return path.parent_path() / ('.' + path.filename().string().substr(0, longest) + suffix);
}

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE OutputFile::OutputFile(const std::filesystem::path& path, int how, std::string name)
    : name_(std::move(name)), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | how, 0666)) {
  struct ::stat status {};
  if (descriptor_.get() < 0 && errno == ELOOP && (how & O_NOFOLLOW) != 0)
    throw Error(name_ + ": is a link, which is not followed here; remove it");
  if (descriptor_.get() < 0 || ::fstat(descriptor_.get(), &status) != 0) fail(errno);
  regular_ = S_ISREG(status.st_mode);
}

ACTIVATION_TRACE_COMPILED_INLINE void OutputFile::write(std::string_view bytes) {
  const ::off_t before = regular_ ? ::lseek(descriptor_.get(), 0, SEEK_END) : 0;
  while (!bytes.empty()) {
    const ::ssize_t n = ::write(descriptor_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      // Half a line would be in the way of the next; a disk that is full can still shorten a file.
      if (regular_ && before >= 0) std::ignore = ::ftruncate(descriptor_.get(), before);
      fail(error);
    }
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void OutputFile::sync() {
  while (regular_ && ::fdatasync(descriptor_.get()) != 0) {
    if (errno == EINVAL || errno == ENOTSUP) return;  // a file system without
    if (errno != EINTR) fail(errno);
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void write_whole_file(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = detail::temporary_beside(path);
  OutputFile file = OutputFile::create(temporary, path.string());
  try {
    file.write(content);
    file.sync();
    std::error_code error;
    std::filesystem::rename(temporary, path, error);
    if (error) throw Error(path.string() + ": cannot be written: " + error.message());
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  detail::sync_folder(path.parent_path());
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
