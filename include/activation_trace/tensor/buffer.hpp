// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <limits>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "activation_trace/tensor/huge_pages.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Allocation of raw memory in a space. Specialised for Cuda in cuda/buffer.cuh; a host translation unit
/// that asks for device memory stops here.
template <class Space>
struct Allocator {
  static_assert(std::is_same_v<Space, Host>,
                "activation_trace: Buffer<T, Cuda> needs nvcc and #include \"activation_trace/cuda.cuh\"");

  /// Cache lines, and the widest vector loads, are this long.
  static constexpr std::align_val_t alignment{64};

  /// At least `bytes` bytes, aligned, with indeterminate content, in huge pages where there are enough and the system
  /// has them. Throws std::bad_alloc.
  static void* allocate(std::size_t bytes) {
    void* memory = ::operator new(bytes, alignment);
    detail::prefer_huge_pages(memory, bytes);
    return memory;
  }
  /// Gives back what allocate() gave; null is allowed.
  static void deallocate(void* memory) noexcept { ::operator delete(memory, alignment); }
};

/// Owns `size` elements of trivially copyable T in `Space`, aligned to 64 bytes, uninitialised on the device
/// and zeroed on the host. Moves, does not copy. Throws std::bad_alloc.
template <class T, class Space = Host>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>, "a buffer holds plain data");

 public:
  Buffer() noexcept = default;

  /// Throws ShapeError for a negative size, std::bad_alloc where memory or address space do not suffice.
  explicit Buffer(Index size) : size_(size) {
    if (size < 0) throw ShapeError("Buffer: size must not be negative, got " + std::to_string(size));
    if (static_cast<std::size_t>(size) > std::numeric_limits<std::size_t>::max() / 2 / sizeof(T))
      throw std::bad_alloc();
    if (size == 0) return;
    data_ = static_cast<T*>(Allocator<Space>::allocate(static_cast<std::size_t>(size) * sizeof(T)));
    if constexpr (Space::host_accessible)
      for (Index i = 0; i < size; ++i) new (data_ + i) T{};
  }

  /// `other` becomes empty.
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  /// Frees what this one holds; `other` becomes empty.
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      release();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  /// Elements.
  [[nodiscard]] Index size() const noexcept { return size_; }
  /// The first element, of `Space`; null where there is none.
  [[nodiscard]] T* data() noexcept { return data_; }
  /// The first element, of `Space`; null where there is none.
  [[nodiscard]] const T* data() const noexcept { return data_; }

  /// All elements; valid as long as the buffer, which may be moved.
  [[nodiscard]] VectorView<T, Space> view() { return {data_, {size_}}; }
  /// All elements; valid as long as the buffer, which may be moved.
  [[nodiscard]] VectorView<const T, Space> view() const { return {data_, {size_}}; }

  /// The first rows * cols elements as a matrix. Throws ShapeError if there are fewer.
  [[nodiscard]] MatrixView<T, Space> matrix(Index rows, Index cols) {
    check_matrix(rows, cols);
    return {data_, {rows, cols}};
  }
  /// As above.
  [[nodiscard]] MatrixView<const T, Space> matrix(Index rows, Index cols) const {
    check_matrix(rows, cols);
    return {data_, {rows, cols}};
  }

 private:
  void check_matrix(Index rows, Index cols) const {
    if (rows < 0 || cols < 0 || (rows != 0 && cols > size_ / rows))
      throw ShapeError("Buffer: " + std::to_string(rows) + " x " + std::to_string(cols) + " elements do not fit into " +
                       std::to_string(size_));
  }

  void release() noexcept {
    if (data_ != nullptr) Allocator<Space>::deallocate(data_);
  }

  T* data_ = nullptr;
  Index size_ = 0;
};

}  // namespace v0
}  // namespace activation_trace
