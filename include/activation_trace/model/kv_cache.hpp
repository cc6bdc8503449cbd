// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <string>

#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {

/// The keys and values of one sequence in every block, as float [capacity, width] each, width = kv_heads *
/// head_dim. The constructor takes all memory. Rows beyond size() may be written before advance() counts them.
template <class Space = Host>
class KvCache {
 public:
  /// Throws ArgumentError unless the extents are positive and their product fits, std::bad_alloc without memory.
  KvCache(Index blocks, Index capacity, Index width);

  /// Positions that there is room for.
  [[nodiscard]] Index capacity() const noexcept { return capacity_; }
  /// Positions that hold keys and values.
  [[nodiscard]] Index size() const noexcept { return size_; }

  /// Rows [begin, end) of `block`. Throws ShapeError if they do not exist.
  [[nodiscard]] MatrixView<float, Space> keys(Index block, Index begin, Index end) {
    return all().row(block).row(0).slice(0, begin, end);
  }
  /// As keys().
  [[nodiscard]] MatrixView<float, Space> values(Index block, Index begin, Index end) {
    return all().row(block).row(1).slice(0, begin, end);
  }

  /// Counts the next `count` rows, which every block has written. Throws StateError beyond the capacity.
  void advance(Index count);
  /// Forgets every position from `position` on. Throws ArgumentError unless 0 <= position <= size().
  void rewind(Index position);

 private:
  static Index checked_size(Index blocks, Index capacity, Index width);

  [[nodiscard]] TensorView<float, 4, Space> all() { return {memory_.data(), {blocks_, 2, capacity_, width_}}; }

  Index blocks_;
  Index capacity_;
  Index width_;
  Index size_ = 0;
  Buffer<float, Space> memory_;
};

template <class Space>
KvCache<Space>::KvCache(Index blocks, Index capacity, Index width)
    : blocks_(blocks), capacity_(capacity), width_(width), memory_(checked_size(blocks, capacity, width)) {}

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
