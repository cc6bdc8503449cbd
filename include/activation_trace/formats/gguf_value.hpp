// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/formats/gguf_reader.hpp"
#include "activation_trace/formats/gguf_types.hpp"
#include "activation_trace/text/visible.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

/// The longest string of a GGUF file, a limit of ggml's reader.
inline constexpr std::uint64_t longest_gguf_string = std::uint64_t{1} << 30;

/// A metadata entry of a GGUF file, whose bytes have been checked to be what its type demands.
struct GgufValue {
  std::string_view key;
  GgufType type;  ///< of the elements, if it is an array
  bool is_array;
  std::uint64_t count;  ///< 1 if it is none
  std::span<const std::byte> bytes;
  std::uint64_t offset;  ///< of the bytes in the file

  /// The value as a T: GgufFile::find. `file` is for messages.
  template <class T>
  [[nodiscard]] T as(const std::string& file) const;

 private:
  template <class T>
  T element(GgufReader& reader, const std::string& file) const;
  template <class Stored, class T>
  T number(GgufReader& reader, const std::string& file) const;
  [[noreturn]] void wrong_type(const std::string& file) const;
};

template <class T>
T GgufValue::as(const std::string& file) const {
  GgufReader reader(bytes, file, offset);
  if constexpr (IsVector<T>::value) {
    if (!is_array) wrong_type(file);
    T elements;
    elements.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) elements.push_back(element<typename T::value_type>(reader, file));
    return elements;
  } else {
    if (is_array) wrong_type(file);
    return element<T>(reader, file);
  }
}

template <class T>
T GgufValue::element(GgufReader& reader, const std::string& file) const {
  if constexpr (std::is_same_v<T, std::string_view>) {
    if (type != GgufType::string) wrong_type(file);
    return reader.string(longest_gguf_string, "a metadata string");
  } else if constexpr (std::is_same_v<T, bool>) {
    if (type != GgufType::boolean) wrong_type(file);
    return reader.number<std::uint8_t>("a bool") != 0;
  } else {
    static_assert(std::is_arithmetic_v<T>, "find: bool, a number, std::string_view or a std::vector of these");
    switch (type) {
      case GgufType::u8: return number<std::uint8_t, T>(reader, file);
      case GgufType::i8: return number<std::int8_t, T>(reader, file);
      case GgufType::u16: return number<std::uint16_t, T>(reader, file);
      case GgufType::i16: return number<std::int16_t, T>(reader, file);
      case GgufType::u32: return number<std::uint32_t, T>(reader, file);
      case GgufType::i32: return number<std::int32_t, T>(reader, file);
      case GgufType::u64: return number<std::uint64_t, T>(reader, file);
      case GgufType::i64: return number<std::int64_t, T>(reader, file);
      case GgufType::f32: return number<float, T>(reader, file);
      case GgufType::f64: return number<double, T>(reader, file);
      case GgufType::boolean:
      case GgufType::string:
      case GgufType::array: break;
    }
    wrong_type(file);
  }
}

template <class Stored, class T>
T GgufValue::number(GgufReader& reader, const std::string& file) const {
  if constexpr (std::is_integral_v<Stored> != std::is_integral_v<T>) {
    wrong_type(file);
  } else {
    const std::uint64_t at = reader.position();
    const auto stored = reader.number<Stored>("a number");
    bool fits = true;
    if constexpr (std::is_integral_v<Stored>)
      fits = std::in_range<T>(stored);
    else if constexpr (sizeof(Stored) > sizeof(T))
      fits = !std::isfinite(stored) || std::abs(stored) <= static_cast<Stored>(std::numeric_limits<T>::max());
    if (!fits)
      throw FormatError(file, at, "metadata " + printable(key) + " is out of range: " + std::to_string(stored));
    return static_cast<T>(stored);
  }
}

inline void GgufValue::wrong_type(const std::string& file) const {
  throw FormatError(file, offset,
                    "metadata " + printable(key) + " has an unexpected type: " + (is_array ? "array of " : "") +
                        std::string(name(type)));
}

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
