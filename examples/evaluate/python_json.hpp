// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

namespace activation_trace::examples {

/// As Python's repr() prints a float, and json.dumps() one that is not finite.
[[nodiscard]] inline std::string python_float(double x) {
  if (std::isnan(x)) return "NaN";
  if (std::isinf(x)) return x > 0 ? "Infinity" : "-Infinity";
  const double size = std::abs(x);
  const auto format =
      size == 0 || (size >= 1e-4 && size < 1e16) ? std::chars_format::fixed : std::chars_format::scientific;
  std::array<char, 32> text{};
  std::string result(text.data(), std::to_chars(text.data(), text.data() + text.size(), x, format).ptr);
  if (format == std::chars_format::fixed && result.find('.') == std::string::npos) result += ".0";
  return result;
}

/// A text, number, truth value or null as json.dumps() writes it.
[[nodiscard]] inline std::string python_text(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
}

/// The bytes of Python's json.dumps(value): ASCII, a blank after ',' and ':'.
[[nodiscard]] inline std::string python_json(const nlohmann::ordered_json& value) {
  if (value.is_number_float()) return python_float(value.get<double>());
  if (!value.is_structured()) return python_text(value);
  std::string result(1, value.is_object() ? '{' : '[');
  for (const auto& [key, member] : value.items()) {
    if (result.size() > 1) result += ", ";
    if (value.is_object()) result += python_text(key) + ": ";
    result += python_json(member);
  }
  return result += value.is_object() ? '}' : ']';
}

}  // namespace activation_trace::examples
