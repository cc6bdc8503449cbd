// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Reads the fields of a protocol buffer message one after the other, copying nothing. Everything wrong throws
/// FormatError naming the byte.
class ProtobufReader {
 public:
  enum class WireType : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

  ProtobufReader(std::string_view message, const std::string& file, std::uint64_t origin = 0) noexcept
      : message_(message), file_(file), origin_(origin) {}

  /// Goes to the next field; false at the end. The field's value must be read or skipped before the next call.
  [[nodiscard]] bool next() {
    if (position_ == message_.size()) return false;
    field_at_ = position_;
    const std::uint64_t tag = raw_varint();
    const auto type = static_cast<std::uint8_t>(tag & 7);
    if (tag >> 3 == 0 || tag >> 3 > highest_field) fail(field_at_, "a protobuf field has a number out of range");
    if (type != 0 && type != 1 && type != 2 && type != 5)
      fail(field_at_, "a protobuf field has wire type " + std::to_string(type) + ", expected 0, 1, 2 or 5");
    field_ = static_cast<std::uint32_t>(tag >> 3);
    type_ = static_cast<WireType>(type);
    return true;
  }
  [[nodiscard]] std::uint32_t field() const noexcept { return field_; }

  [[nodiscard]] std::uint64_t varint() {
    expect(WireType::varint);
    return raw_varint();
  }
  [[nodiscard]] float float32() {
    expect(WireType::fixed32);
    float value;
    std::memcpy(&value, take(4).data(), sizeof(value));
    return value;
  }
  [[nodiscard]] std::string_view bytes() {
    expect(WireType::bytes);
    return take(raw_varint());
  }
  /// A message inside this one.
  [[nodiscard]] ProtobufReader message() {
    const std::string_view inner = bytes();
    return {inner, file_, origin_ + position_ - inner.size()};
  }
  void skip() {
    switch (type_) {
      case WireType::varint: (void)raw_varint(); break;
      case WireType::fixed64: (void)take(8); break;
      case WireType::bytes: (void)take(raw_varint()); break;
      case WireType::fixed32: (void)take(4); break;
    }
  }

  [[noreturn]] void fail(const std::string& problem) const { fail(field_at_, problem); }

 private:
  static constexpr std::uint64_t highest_field = (1u << 29) - 1;

  [[noreturn]] void fail(std::size_t at, const std::string& problem) const {
    throw FormatError(file_, origin_ + at, problem);
  }
  void expect(WireType type) const {
    if (type_ != type)
      fail(field_at_, "protobuf field " + std::to_string(field_) + " has wire type " +
                          std::to_string(static_cast<int>(type_)) + ", expected " +
                          std::to_string(static_cast<int>(type)));
  }
  std::string_view take(std::uint64_t count) {
    if (count > message_.size() - position_)
      fail(position_, "a protobuf field needs " + std::to_string(count) + " bytes, the message has " +
                          std::to_string(message_.size() - position_) + " left");
    const auto result = message_.substr(position_, static_cast<std::size_t>(count));
    position_ += result.size();
    return result;
  }
  std::uint64_t raw_varint() {
    const std::size_t begin = position_;
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(take(1)[0]);
      if (shift == 63 && byte > 1) fail(begin, "a protobuf number has more than 64 bits");
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  }

  std::string_view message_;
  const std::string& file_;
  std::uint64_t origin_;
  std::size_t position_ = 0;
  std::size_t field_at_ = 0;
  std::uint32_t field_ = 0;
  WireType type_ = WireType::varint;
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
