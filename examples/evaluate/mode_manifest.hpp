// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "activation_trace/processors/mode_text.hpp"
#include "evaluate/sha256.hpp"
#include "support/described_options.hpp"
#include "support/engine_options.hpp"
#include "support/output_files.hpp"

// What manifests say of modes, from what these describe.
namespace activation_trace::examples {

/// As it was typed: 0.1 rather than the double next to 0.1f.
[[nodiscard]] inline double decimal(float x) {
  std::array<char, 32> text{};
  const char* end = std::to_chars(text.begin(), text.end(), x).ptr;
  double result = 0;
  std::from_chars(text.begin(), end, result);
  return result;
}

/// The value of an option; floats as `number` has them.
template <class T, class Number>
[[nodiscard]] nlohmann::ordered_json json_of(const T& value, const Number& number) {
  if constexpr (option_values::kIsOptional<T>)
    return value ? json_of(*value, number) : nlohmann::ordered_json();
  else if constexpr (std::is_same_v<T, ContextSpan>)
    return {value.begin, value.end};
  else if constexpr (std::is_floating_point_v<T>)
    return number(value);
  else if constexpr (NamedEnum<T>)
    return name(value);
  else
    return value;
}

/// What `self` describes that is not in `options` yet.
template <class Self, class Number>
void add_described(nlohmann::ordered_json& options, const Self& self, const Number& number) {
  describe_all(self, [&](std::string_view key, const auto& value, std::string_view) {
    if (!options.contains(key)) options[std::string(key)] = json_of(value, number);
  });
}

/// Every option that a mode has, be it this one's or another's: those are as `context` says, or else their defaults.
template <class Number>
[[nodiscard]] nlohmann::ordered_json options_of_modes(const Mode& mode, const ContextOptions& context,
                                                      const Number& number) {
  nlohmann::ordered_json options{{"decoding_mode", name(mode)}, {"candidate_layers", premature_layers(mode)}};
  add_described(options, mode, number);
  add_described(options, context, number);
  for_each_mode([&](const auto& other) { add_described(options, Mode(other), number); });
  return options;
}

/// Adds to a manifest's options those of the mode that manifests have not always had: where they are not the default.
/// `elsewhere`: keys whose values other keys have. And a student.
template <class Number>
void add_new_options(nlohmann::ordered_json& options, const Mode& mode, const StudentSettings& student,
                     std::initializer_list<std::string_view> elsewhere, const Number& number) {
  nlohmann::ordered_json described;
  nlohmann::ordered_json defaults;
  add_described(described, mode, number);
  add_described(defaults, mode_named(name(mode)), number);
  for (const auto& [key, value] : described.items())
    if (!options.contains(key) && value != defaults[key] && std::ranges::count(elsewhere, key) == 0)
      options[key] = value;
  if (student.name.empty()) return;
  options["student"] = student.is_model() ? identity_of_model(student.name) : nlohmann::ordered_json(student.name);
  options["ignore_prefix"] = student.ignore_prefix;
}

}  // namespace activation_trace::examples
