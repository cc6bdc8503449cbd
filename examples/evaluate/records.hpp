// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/multiple_choice.hpp"

// What the records of samples hold, and the numbers that are taken from them.
namespace activation_trace::examples {

using Records = std::map<Index, nlohmann::ordered_json>;

/// A number in [0, 1] of each record, whose mean over a run is reported in percent.
struct Measure {
  std::string name;
  std::function<double(const nlohmann::ordered_json& record)> of;
};

/// A field and what it must be: a file may have been changed since it was written.
struct RecordField {
  const char* name;
  bool (*holds)(const nlohmann::ordered_json& value);
  const char* expected;
};

/// The number of that name. Throws Error if a record has none.
[[nodiscard]] inline std::function<double(const nlohmann::ordered_json&)> value_of(const std::string& key) {
  return [key](const nlohmann::ordered_json& record) {
    const auto found = record.find(key);
    if (found == record.end() || !found->is_number())
      throw Error("expected a number '" + key + "', found " + (found == record.end() ? "none" : found->type_name()));
    return found->get<double>();
  };
}

/// A judge's probability of " yes"; 0 where it said neither yes nor no, which is null.
[[nodiscard]] inline std::function<double(const nlohmann::ordered_json&)> yes_of(const std::string& key) {
  return [key, value = value_of(key)](const nlohmann::ordered_json& record) {
    const auto found = record.find(key);
    return found != record.end() && found->is_null() ? 0.0 : value(record);
  };
}

/// 1 where that is at least one half (evaluation/README.md 2.3).
[[nodiscard]] inline std::function<double(const nlohmann::ordered_json&)> accepted(const std::string& key) {
  return [value = yes_of(key)](const nlohmann::ordered_json& record) { return value(record) >= 0.5 ? 1.0 : 0.0; };
}

/// The published MC2 of a multiple choice: as recorded, or from the scores where a record is older than that.
[[nodiscard]] inline double mc2_reference_of(const nlohmann::ordered_json& record) {
  if (record.contains("mc2_reference")) return value_of("mc2_reference")(record);
  std::array<std::vector<double>, 2> scores;
  for (std::size_t side = 0; side < 2; ++side)
    if (const char* key = side == 0 ? "true" : "false"; record.contains(key))
      for (const nlohmann::ordered_json& answer : record[key]) scores[side].push_back(value_of("score")(answer));
  if (scores[0].empty() || scores[1].empty()) throw Error("expected a number 'mc2_reference', found none");
  return mc2_reference(scores[0], scores[1]);
}

/// What is reported of a multiple choice.
[[nodiscard]] inline std::vector<Measure> choice_measures() {
  return {{"mc1", value_of("mc1")},
          {"mc2", value_of("mc2")},
          {"mc2_reference", mc2_reference_of},
          {"mc3", value_of("mc3")}};
}

/// Whether every record has the judgement `key`.
[[nodiscard]] inline bool is_judged(const Records& records, const char* key) {
  return !records.empty() &&
         std::all_of(records.begin(), records.end(), [&](const auto& r) { return r.second.contains(key); });
}

namespace fields {

using RecordValue = nlohmann::ordered_json;

inline bool is_text(const RecordValue& x) { return x.is_string(); }
inline bool is_number(const RecordValue& x) { return x.is_number() && std::isfinite(x.get<double>()); }
inline bool is_number_or_null(const RecordValue& x) { return x.is_null() || is_number(x); }
inline bool is_share(const RecordValue& x) { return is_number(x) && x.get<double>() >= 0 && x.get<double>() <= 1; }
inline bool is_share_or_null(const RecordValue& x) { return x.is_null() || is_share(x); }
inline bool is_id(const RecordValue& x) { return x.is_string() || x.is_number_integer(); }
inline bool is_count(const RecordValue& x) { return x.is_number_integer() && x.get<double>() >= 0; }

template <bool (*each)(const RecordValue&)>
bool is_list(const RecordValue& x) {
  return x.is_array() && std::all_of(x.begin(), x.end(), each);
}
inline bool is_answer(const RecordValue& x) {
  return x.is_object() && x.contains("text") && is_text(x["text"]) && (!x.contains("score") || is_number(x["score"]));
}

inline constexpr const char* kText = "a text";
inline constexpr const char* kId = "a text or a whole number";
inline constexpr const char* kCount = "a whole number, 0 or more";
inline constexpr const char* kShare = "a number from 0 to 1";
inline constexpr const char* kNumbers = "a list of numbers";
inline constexpr const char* kTexts = "a list of texts";
inline constexpr const char* kAnswers = "a list of answers, each with 'text' and 'score'";
inline constexpr const char* kGrid = "rows of numbers from 0 to 1";

inline RecordField text(const char* name) { return {name, is_text, kText}; }
inline RecordField id(const char* name) { return {name, is_id, kId}; }
inline RecordField texts(const char* name) { return {name, is_list<is_text>, kTexts}; }
inline RecordField count(const char* name) { return {name, is_count, kCount}; }
inline RecordField share(const char* name) { return {name, is_share, kShare}; }
inline RecordField numbers(const char* name) { return {name, is_list<is_number_or_null>, kNumbers}; }
inline RecordField answers(const char* name) { return {name, is_list<is_answer>, kAnswers}; }
inline RecordField grid(const char* name) { return {name, is_list<is_list<is_share>>, kGrid}; }

/// Of a multiple choice.
inline std::vector<RecordField> of_choice() {
  return {count("best"), answers("true"), answers("false"), share("mc1"), share("mc2"), share("mc3")};
}
/// Of a text that was generated.
inline std::vector<RecordField> of_generation() {
  return {count("prompt_tokens"), text("text"),         text("answer"), {"tokens", is_list<is_count>, kNumbers},
          numbers("log_probs"),   numbers("entropies"), text("finish")};
}
/// `fields` and then `more`.
inline std::vector<RecordField> with(std::vector<RecordField> fields, const std::vector<RecordField>& more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

}  // namespace fields

}  // namespace activation_trace::examples
