// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/compare.hpp"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "activation_trace/evaluation/resampling.hpp"
#include "evaluate/finished_run.hpp"
#include "evaluate/summary.hpp"
#include "support/command_line.hpp"
#include "support/terminal.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

void require_same(const FinishedRun& a, const FinishedRun& b) {
  const auto differ = [&](const std::string& what, const std::string& of_a, const std::string& of_b) {
    throw ArgumentError(a.path.string() + " and " + b.path.string() + " cannot be compared: " + what + " " + of_a +
                        " and " + of_b);
  };
  if (a.task() != b.task()) differ("they are of the tasks", a.task(), b.task());
  const auto data = [](const FinishedRun& run, const char* key) {
    const Json& value = run.manifest["data"];
    return value.is_object() && value.contains(key) ? activation_trace::detail::json_text(value[key])
                                                    : std::string("nothing");
  };
  if (data(a, "sha256") != data(b, "sha256"))
    differ("their data differ,", data(a, "path") + " (SHA-256 " + data(a, "sha256") + ")",
           data(b, "path") + " (SHA-256 " + data(b, "sha256") + ")");
  if (a.records.size() != b.records.size())
    differ("they have", std::to_string(a.records.size()), std::to_string(b.records.size()) + " samples");
  for (auto i = a.records.begin(), k = b.records.begin(); i != a.records.end(); ++i, ++k)
    if (i->first != k->first)
      differ("they hold different samples,", std::to_string(i->first), std::to_string(k->first));
  if (a.records.empty()) throw ArgumentError(a.path.string() + ": there are no samples to compare");
}

/// {"task", "samples", "runs", "metrics": {name: {"a", "b", "difference", "p"}}, "flips"}
Json compare(const FinishedRun& a, const FinishedRun& b) {
  require_same(a, b);
  const ResamplingOptions options;
  Json result{{"task", a.task()},
              {"samples", a.records.size()},
              {"confidence", options.confidence},
              {"runs", {{"a", a.path.string()}, {"b", b.path.string()}}},
              {"metrics", Json::object()},
              {"flipped_by", nullptr},
              {"flips", Json::array()}};
  const std::vector<Measure> of_b = measures(b.task(), b.records);
  for (const Measure& measure : measures(a.task(), a.records)) {
    const bool both = std::any_of(of_b.begin(), of_b.end(), [&](const Measure& m) { return m.name == measure.name; });
    if (!both) continue;  // only one of them was judged
    const std::vector<double> x = values(measure, a.records);
    const std::vector<double> y = values(measure, b.records);
    std::vector<double> difference(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) difference[i] = y[i] - x[i];
    result["metrics"][measure.name] = {{"a", percentage(x, options)},
                                       {"b", percentage(y, options)},
                                       {"difference", percentage(difference, options)},
                                       {"p", paired_permutation_test(x, y, options)}};
    if (!result["flipped_by"].is_null()) continue;
    result["flipped_by"] = measure.name;
    std::size_t i = 0;
    for (const auto& [sample, record] : a.records) {
      const Json& other = b.records.at(sample);
      if (x[i] != y[i])
        result["flips"].push_back({{"sample", sample},
                                   {"question", question_of(record)},
                                   {"a", {{"answer", answer_of(record)}, {measure.name, x[i]}}},
                                   {"b", {{"answer", answer_of(other)}, {measure.name, y[i]}}}});
      ++i;
    }
  }
  return result;
}

void print(const Json& comparison) {
  const auto cell = [](const Json& x) {
    char text[80];
    std::snprintf(text, sizeof text, "%6.2f [%.2f, %.2f]", x["value"].get<double>(), x["low"].get<double>(),
                  x["high"].get<double>());
    return std::string(text);
  };
  std::printf("a: %s\nb: %s\n\n", comparison["runs"]["a"].get<std::string>().c_str(),
              comparison["runs"]["b"].get<std::string>().c_str());
  std::printf(
      "%-24s %-24s %-24s %-24s %s\n",
      (comparison["task"].get<std::string>() + ", " + std::to_string(comparison["samples"].get<Index>())).c_str(),
      "a, %", "b, %", "b - a", "p");
  for (const auto& [name, m] : comparison["metrics"].items())
    std::printf("%-24s %-24s %-24s %-24s %.4f\n", name.c_str(), cell(m["a"]).c_str(), cell(m["b"]).c_str(),
                cell(m["difference"]).c_str(), m["p"].get<double>());
  if (comparison["flipped_by"].is_null()) return;
  const auto by = comparison["flipped_by"].get<std::string>();
  Index gained = 0;
  for (const Json& flip : comparison["flips"]) gained += flip["b"][by].get<double>() > flip["a"][by].get<double>();
  const auto flips = static_cast<Index>(comparison["flips"].size());
  std::printf("\n%s: %td questions flipped, b gains %td and loses %td\n", by.c_str(), flips, gained, flips - gained);
  const auto one_line = [](const Json& text) {
    std::string line = printable_cell(text.get<std::string>(), 100);
    line.resize(line.find_last_not_of(' ') + 1);
    return line;
  };
  for (const Json& flip : comparison["flips"])
    std::printf("%c %5td  %s\n         a: %s\n         b: %s\n",
                flip["b"][by].get<double>() > flip["a"][by].get<double>() ? '+' : '-', flip["sample"].get<Index>(),
                one_line(flip["question"]).c_str(), one_line(flip["a"]["answer"]).c_str(),
                one_line(flip["b"]["answer"]).c_str());
}

struct CompareSettings {
  std::string a;
  std::string b;
  bool json = false;
};

}  // namespace

void add_compare_command(CLI::App& app, Command& command) {
  const auto settings = std::make_shared<CompareSettings>();
  CLI::App* sub = app.add_subcommand("compare", "two runs over the same questions, and the questions that flipped");
  sub->add_option("A", settings->a, "--output-path of a finished run")->required();
  sub->add_option("B", settings->b, "that of another")->required();
  sub->add_flag("--json", settings->json, "as JSON");
  sub->callback([settings, &command] {
    command = [settings] {
      const Json comparison = compare(read_run(settings->a), read_run(settings->b));
      if (settings->json)
        std::printf("%s\n", shown(activation_trace::detail::json_text(comparison, 2)).c_str());
      else
        print(comparison);
      flush_output();
      return 0;
    };
  });
}

}  // namespace activation_trace::examples
