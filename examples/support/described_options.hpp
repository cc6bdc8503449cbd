// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/processors/mode_text.hpp"

namespace activation_trace::examples {

/// Calls field(key, value, help) for every option of a mode, or of anything else that describes its own.
template <class Self, class Field>
void describe_all(Self& self, Field&& field) {
  if constexpr (std::is_same_v<std::remove_const_t<Self>, Mode>)
    describe(self, field);
  else
    Self::describe(self, field);
}

/// Whether there is an option of that key.
template <class Self>
[[nodiscard]] bool describes(const Self& self, std::string_view key) {
  bool found = false;
  describe_all(self, [&](std::string_view described, const auto&, std::string_view) { found |= described == key; });
  return found;
}

namespace option_values {

template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

/// What --help calls the values.
template <class T>
std::string value_name() {
  if constexpr (kIsOptional<T>)
    return value_name<typename T::value_type>();
  else if constexpr (std::is_arithmetic_v<T>)
    return std::is_integral_v<T> ? "INT" : "FLOAT";
  else if constexpr (requires { typename T::value_type; })
    return value_name<typename T::value_type>() + ",...";
  else  // a|b|c, BEGIN:END
    return OptionText<T>::expected().substr(0, OptionText<T>::expected().find(' '));
}

/// '-' in words does as well as '_'.
template <class T>
std::optional<T> read_value(std::string text) {
  std::optional<T> value = OptionText<T>::read(text);
  if (value) return value;
  std::replace(text.begin(), text.end(), '-', '_');
  return OptionText<T>::read(text);
}

/// What validate() says; empty if all is well.
template <class Self>
std::string problem_of(const Self& self) {
  try {
    if constexpr (std::is_same_v<Self, Mode>)
      validate(self);
    else
      self.validate();
  } catch (const ArgumentError& e) {
    return e.what();
  }
  return {};
}

/// Why `text` is no value of that option of `defaults`, whatever the others are; empty if it is one.
template <class Value, class Self>
std::string complaint(const Self& defaults, std::string_view key, const std::string& text) {
  const std::optional<Value> value = read_value<Value>(text);
  if (!value) return "expected " + OptionText<Value>::expected() + ", got " + text;
  if constexpr (std::is_floating_point_v<Value>)  // scores times or over them must stay within a float
    if (!std::isfinite(*value) || (*value != 0 && std::abs(*value) < Value(1e-30)))
      return "expected 0 or a number between 1e-30 and 1e38, got " + text;
  if constexpr (std::is_arithmetic_v<Value> && !std::is_same_v<Value, bool>) {
    Self changed = defaults;
    describe_all(changed, [&](std::string_view described, auto& of, std::string_view) {
      if constexpr (std::is_same_v<std::remove_reference_t<decltype(of)>, Value>)
        if (described == key) of = *value;
    });
    const std::string problem = problem_of(changed);
    if (problem == problem_of(defaults)) return {};
    const std::string begin = std::string(key) + ": ";
    return problem.starts_with(begin) ? problem.substr(begin.size()) : problem;
  }
  return {};
}

}  // namespace option_values

/// Options of a command line for what describe() tells of: --key and --ke-y, each once, whoever describes it.
class DescribedOptions {
 public:
  /// Whether the command line has an option of that key.
  using Wanted = std::function<bool(std::string_view key)>;

  /// Adds an option for every wanted key of `self` that is not there yet; its values are the defaults.
  template <class Self>
  void add(
      CLI::App& app, const Self& self, const Wanted& wanted = [](std::string_view) { return true; }) {
    describe_all(self, [&](std::string_view key, const auto& value, std::string_view help) {
      using Value = std::remove_cvref_t<decltype(value)>;
      if (option(key) != nullptr || !wanted(key)) return;
      if constexpr (std::is_same_v<Value, bool>) {
        options_.push_back({std::string(key), with_help(app.add_flag(names(key)), help)});
      } else {
        CLI::Option* added = with_help(app.add_option(names(key)), help)->type_name(option_values::value_name<Value>());
        added->default_str(OptionText<Value>::write(value));
        added->check(CLI::Validator([self, key = std::string(key)](
                                        std::string& text) { return option_values::complaint<Value>(self, key, text); },
                                    ""));
        options_.push_back({std::string(key), added});
      }
    });
  }

  /// Null if there is none of that key.
  [[nodiscard]] CLI::Option* option(std::string_view key) const {
    for (const Described& o : options_)
      if (o.key == key) return o.option;
    return nullptr;
  }

  [[nodiscard]] bool given(std::string_view key) const { return option(key) != nullptr && option(key)->count() != 0; }

  /// The keys of the options that were given.
  [[nodiscard]] std::vector<std::string> given() const {
    std::vector<std::string> keys;
    for (const Described& o : options_)
      if (o.option->count() != 0) keys.push_back(o.key);
    return keys;
  }

  /// What was given becomes the value of what `self` describes.
  template <class Self>
  void apply(Self& self) const {
    describe_all(self, [&](std::string_view key, auto& value, std::string_view) {
      using Value = std::remove_reference_t<decltype(value)>;
      if (given(key)) value = option_values::read_value<Value>(option(key)->results().back()).value();
    });
  }

  /// The command line's name of an option.
  [[nodiscard]] static std::string name(std::string_view key) {
    const std::string all = names(key);
    return all.substr(0, all.find(','));
  }

 private:
  struct Described {
    std::string key;
    CLI::Option* option;
  };

  static CLI::Option* with_help(CLI::Option* option, std::string_view help) {
    option->description(std::string(help));
    return option;
  }

  /// As CLI11 takes them; some have the names that the published scripts and this program had first.
  static std::string names(std::string_view key) {
    constexpr std::pair<std::string_view, const char*> others[] = {
        {"contrastive_coefficient", "--st_coef,--st-coef,--contrastive_coefficient,--contrastive-coefficient"},
        {"majority_threshold", "--mj_threshold,--mj-threshold,--majority_threshold,--majority-threshold"},
        {"candidate_layers",
         "--candidate_premature_layers,--candidate-premature-layers,--candidate_layers,--candidate-layers"},
        {"decoding_strategy", "--decoding_strategy,--decoding-strategy,--strategy"},
        {"context_span", "--context-span,--context_span"},
        {"context_growth", "--context-growth,--context_growth"},
    };
    for (const auto& [known, names] : others)
      if (known == key) return names;
    std::string dashed(key);
    std::replace(dashed.begin(), dashed.end(), '_', '-');
    return "--" + std::string(key) + (dashed == key ? "" : ",--" + dashed);
  }

  std::vector<Described> options_;
};

}  // namespace activation_trace::examples
