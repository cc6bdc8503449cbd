// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/data_sets.hpp"
#include "evaluate/model_run.hpp"
#include "evaluate/task.hpp"

namespace activation_trace::examples {
namespace {

/// The text without white space in front: a continuation gets one space.
std::string trimmed(const std::string& text) {
  return text.substr(std::min(text.find_first_not_of(" \t\n\r"), text.size()));
}

std::vector<FactorItem> read_trimmed(const std::filesystem::path& file) {
  std::vector<FactorItem> items = read_factor(file);
  for (FactorItem& item : items) {
    item.completion = trimmed(item.completion);
    for (std::string& text : item.contradictions) text = trimmed(text);
  }
  return items;
}

class Factor : public SampleRun<FactorItem> {
 public:
  using SampleRun::SampleRun;

  [[nodiscard]] Index positions(Index sample) const override {
    const FactorItem& item = at(sample);
    return scored_positions(item.prefix, {item.completion}, item.contradictions);
  }
  [[nodiscard]] Json data_of(Index sample) const override { return {{"prefix", at(sample).prefix}}; }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    for (const Index sample : samples) {
      const FactorItem& item = at(sample);
      const std::optional<Json> choice = choose(item.prefix, {item.completion}, item.contradictions, 0, stop);
      if (!choice) return;
      Json record = data_of(sample);
      record.update(*choice);
      const auto mean = [](const Json& answer) {
        return answer["score"].get<double>() / static_cast<double>(answer["log_probs"].size());
      };
      const auto& others = record["false"];
      record["accuracy_mean"] = std::all_of(others.begin(), others.end(),
                                            [&](const Json& other) { return mean(record["true"][0]) > mean(other); })
                                    ? 1.0
                                    : 0.0;
      emit(sample, std::move(record));
    }
  }
};

}  // namespace

namespace tasks {

extern constinit const Task factor{
    .name = "factor",
    .summary = "FACTOR: scores a true and three false completions of a text",
    .data = {.file = "wiki_factor.csv", .where = "https://github.com/AI21Labs/factor (folder data)"},
    .scores = true,
    .read = read_as<Factor, read_trimmed>,
    .fields =
        [] {
          return fields::with({fields::text("prefix"), fields::share("accuracy_mean")}, fields::of_choice());
        },
    .measures = [](const Records&) -> std::vector<Measure> {
      return {{"accuracy", value_of("mc1")}, {"accuracy_mean", value_of("accuracy_mean")}};
    }};

}  // namespace tasks
}  // namespace activation_trace::examples
