// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

/// Reads little-endian values off a byte string and says where it was when there were too few.
class GgufReader {
 public:
  GgufReader(std::span<const std::byte> bytes, const std::string& file, std::uint64_t origin = 0) noexcept
      : bytes_(bytes), file_(file), origin_(origin) {}

  [[nodiscard]] std::uint64_t position() const noexcept { return origin_ + next_; }
  [[nodiscard]] std::uint64_t remaining() const noexcept { return bytes_.size() - next_; }

  std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
    if (count > remaining())
      throw FormatError(file_, position(),
                        std::string(what) + " needs " + std::to_string(count) + " bytes, the file has " +
                            std::to_string(remaining()) + " left");
    const auto result = bytes_.subspan(next_, static_cast<std::size_t>(count));
    next_ += static_cast<std::size_t>(count);
    return result;
  }

  template <class T>
  requires std::is_arithmetic_v<T> T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  /// A u64 length and that many bytes, at most `longest`.
  std::string_view string(std::uint64_t longest, std::string_view what) {
    const std::uint64_t at = position();
    const auto length = number<std::uint64_t>(what);
    if (length > longest)
      throw FormatError(file_, at,
                        std::string(what) + " claims " + std::to_string(length) + " bytes, at most " +
                            std::to_string(longest) + " are allowed");
    const auto text = take(length, what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

  /// What has been taken since a position.
  [[nodiscard]] std::span<const std::byte> since(std::uint64_t position) const noexcept {
    const auto begin = static_cast<std::size_t>(position - origin_);
    return bytes_.subspan(begin, next_ - begin);
  }

  /// A count of things of which each takes at least `least_bytes`: more than could follow is refused.
  void check_count(std::uint64_t count, std::uint64_t least_bytes, std::uint64_t at, std::string_view what) const {
    if (count > remaining() / least_bytes)
      throw FormatError(file_, at,
                        std::to_string(count) + " " + std::string(what) + " cannot fit into the " +
                            std::to_string(remaining()) + " bytes that follow");
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  std::uint64_t origin_;
  std::size_t next_ = 0;
};

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
