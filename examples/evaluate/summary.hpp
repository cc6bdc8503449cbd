// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/detection.hpp"
#include "activation_trace/evaluation/resampling.hpp"
#include "evaluate/records.hpp"
#include "evaluate/task.hpp"

// What a run's records say, in numbers.
namespace activation_trace::examples {

/// Of a list of numbers; none if it is no such list or the sum is not finite.
[[nodiscard]] inline std::optional<double> sum_of(const nlohmann::ordered_json& record, const char* key) {
  const auto found = record.find(key);
  if (found == record.end() || !found->is_array()) return std::nullopt;
  double total = 0;
  for (const nlohmann::ordered_json& x : *found) {
    if (!x.is_number()) return std::nullopt;
    total += x.get<double>();
  }
  return std::isfinite(total) ? std::optional(total) : std::nullopt;
}

/// What is reported of a task's records, the headline first. Throws ArgumentError for a task that is not known.
[[nodiscard]] inline std::vector<Measure> measures(std::string_view task, const Records& records) {
  return known_task(task).measures(records);
}

/// Of every record, in their order. Throws Error naming a record without it.
[[nodiscard]] inline std::vector<double> values(const Measure& measure, const Records& records) {
  std::vector<double> result;
  for (const auto& [sample, record] : records) try {
      result.push_back(measure.of(record));
    } catch (const Error& e) {
      throw Error("sample " + std::to_string(sample) + ": " + e.what());
    }
  return result;
}

/// {"value", "low", "high"} in percent.
[[nodiscard]] inline nlohmann::ordered_json percentage(std::span<const double> values,
                                                       const ResamplingOptions& options) {
  double sum = 0;
  for (const double x : values) sum += x;
  const Interval interval = bootstrap_mean_interval(values, options);
  return {{"value", 100 * sum / static_cast<double>(values.size())},
          {"low", 100 * interval.low},
          {"high", 100 * interval.high}};
}

/// How well `signal`, higher meaning more trusted, tells right answers from wrong: DetectionMetrics' numbers, each with
/// its interval, by the names of the published plots, in which "aurc" is an area under precision and recall;
/// "risk_coverage" is what others call that. Null where there is nothing to tell apart.
[[nodiscard]] inline nlohmann::ordered_json detection(const std::vector<double>& signal, const std::vector<char>& right,
                                                      const ResamplingOptions& options) {
  const auto rights = std::count(right.begin(), right.end(), 1);
  if (rights == 0 || rights == std::ssize(right)) return nullptr;
  constexpr std::pair<const char*, double DetectionMetrics::*> parts[] = {
      {"auroc", &DetectionMetrics::auroc},
      {"auprc", &DetectionMetrics::average_precision},
      {"aurc", &DetectionMetrics::pr_area},
      {"risk_coverage", &DetectionMetrics::risk_coverage}};
  const DetectionMetrics whole = detection_metrics(signal, right);
  // The resamples are the same for every part: each is rated once.
  std::vector<DetectionMetrics> resamples;
  std::vector<double> values(signal.size());
  std::vector<char> labels(signal.size());
  const auto rate = [&](std::span<const std::size_t> indices) -> DetectionMetrics {
    for (std::size_t i = 0; i < indices.size(); ++i) {
      values[i] = signal[indices[i]];
      labels[i] = right[indices[i]];
    }
    if (std::equal(labels.begin() + 1, labels.end(), labels.begin())) {
      constexpr double none = std::numeric_limits<double>::quiet_NaN();
      return {none, none, none, none};
    }
    return detection_metrics(values, labels);
  };
  nlohmann::ordered_json result;
  for (const auto& [name, member] : parts) {
    const auto part = member;  // clang 14 captures no structured binding
    std::size_t next = 0;
    const Interval interval = bootstrap_interval(
        std::ssize(signal),
        [&, part = part](std::span<const std::size_t> indices) {  // clang 14 captures no structured binding
          if (next == resamples.size()) resamples.push_back(rate(indices));
          return resamples[next++].*part;
        },
        options);
    result[name] = {{"value", whole.*part}, {"low", interval.low}, {"high", interval.high}};
  }
  return result;
}

/// By the sums of a generated answer's entropies (negated: sharper is more trusted), its log-probabilities, and the
/// scores that its tokens were chosen by: the published entropy, origin_log_prob and final_log_prob
/// (evaluation/README.md 2.4). A sum that some record lacks is left out.
[[nodiscard]] inline nlohmann::ordered_json detections(const Records& records, const std::vector<char>& right,
                                                       const ResamplingOptions& options) {
  nlohmann::ordered_json result = nlohmann::ordered_json::object();
  const auto add = [&](const char* name, const char* key, double sign) {
    std::vector<double> signal;
    for (const auto& [sample, record] : records)
      if (const std::optional<double> sum = sum_of(record, key)) signal.push_back(sign * *sum);
    if (signal.size() == records.size()) result[name] = detection(signal, right, options);
  };
  add("entropy", "entropies", -1);
  add("log_prob", "log_probs", 1);
  add("final_score", "scores", 1);
  return result;
}

/// How often DoLa chose each layer, {"2": n, ...}, for the tokens of all records; null if it chose none.
[[nodiscard]] inline nlohmann::ordered_json layer_histogram(const nlohmann::ordered_json& manifest,
                                                            const Records& records) {
  std::map<Index, Index> counts;
  const auto add = [&](const nlohmann::ordered_json& of) {
    if (!of.is_object() || !of.contains("layers") || !of["layers"].is_array()) return;
    for (const nlohmann::ordered_json& layer : of["layers"])
      if (layer.is_number_integer()) ++counts[layer.get<Index>()];
  };
  for (const auto& [sample, record] : records) {
    add(record);
    for (const char* side : {"true", "false"})
      if (record.contains(side))
        for (const nlohmann::ordered_json& answer : record[side]) add(answer);
  }
  if (counts.empty()) return nullptr;
  // Candidates that were never chosen, as far as the manifest numbers them so.
  if (manifest.contains("options") && manifest["options"].is_object() &&
      manifest["options"].contains("candidate_layers"))
    for (const nlohmann::ordered_json& layer : manifest["options"]["candidate_layers"])
      if (layer.is_number_integer() && layer >= 0) counts.try_emplace(layer.get<Index>(), 0);
  nlohmann::ordered_json result;
  for (const auto& [layer, count] : counts) result[std::to_string(layer)] = count;
  return result;
}

/// The numbers of a run and their bootstrap intervals over its samples:
/// {"task", "samples", "confidence", "metrics": {name: {"value", "low", "high"}}}, percentages; of generated answers
/// also "detection": {"entropy" and "log_prob": {"auroc", ...}}, shares of 1, with right answers those with em, or
/// those that the judge finds true, for which "detection_nonzero" has the published code's rule, any probability but 0.
/// Of the DoLa modes also "layers", as layer_histogram().
/// Where a judge said neither yes nor no, which counts as no, "unjudged" has the number of answers by aspect.
/// Throws ArgumentError for a manifest without a known task or no records, Error for a record without a number.
[[nodiscard]] inline nlohmann::ordered_json summarize(const nlohmann::ordered_json& manifest, const Records& records,
                                                      const ResamplingOptions& options = {}) {
  if (!manifest.is_object() || !manifest.contains("task") || !manifest["task"].is_string())
    throw ArgumentError("manifest: it names no 'task'");
  const auto task = manifest["task"].get<std::string>();
  if (records.empty()) throw ArgumentError(task + ": there are no samples to summarise");
  nlohmann::ordered_json result{{"task", task}, {"samples", records.size()}, {"confidence", options.confidence}};
  const std::vector<Measure> reported = measures(task, records);
  for (const Measure& measure : reported)
    result["metrics"][measure.name] = percentage(values(measure, records), options);
  const nlohmann::ordered_json layers = layer_histogram(manifest, records);
  if (!layers.is_null()) result["layers"] = layers;
  for (const char* key : {"truth", "info"})
    if (const auto count = std::count_if(records.begin(), records.end(), [&](const auto& r) {
          const auto found = r.second.find(key);
          return found != r.second.end() && found->is_null();
        }))
      result["unjudged"][key] = count;
  const auto detect = [&](const char* name, const std::function<double(const nlohmann::ordered_json&)>& rate) {
    std::vector<char> right;
    for (const double x : values({name, rate}, records)) right.push_back(x != 0 ? 1 : 0);
    result[name] = detections(records, right, options);
  };
  if (reported.front().name == "em") detect("detection", reported.front().of);
  if (reported.front().name == "truth") {
    detect("detection", reported.front().of);
    detect("detection_nonzero", yes_of("truth"));
  }
  return result;
}

/// summarize()'s numbers as a table.
inline void print_summary(std::FILE* file, const nlohmann::ordered_json& summary) {
  const auto row = [&](const std::string& name, const nlohmann::ordered_json& x, int digits) {
    std::fprintf(file, "%-30s %9.*f   [%.*f, %.*f]\n", name.c_str(), digits, x["value"].get<double>(), digits,
                 x["low"].get<double>(), digits, x["high"].get<double>());
  };
  std::fprintf(file, "%-30s %9s   %g %% interval\n",
               (summary["task"].get<std::string>() + ", " + std::to_string(summary["samples"].get<Index>()) +
                (summary["samples"] == 1 ? " sample" : " samples"))
                   .c_str(),
               "%", 100 * summary["confidence"].get<double>());
  for (const auto& [name, x] : summary["metrics"].items()) row(name, x, 2);
  if (summary.contains("layers")) {
    Index tokens = 0;
    for (const nlohmann::ordered_json& count : summary["layers"]) tokens += count.get<Index>();
    for (const auto& [layer, count] : summary["layers"].items())
      std::fprintf(file, "%-30s %9td   %.2f %% of %td tokens\n", ("premature layer " + layer).c_str(),
                   count.get<Index>(), 100 * static_cast<double>(count.get<Index>()) / static_cast<double>(tokens),
                   tokens);
  }
  if (summary.contains("unjudged"))
    for (const auto& [name, x] : summary["unjudged"].items())
      std::fprintf(file, "%-30s %9td   neither yes nor no, counted as no\n", ("unjudged by " + name).c_str(),
                   x.get<Index>());
  for (const char* labels : {"detection", "detection_nonzero"}) {
    if (!summary.contains(labels)) continue;
    const std::string rule = std::string_view(labels) == "detection" ? "" : " (p > 0)";
    for (const auto& [signal, parts] : summary[labels].items()) {
      const std::string of = " by " + signal + rule;
      if (parts.is_null())
        std::fprintf(file, "%-30s %9s   all answers are alike\n", ("auroc" + of).c_str(), "-");
      else
        for (const auto& [name, x] : parts.items()) row(name + of, x, 3);
    }
  }
}

}  // namespace activation_trace::examples
