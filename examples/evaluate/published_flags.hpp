// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "evaluate/task.hpp"
#include "support/command_line.hpp"
#include "support/engine_options.hpp"

// The command lines of the published scripts run as they are, the program's name apart (evaluation/README.md 1): what
// of them has no effect here is taken, and said.
namespace activation_trace::examples {

struct PublishedFlag {
  const char* names;  ///< as CLI11 takes them
  enum class Takes { nothing, value } takes;
  bool where_generated;  ///< not only where nothing is generated: elsewhere the option is one of this program's
  const char* why;
};

namespace detail {

inline constexpr bool kEverywhere = true;
inline constexpr bool kWhereNothingIsGenerated = false;

inline constexpr PublishedFlag kPublishedFlags[] = {
    {"--dataset_name,--dataset-name", PublishedFlag::Takes::value, kEverywhere, "the subcommand says it"},
    {"--do-rating,--do_rating", PublishedFlag::Takes::nothing, kEverywhere, "every run is rated"},
    {"--gpt3-config,--gpt3_config", PublishedFlag::Takes::value, kEverywhere, "`evaluate judge` asks judges"},
    {"--top_p,--top-p", PublishedFlag::Takes::value, kEverywhere, "the best token is taken"},
    {"--top_k,--top-k", PublishedFlag::Takes::value, kEverywhere, "the best token is taken"},
    {"--temperature", PublishedFlag::Takes::value, kEverywhere, "the best token is taken"},
    {"--val_test_mode,--val-test-mode", PublishedFlag::Takes::value, kEverywhere, "all samples are run"},
    {"--return_adjust_scores,--return-adjust-scores", PublishedFlag::Takes::value, kEverywhere,
     "records have log-probabilities and entropies"},
    {"--activation,--consistent", PublishedFlag::Takes::nothing, kEverywhere, "--decoding_mode says it"},
    {"--with_dola,--with-dola", PublishedFlag::Takes::nothing, kEverywhere, "--decoding_mode says it"},
    {"--max-new-tokens,--max_new_tokens", PublishedFlag::Takes::value, kWhereNothingIsGenerated,
     "nothing is generated"},
    {"--repetition_penalty,--repetition-penalty", PublishedFlag::Takes::value, kWhereNothingIsGenerated,
     "nothing is generated"},
};

inline std::string first_name(const PublishedFlag& flag) {
  const std::string names = flag.names;
  return names.substr(0, names.find(','));
}

}  // namespace detail

inline void add_published_flags(CLI::App& app, bool generates) {
  for (const PublishedFlag& flag : detail::kPublishedFlags) {
    if (generates && !flag.where_generated) continue;
    CLI::Option* option = flag.takes == PublishedFlag::Takes::nothing ? app.add_flag(flag.names)
                                                                      : app.add_option(flag.names)->type_name("X");
    option->description(flag.why)->group("Of the published scripts, without an effect here");
  }
}

/// "--flag (why it changes nothing)" of each that was given. Throws UsageError for a --dataset_name that contradicts
/// the task.
[[nodiscard]] inline std::vector<std::string> published_flags_given(const CLI::App& app, const Task& task,
                                                                    const ModelSettings& model) {
  std::vector<std::string> given;
  for (const char* option : kPublishedGpuOptions)
    if (model.engine == EngineName::own && app.count(option) != 0)
      given.push_back(std::string(option) + " (our own engine does not divide a model)");
  if (!model.cuda_device && app.count("--device") != 0 && app.get_option("--device")->as<std::string>() != "cpu")
    given.push_back(model.engine == EngineName::own ? "--device (this program was built without CUDA)"
                                                    : "--device (-ngl says it)");
  for (const PublishedFlag& flag : detail::kPublishedFlags) {
    const std::string name = detail::first_name(flag);
    if ((!task.generates || flag.where_generated) && app.count(name) != 0)
      given.push_back(name + " (" + flag.why + ')');
  }
  if (app.count("--dataset_name") == 0 || task.dataset_name.empty()) return given;
  const auto data = app.get_option("--dataset_name")->as<std::string>();
  if (data != task.dataset_name && data != task.name)
    throw UsageError("--dataset_name " + data + ": this is evaluate " + std::string(task.name) +
                     "; for other data give another task");
  return given;
}

}  // namespace activation_trace::examples
