// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/huge_pages.hpp"

namespace activation_trace {
inline namespace v0 {

/// How the bytes of a file become memory.
enum class FileAccess {
  map,   ///< shared with the page cache, loaded on first touch; reads the file instead where that fails
  read,  ///< copied now, into huge pages: for files that may shrink while in use, which would kill a process that maps
         ///< them, and for long runs of files that the page cache has in small pages
};

/// The bytes of a file for reading (POSIX). Moves, does not copy; the bytes stay where they are when it moves.
class MappedFile {
 public:
  /// Throws FormatError if there is no such file, or it is a folder, not a regular file, empty, unreadable, too large
  /// to be read, or the pointer that Git LFS leaves in its place.
  static MappedFile open(const std::filesystem::path& path, FileAccess access = FileAccess::map);

  /// `other` has no bytes then.
  MappedFile(MappedFile&& other) noexcept
      : name_(std::move(other.name_)), mapping_(std::exchange(other.mapping_, {})), copy_(std::move(other.copy_)) {}
  /// Gives up what this one holds; `other` has no bytes then.
  MappedFile& operator=(MappedFile&& other) noexcept {
    if (this != &other) {
      unmap();
      name_ = std::move(other.name_);
      mapping_ = std::exchange(other.mapping_, {});
      copy_ = std::move(other.copy_);
    }
    return *this;
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() { unmap(); }

  /// The whole content, at least one byte; valid as long as the object, or the one that it moves into.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    if (!mapping_.empty()) return mapping_;
    return {copy_.data(), static_cast<std::size_t>(copy_.size())};
  }
  /// The path as given, for messages.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// What was done in the end.
  [[nodiscard]] FileAccess access() const noexcept { return mapping_.empty() ? FileAccess::read : FileAccess::map; }

 private:
  explicit MappedFile(std::string name) : name_(std::move(name)) {}

  void read_all(int descriptor, std::size_t size);
  void check_content() const;
  void unmap() noexcept {
    if (!mapping_.empty()) ::munmap(const_cast<std::byte*>(mapping_.data()), mapping_.size());
  }

  std::string name_;
  std::span<const std::byte> mapping_;
  Buffer<std::byte> copy_;
};

namespace detail {

[[nodiscard]] inline std::string_view text_of(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Closes a file descriptor.
class DescriptorGuard {
 public:
  explicit DescriptorGuard(int descriptor) noexcept : descriptor_(descriptor) {}
  DescriptorGuard(DescriptorGuard&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  DescriptorGuard& operator=(DescriptorGuard&&) = delete;
  ~DescriptorGuard() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  [[nodiscard]] int get() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE MappedFile MappedFile::open(const std::filesystem::path& path, FileAccess access) {
  MappedFile file(path.string());
  const auto system_problem = [&] { return FormatError(file.name_, std::generic_category().message(errno)); };

  // O_NONBLOCK: opening a pipe must not wait for a writer; regular files ignore it.
  const detail::DescriptorGuard descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct ::stat status {};
  if (descriptor.get() < 0 || ::fstat(descriptor.get(), &status) != 0) throw system_problem();
  if (S_ISDIR(status.st_mode)) throw FormatError(file.name_, "is a folder, not a file");
  if (!S_ISREG(status.st_mode)) throw FormatError(file.name_, "is not a regular file");
  if (status.st_size <= 0) throw FormatError(file.name_, "is empty");
  if (static_cast<std::uintmax_t>(status.st_size) > static_cast<std::uintmax_t>(std::numeric_limits<Index>::max()))
    throw FormatError(file.name_, "is larger than the address space");
  const auto size = static_cast<std::size_t>(status.st_size);

  void* memory =
      access == FileAccess::map ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.get(), 0) : MAP_FAILED;
  if (memory != MAP_FAILED) {
    file.mapping_ = {static_cast<const std::byte*>(memory), size};
    detail::prefer_huge_pages(memory, size);
  } else {
    file.read_all(descriptor.get(), size);
  }
  file.check_content();
  return file;
}

ACTIVATION_TRACE_COMPILED_INLINE void MappedFile::read_all(int descriptor, std::size_t size) {
  try {
    copy_ = Buffer<std::byte>(static_cast<Index>(size));
  } catch (const std::bad_alloc&) {
    throw FormatError(name_, "is too large to be read into memory: " + std::to_string(size) + " bytes");
  }
  for (std::size_t done = 0; done < size;) {
    const ::ssize_t n = ::read(descriptor, copy_.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw FormatError(name_, std::generic_category().message(errno));
    if (n == 0) throw FormatError(name_, done, "the file shrank from " + std::to_string(size) + " bytes");
    done += static_cast<std::size_t>(n);
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void MappedFile::check_content() const {
  constexpr std::size_t longest_pointer = 1024;  // by its specification
  if (bytes().size() < longest_pointer &&
      detail::text_of(bytes()).starts_with("version https://git-lfs.github.com/spec/"))
    throw FormatError(name_,
                      "is a Git LFS pointer, not the file itself: get that by `git lfs pull` where it was cloned");
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
