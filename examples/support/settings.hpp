// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/formats/mapped_file.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/version.hpp"

namespace activation_trace::examples {

enum class When { never, automatic, always };

/// What the command line of `generate` says, checked as far as it can be without the model.
struct Settings {
  std::string model;
  std::string prompt;  ///< the text itself, wherever it came from
  bool chat = false;
  std::string system_prompt;
  GenerationOptions generation;
  bool ignore_eos = false;
  bool final_norm = false;  ///< the model's final norm in front of the LM head, also for the info layer
  Index context = 0;        ///< 0: as much as prompt and answer need
  Index batch = 512;
  int threads = 1;
  FileAccess access = FileAccess::map;
  std::string trace;  ///< a file name, or empty
  When color = When::never;
  bool compare = false;
  bool quiet = false;
};

/// Something in the command line makes no sense: exit code 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The settings, or an exit code if there is nothing more to do (--help, --version). Throws UsageError.
[[nodiscard]] std::variant<Settings, int> parse_command_line(int argc, char** argv);

namespace detail {

// \n, \t, \\ and the quotes as in llama.cpp's -e; anything else stays as it is.
inline std::string unescaped(const std::string& text) {
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

inline std::string read_all(const std::string& name) {
  if (name == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  // A folder can be opened, but reading it throws a text that does not name it.
  std::ifstream file(name, std::ios::binary);
  if (!file || std::filesystem::is_directory(name)) throw Error(name + ": the prompt cannot be read");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  return text;
}

// BEGIN:END, either may be missing.
inline ContextSpan parse_span(const std::string& text) {
  ContextSpan span;
  const std::size_t colon = text.find(':');
  const auto number = [&](const std::string& digits, Index otherwise) {
    if (digits.empty()) return otherwise;
    if (digits.size() > 12 || digits.find_first_not_of("0123456789") != std::string::npos)
      throw UsageError("--context-span: expected BEGIN:END, got " + text);
    return static_cast<Index>(std::stoll(digits));
  };
  if (colon == std::string::npos) throw UsageError("--context-span: expected BEGIN:END, got " + text);
  span.begin = number(text.substr(0, colon), 0);
  span.end = number(text.substr(colon + 1), std::numeric_limits<Index>::max());
  if (span.end <= span.begin) throw UsageError("--context-span: " + text + " is empty");
  return span;
}

}  // namespace detail

inline std::variant<Settings, int> parse_command_line(int argc, char** argv) {
  Settings s;
  GenerationOptions& g = s.generation;
  s.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::string prompt_file;
  std::string span;
  Index info_layer = 0;
  std::uint64_t seed = 0;
  double temperature = 0;
  bool escape = true;
  bool no_mmap = false;

  CLI::App app("Answers a prompt with a LLaMA, greedily or by activation decoding.", "generate");
  app.get_formatter()->column_width(44);
  app.set_version_flag("--version", std::to_string(ACTIVATION_TRACE_VERSION_MAJOR) + '.' +
                                        std::to_string(ACTIVATION_TRACE_VERSION_MINOR) + '.' +
                                        std::to_string(ACTIVATION_TRACE_VERSION_PATCH));
  const auto at_least = [](double low) { return CLI::Range(low, std::numeric_limits<double>::max()); };

  app.add_option("-m,--model", s.model, "a .gguf file or a Hugging Face directory")->required();
  CLI::Option* prompt = app.add_option("-p,--prompt", s.prompt, "the prompt; - reads it from standard input");
  CLI::Option* file =
      app.add_option("-f,--file", prompt_file, "a file with the prompt, taken as it is")->excludes(prompt);
  app.add_flag("-e,--escape,!--no-escape", escape, "\\n, \\t and the like in -p and --stop are escapes (default)");
  app.add_flag("--chat", s.chat, "wrap the prompt in the model's chat template");
  app.add_option("--system,--system-prompt", s.system_prompt, "the system message of --chat");

  app.add_option("-n,--predict,--n-predict,--max-new-tokens,--max_new_tokens", g.max_new_tokens,
                 "tokens to generate; -1: until the context is full")
      ->capture_default_str()
      ->check(at_least(-1));
  app.add_option("-c,--ctx-size", s.context, "positions of the context (default: what prompt and answer need)")
      ->check(at_least(1));
  app.add_option("-b,--batch-size", s.batch, "prompt positions computed at once")
      ->capture_default_str()
      ->check(at_least(1));
  app.add_option("-t,--threads", s.threads, "threads")->capture_default_str()->check(CLI::Range(1, 1024));
  app.add_flag("--no-mmap", no_mmap, "read the model instead of mapping it");
  app.add_option("-s,--seed", seed, "reserved: decoding is greedy");
  app.add_option("--temp", temperature, "reserved: only 0, decoding is greedy");

  app.add_option("--decoding_mode,--decoding-mode", g.decoding_mode, "baseline or activation (default)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, DecodingMode>{
          {"baseline", DecodingMode::baseline}, {"activation", DecodingMode::activation}}));
  app.add_option("--alpha", g.alpha, "weight of the entropy")->capture_default_str()->check(at_least(0));
  CLI::Option* layer = app.add_option("--info_layer,--info-layer", info_layer,
                                      "hidden state 0..N that is read, negative from the end (default: 80 % of N)");
  app.add_option("--relative_top,--relative-top", g.relative_top,
                 "tokens less likely than this times the best one are left out")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--min_tokens_to_keep,--min-tokens-to-keep", g.min_tokens_to_keep, "but never fewer than these")
      ->capture_default_str()
      ->check(at_least(1));
  app.add_option("--repetition_penalty,--repetition-penalty,--repeat-penalty", g.repetition_penalty, "1: none")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--context-span", span, "positions of the prompt that count, BEGIN:END; 1: leaves out BOS");
  app.add_flag("--final_norm,--final-norm", s.final_norm, "normalise the hidden states as before the LM head");
  app.add_option("--stop,--stop_words,--stop-words,-r,--reverse-prompt", g.stop,
                 "text that ends the answer; may be repeated");
  app.add_flag("--ignore-eos", s.ignore_eos, "go on after the end token");

