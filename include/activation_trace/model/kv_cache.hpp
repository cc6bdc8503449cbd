// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <string>
#include <type_traits>

#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/dtype.hpp"
#include "activation_trace/tensor/half.hpp"

namespace activation_trace {
inline namespace v0 {

/// The keys and values of one sequence in every block, as floats or halves, [capacity, width] each, width = kv_heads *
/// head_dim. The constructor takes all memory. Rows beyond size() may be written before advance() counts them.
template <class Space = Host>
class KvCache {
 public:
  /// Throws ArgumentError unless the extents are positive, their product fits and `stored` is f32 or f16,
  /// std::bad_alloc without memory.
  KvCache(Index blocks, Index capacity, Index width, DType stored = DType::f32);

  /// What keys and values are.
  [[nodiscard]] DType stored() const noexcept { return stored_; }

  /// Positions that there is room for.
  [[nodiscard]] Index capacity() const noexcept { return capacity_; }
  /// Positions that hold keys and values.
  [[nodiscard]] Index size() const noexcept { return size_; }

  /// Rows [begin, end) of `block`, of the type that is stored. Throws ShapeError if they do not exist, StateError for
  /// another type.
  template <class T = float>
  [[nodiscard]] MatrixView<T, Space> keys(Index block, Index begin, Index end) {
    return all<T>().row(block).row(0).slice(0, begin, end);
  }
  /// As keys().
  template <class T = float>
  [[nodiscard]] MatrixView<T, Space> values(Index block, Index begin, Index end) {
    return all<T>().row(block).row(1).slice(0, begin, end);
  }

  /// Counts the next `count` rows, which every block has written. Throws StateError beyond the capacity.
  void advance(Index count);
  /// Forgets every position from `position` on. Throws ArgumentError unless 0 <= position <= size().
  void rewind(Index position);

 private:
  static Index checked_size(Index blocks, Index capacity, Index width);

  template <class T>
  [[nodiscard]] TensorView<T, 4, Space> all() {
    if (dtype_of<T> != stored_)
      throw StateError("KvCache: keys and values are " + std::string(name(stored_)) + ", asked for as " +
                       std::string(name(dtype_of<T>)));
    const typename TensorView<T, 4, Space>::Extents extents{blocks_, 2, capacity_, width_};
    if constexpr (std::is_same_v<T, Half>)
      return {halves_.data(), extents};
    else
      return {floats_.data(), extents};
  }

  Index blocks_;
  Index capacity_;
  Index width_;
  DType stored_;
  Index size_ = 0;
  Buffer<float, Space> floats_;  // one of the two
  Buffer<Half, Space> halves_;
};

template <class Space>
KvCache<Space>::KvCache(Index blocks, Index capacity, Index width, DType stored)
    : blocks_(blocks), capacity_(capacity), width_(width), stored_(stored) {
  const Index size = checked_size(blocks, capacity, width);
  if (stored == DType::f32)
    floats_ = Buffer<float, Space>(size);
  else if (stored == DType::f16)
    halves_ = Buffer<Half, Space>(size);
  else
    throw ArgumentError("KvCache: keys and values are F32 or F16, not " + std::string(name(stored)));
}

template <class Space>
Index KvCache<Space>::checked_size(Index blocks, Index capacity, Index width) {
  Index size = 2;
  for (const auto& [name, extent] : {std::pair{"blocks", blocks}, {"capacity", capacity}, {"width", width}}) {
    if (extent <= 0)
      throw ArgumentError(std::string("KvCache: ") + name + " must be positive, got " + std::to_string(extent));
    if (size > std::numeric_limits<Index>::max() / extent)
      throw ArgumentError(std::string("KvCache: too large with ") + name + " " + std::to_string(extent));
    size *= extent;
  }
  return size;
}

template <class Space>
void KvCache<Space>::advance(Index count) {
  if (count < 0 || count > capacity_ - size_)
    throw StateError("KvCache: cannot advance by " + std::to_string(count) + " positions from " +
                     std::to_string(size_) + " of " + std::to_string(capacity_));
  size_ += count;
}

template <class Space>
void KvCache<Space>::rewind(Index position) {
  if (position < 0 || position > size_)
    throw ArgumentError("KvCache: cannot rewind to position " + std::to_string(position) + " of " +
                        std::to_string(size_));
  size_ = position;
}

}  // namespace v0
}  // namespace activation_trace
