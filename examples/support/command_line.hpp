// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <limits>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/processors/mode_text.hpp"
#include "activation_trace/text/mapped_file.hpp"
#include "activation_trace/text/visible.hpp"
#include "activation_trace/version.hpp"
#include "support/standard_streams.hpp"

// What the command lines of the programs here have in common.
namespace activation_trace::examples {

/// Something in the command line makes no sense: exit code 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The whole text as a number of this type; CLI11 2.1 lets integers overflow in silence.
template <class Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// A day of the calendar, as YYYY-MM-DD.
[[nodiscard]] inline std::chrono::year_month_day parse_date(const std::string& option, const std::string& text) {
  std::string form = text;
  for (char& c : form) c = c >= '0' && c <= '9' ? 'd' : c;
  if (form == "dddd-dd-dd") {
    const auto number = [&](std::size_t begin, std::size_t size) { return std::stoi(text.substr(begin, size)); };
    const auto date = std::chrono::year{number(0, 4)} / number(5, 2) / number(8, 2);
    if (date.ok()) return date;
  }
  throw CLI::ValidationError(option, "expected a date as YYYY-MM-DD, got " + text);
}

/// Accepts whole numbers of [low, high].
template <class Integer = Index>
[[nodiscard]] CLI::Validator whole_number(Integer low, Integer high = std::numeric_limits<Integer>::max()) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        const std::optional<Integer> number = parse_number<Integer>(text);
        if (number && *number >= low && *number <= high) return {};
        return "expected a whole number in " + std::to_string(low) + ".." + std::to_string(high) + ", got " + text;
      },
      "");
}

/// Accepts finite numbers of [low, high].
[[nodiscard]] inline CLI::Validator number(double low, double high = std::numeric_limits<float>::max()) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        const std::optional<double> number = parse_number<double>(text);
        if (number && *number >= low && *number <= high) return {};
        const auto bound = [](double x) {
          return std::abs(x) == static_cast<double>(std::numeric_limits<float>::max()) ? std::string("any")
                                                                                       : CLI::detail::to_string(x);
        };
        return "expected a number in " + bound(low) + ".." + bound(high) + ", got " + text;
      },
      "");
}

/// Accepts finite numbers above 0 by which scores can be multiplied and divided without leaving the range of a float.
[[nodiscard]] inline CLI::Validator positive_number() { return number(1e-30, 1e30); }

/// An option that is one of several words; '-' in them does as well as '_'.
template <class Enum>
CLI::Option* add_choice(CLI::App& app, const std::string& names, Enum& value,
                        std::vector<std::pair<std::string, Enum>> choices, const std::string& help) {
  std::string words;
  for (const auto& [word, unused] : choices) words += (words.empty() ? "" : "|") + word;
  return app
      .add_option_function<std::string>(
          names,
          [&value, choices, words, names](std::string text) {
            std::replace(text.begin(), text.end(), '-', '_');
            for (const auto& [word, choice] : choices)
              if (word == text) {
                value = choice;
                return;
              }
            throw CLI::ValidationError(names.substr(0, names.find(',')), "expected " + words + ", got " + text);
          },
          help)
      ->type_name(words);
}

/// \n, \t, \\ and the quotes as in llama.cpp's -e; anything else stays as it is.
[[nodiscard]] inline std::string unescaped(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t known =
        text[i] == '\\' && i + 1 < text.size() ? std::string("ntr\\\"'").find(text[i + 1]) : std::string::npos;
    if (known == std::string::npos)
      result += text[i];
    else
      result += "\n\t\r\\\"'"[known], ++i;
  }
  return result;
}

/// The prompt of -p or -f: `prompt` is what -p says, `file` what -f does, and afterwards `prompt` is the text. Throws
/// UsageError for none, Error for one that cannot be read.
inline void read_prompt(const CLI::App& app, std::string& prompt, const std::string& file, bool escape) {
  if (app.count("--prompt") == 0 && app.count("--file") == 0) throw UsageError("give a prompt with -p or -f");
  if (app.count("--file") != 0)
    prompt = read_all(file);
  else if (prompt == "-")
    prompt = read_all("-");
  else if (escape)
    prompt = unescaped(prompt);
  if (prompt.empty())
    throw UsageError("the prompt is empty: the first token needs one before it; for a text without any, give '\\n'");
}

/// Numbers of hidden states, separated by commas. Throws UsageError for another text.
[[nodiscard]] inline std::vector<Index> parse_layers(const std::string& option, const std::string& text) {
  if (const std::optional<std::vector<Index>> layers = OptionText<std::vector<Index>>::read(text)) return *layers;
  throw UsageError(option + ": expected numbers of layers like 0,2,4, got " + text);
}

/// major.minor.patch
[[nodiscard]] inline std::string version_text() { return ACTIVATION_TRACE_VERSION_STRING; }

/// --version, and how --help looks: of the program, not of its subcommands.
inline void add_version(CLI::App& app) {
  app.get_formatter()->column_width(44);
  app.set_version_flag("--version", version_text());
}

/// llama.cpp's options of one dash and several letters, each of which CLI11 would take for an option.
inline constexpr std::pair<std::string_view, const char*> kSeveralLetters[] = {
    {"-ngl", "--n-gpu-layers"}, {"-ts", "--tensor-split"},  {"-sm", "--split-mode"},
    {"-ctk", "--cache-type-k"}, {"-ctv", "--cache-type-v"}, {"-fa", "--flash-attn"}};

/// Parses; an exit code if there is nothing more to do (--help, --version). Throws UsageError.
[[nodiscard]] inline std::optional<int> parse(CLI::App& app, int argc, char** argv) {
  std::vector<const char*> words(argv, argv + argc);
  for (const char*& word : words)
    for (const auto& [letters, option] : kSeveralLetters)
      if (word == letters) word = option;
  try {
    app.parse(argc, words.data());
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& e) {
    throw UsageError(e.what());
  }
  return std::nullopt;
}

/// What an error says, in one line: it may hold names of files, or texts from them.
[[nodiscard]] inline std::string one_line(const std::exception& e) {
  return activation_trace::detail::escaped(e.what(), 2000);
}

inline constexpr const char* kOutOfMemory =
    "there is not enough memory; a smaller context (-c), a smaller -b, fewer texts at once (-j, --beams) or a smaller "
    "file needs less";

/// main() of the command `name`: what run() throws becomes a line on standard error and an exit code, 2 for a command
/// line that makes no sense and 1 for anything else.
[[nodiscard]] inline int guarded(const char* name, int (*run)(int argc, char** argv), int argc, char** argv) {
  try {
    occupy_standard_streams();
    return run(argc, argv);
  } catch (const UsageError& e) {
    std::fprintf(stderr, "%s: %s (--help lists the options)\n", name, one_line(e).c_str());
    return 2;
  } catch (const Error& e) {
    std::fprintf(stderr, "%s: %s\n", name, one_line(e).c_str());
  } catch (const std::filesystem::filesystem_error& e) {
    const Error shorter(e.path1().string() + ": " + e.code().message());
    std::fprintf(stderr, "%s: %s\n", name, one_line(shorter).c_str());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: %s\n", name, kOutOfMemory);
  } catch (const std::length_error&) {  // what containers say of a size beyond all memory
    std::fprintf(stderr, "%s: %s\n", name, kOutOfMemory);
  } catch (const std::exception& e) {  // nothing of ours: what the user can do about it is to tell us
    std::fprintf(stderr, "%s: internal error, please report it with the command line: %s\n", name, one_line(e).c_str());
  }
  return 1;
}

}  // namespace activation_trace::examples