  app.add_flag("--compare", s.compare, "answer greedily and by activation decoding, with each token's sharpness");
  app.add_option("--color", s.color,
                 "shade each token by its sharpness: auto (a terminal without NO_COLOR), always, never")
      ->expected(0, 1)
      ->default_str("auto")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, When>{{"auto", When::automatic}, {"always", When::always}, {"never", When::never}}));
  app.add_option("--trace", s.trace, "write one JSON object per token to this file");
  app.add_flag("-q,--quiet", s.quiet, "no progress and no timings");

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help and --version
    return app.exit(done);
  } catch (const CLI::ParseError& e) {
    throw UsageError(e.what());
  }
  if (temperature != 0) throw UsageError("--temp: only 0 is supported, because decoding is greedy");
  if (!std::isfinite(g.alpha)) throw UsageError("--alpha: expected a finite number");
  if (prompt->count() == 0 && file->count() == 0) throw UsageError("give a prompt with -p or -f");
  if (!s.system_prompt.empty() && !s.chat) throw UsageError("--system: needs --chat");
  if (layer->count() != 0) g.info_layer = info_layer;
  if (!span.empty()) g.context = detail::parse_span(span);
  if (g.max_new_tokens < 0) g.max_new_tokens = std::numeric_limits<Index>::max();
  if (no_mmap) s.access = FileAccess::read;
  if (file->count() != 0)
    s.prompt = detail::read_all(prompt_file);
  else if (s.prompt == "-")
    s.prompt = detail::read_all("-");
  else if (escape)
    s.prompt = detail::unescaped(s.prompt);
  if (escape)
    for (std::string& stop : g.stop) stop = detail::unescaped(stop);
  if (s.prompt.empty()) throw UsageError("the prompt is empty");
  for (const std::string& stop : g.stop)
    if (stop.empty()) throw UsageError("--stop: a stop string is empty");
  g.prefill_piece = s.batch;
  return s;
}

}  // namespace activation_trace::examples
