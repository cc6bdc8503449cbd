// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/mode.hpp"

// Options as text, for command lines, manifests and other languages.
namespace activation_trace {
inline namespace v0 {

/// How the values of a type of option are written: read(text) gives the value or none, write(value) what read()
/// understands, `expected` says what that is.
template <class T>
struct OptionText;

template <class T>
requires std::is_arithmetic_v<T>
struct OptionText<T> {
  static std::string expected() { return std::is_integral_v<T> ? "a whole number" : "a number"; }

  static std::optional<T> read(std::string_view text) {
    if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
    if constexpr (std::is_floating_point_v<T>)
      if (std::isnan(value)) return std::nullopt;
    return value;
  }

  static std::string write(T value) {
    char text[64];
    return {text, std::to_chars(text, text + sizeof text, value).ptr};
  }
};

template <>
struct OptionText<bool> {
  static std::string expected() { return "true or false"; }

  static std::optional<bool> read(std::string_view text) {
    if (text == "true" || text == "1" || text == "on") return true;
    if (text == "false" || text == "0" || text == "off") return false;
    return std::nullopt;
  }

  static std::string write(bool value) { return value ? "true" : "false"; }
};

template <NamedEnum E>
struct OptionText<E> {
  static std::string expected() {
    std::string words;
    for (const auto& [value, word] : EnumNames<E>::all) words.append(words.empty() ? "" : "|").append(word);
    return words;
  }

  static std::optional<E> read(std::string_view text) {
    for (const auto& [value, word] : EnumNames<E>::all)
      if (word == text) return value;
    return std::nullopt;
  }

  static std::string write(E value) { return std::string(name(value)); }
};

template <class T>
struct OptionText<std::optional<T>> {
  static std::string expected() { return OptionText<T>::expected(); }

  static std::optional<std::optional<T>> read(std::string_view text) {
    const std::optional<T> value = OptionText<T>::read(text);
    return value ? std::optional<std::optional<T>>(std::in_place, value) : std::nullopt;
  }

  static std::string write(const std::optional<T>& value) { return value ? OptionText<T>::write(*value) : ""; }
};

template <class T>
struct OptionText<std::vector<T>> {
  static std::string expected() { return OptionText<T>::expected() + " or several, separated by commas"; }

  static std::optional<std::vector<T>> read(std::string_view text) {
    std::vector<T> values;
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find(',', begin), text.size());
      const std::optional<T> value = OptionText<T>::read(text.substr(begin, end - begin));
      if (!value) return std::nullopt;
      values.push_back(*value);
      begin = end + 1;
    }
    return values;
  }

  static std::string write(const std::vector<T>& values) {
    std::string text;
    for (const T& value : values) text.append(text.empty() ? "" : ",").append(OptionText<T>::write(value));
    return text;
  }
};

template <>
struct OptionText<ContextSpan> {
  static std::string expected() { return "BEGIN:END with 0 <= BEGIN < END, either may be left out"; }

  static std::optional<ContextSpan> read(std::string_view text) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto place = [](std::string_view digits, Index otherwise) {
      return digits.empty() ? std::optional(otherwise) : OptionText<Index>::read(digits);
    };
    const std::optional<Index> begin = place(text.substr(0, colon), 0);
    const std::optional<Index> end = place(text.substr(colon + 1), std::numeric_limits<Index>::max());
    return begin && end && *begin >= 0 && *begin < *end ? std::optional(ContextSpan{*begin, *end}) : std::nullopt;
  }

  static std::string write(const ContextSpan& span) {
    const bool open = span.end == std::numeric_limits<Index>::max();
    return std::to_string(span.begin) + ":" + (open ? "" : std::to_string(span.end));
  }
};

/// The mode of that name with its defaults. Throws ArgumentError for a name that no mode has.
[[nodiscard]] Mode mode_named(std::string_view name);

/// Sets the option of that key. Whether values make sense together is for validate(). Throws ArgumentError for a key
/// that the mode has no use for and for a text that is none of its values.
void set_option(Mode& mode, std::string_view key, std::string_view text);

/// "activation: alpha 0.5, relative_top 0.1, ..."; options without a value are left out.
[[nodiscard]] std::string to_text(const Mode& mode);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE Mode mode_named(std::string_view name) {
  std::optional<Mode> found;
  std::string names;
  for_each_mode([&](const auto& mode) {
    names += (names.empty() ? "" : "|") + std::string(mode.name);
    if (mode.name == name) found = mode;
  });
  if (!found) throw ArgumentError("decoding_mode: expected " + names + ", got " + std::string(name));
  return *found;
}

ACTIVATION_TRACE_COMPILED_INLINE void set_option(Mode& mode, std::string_view key, std::string_view text) {
  bool known = false;
  describe(mode, [&](std::string_view described, auto& value, std::string_view) {
    if (described != key) return;
    known = true;
    using Text = OptionText<std::remove_reference_t<decltype(value)>>;
    const auto read = Text::read(text);
    if (!read) throw ArgumentError(std::string(key) + ": expected " + Text::expected() + ", got " + std::string(text));
    value = *read;
  });
  if (!known)
    throw ArgumentError(std::string(key) + ": decoding_mode " + std::string(name(mode)) + " has no use for it");
}

ACTIVATION_TRACE_COMPILED_INLINE std::string to_text(const Mode& mode) {
  std::string text(name(mode));
  char separator = ':';
  describe(mode, [&](std::string_view key, const auto& value, std::string_view) {
    const std::string written = OptionText<std::remove_cvref_t<decltype(value)>>::write(value);
    if (written.empty()) return;
    text += std::exchange(separator, ',') + (' ' + std::string(key)) + ' ' + written;
  });
  return text;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
