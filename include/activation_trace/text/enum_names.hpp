// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <type_traits>
#include <utility>

namespace activation_trace {
inline namespace v0 {

/// The values of an enumeration with their names, for command lines, files and messages: specialised beside each that
/// has them, with an array `all` of {value, name}.
template <class E>
struct EnumNames;

/// An enumeration whose values have names.
template <class E>
concept NamedEnum = std::is_enum_v<E> && requires {
  EnumNames<E>::all;
};

/// The name of a value; "?" of one that the enumeration does not have.
template <NamedEnum E>
[[nodiscard]] constexpr std::string_view name(E value) {
  for (const auto& [known, text] : EnumNames<E>::all)
    if (known == value) return text;
  return "?";
}

}  // namespace v0
}  // namespace activation_trace
