// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/text/json.hpp"
#include "evaluate/summary.hpp"

// What the record of a sample holds, task by task: a file may have been changed since it was written.
namespace activation_trace::examples {

/// A field and what it must be.
struct RecordField {
  const char* name;
  bool (*holds)(const nlohmann::ordered_json& value);
  const char* expected;
};

namespace detail {

using RecordValue = nlohmann::ordered_json;

inline bool is_text(const RecordValue& x) { return x.is_string(); }
inline bool is_number(const RecordValue& x) { return x.is_number() && std::isfinite(x.get<double>()); }
inline bool is_number_or_null(const RecordValue& x) { return x.is_null() || is_number(x); }
inline bool is_share(const RecordValue& x) { return is_number(x) && x.get<double>() >= 0 && x.get<double>() <= 1; }
inline bool is_share_or_null(const RecordValue& x) { return x.is_null() || is_share(x); }
inline bool is_count(const RecordValue& x) { return x.is_number_integer() && x.get<double>() >= 0; }

template <bool (*each)(const RecordValue&)>
bool is_list(const RecordValue& x) {
  return x.is_array() && std::all_of(x.begin(), x.end(), each);
}
inline bool is_answer(const RecordValue& x) {
  return x.is_object() && x.contains("text") && is_text(x["text"]) && (!x.contains("score") || is_number(x["score"]));
}

inline constexpr const char* kText = "a text";
inline constexpr const char* kCount = "a whole number, 0 or more";
inline constexpr const char* kShare = "a number from 0 to 1";
inline constexpr const char* kNumbers = "a list of numbers";
inline constexpr const char* kTexts = "a list of texts";
inline constexpr const char* kAnswers = "a list of answers, each with 'text' and 'score'";
inline constexpr const char* kGrid = "rows of numbers from 0 to 1";

inline RecordField text(const char* name) { return {name, is_text, kText}; }
inline RecordField texts(const char* name) { return {name, is_list<is_text>, kTexts}; }
inline RecordField count(const char* name) { return {name, is_count, kCount}; }
inline RecordField share(const char* name) { return {name, is_share, kShare}; }
inline RecordField numbers(const char* name) { return {name, is_list<is_number_or_null>, kNumbers}; }
inline RecordField answers(const char* name) { return {name, is_list<is_answer>, kAnswers}; }
inline RecordField grid(const char* name) { return {name, is_list<is_list<is_share>>, kGrid}; }

}  // namespace detail

/// The fields that the records of a task have at least; of a sweep's as "sweep TASK", of judgements as "judge".
[[nodiscard]] inline std::vector<RecordField> record_fields(std::string_view task) {
  using namespace detail;
  std::vector<RecordField> fields;
  const auto add = [&](std::initializer_list<RecordField> more) { fields.insert(fields.end(), more); };
  const bool sweep = task.starts_with("sweep ");
  if (sweep) task.remove_prefix(6);
  if (task == "chat") add({text("text")});
  if (sweep && is_qa(task)) add({text("question"), grid("em"), grid("strict_em"), grid("f1")});
  if (sweep && task == "truthfulqa-mc")
    add({text("question"), count("best"), answers("true"), answers("false"), grid("mc1"), grid("mc2"), grid("mc3")});
  if (sweep) return fields;
  if (is_qa(task)) add({text("question"), texts("gold"), share("em"), share("strict_em"), share("f1")});
  if (task == "truthfulqa-gen")
    add({text("question"), count("best"), texts("correct"), texts("incorrect"), share("rejected")});
  if (task == "truthfulqa-mc") add({text("question")});
  if (task == "factor") add({text("prefix"), share("accuracy_mean")});
  if (task == "known-facts") add({text("prompt"), share("em")});
  if (task == "truthfulqa-mc" || task == "factor" || task == "known-facts")
    add({count("best"), answers("true"), answers("false"), share("mc1"), share("mc2"), share("mc3")});
  if (is_qa(task) || task == "truthfulqa-gen" || task == "known-facts")
    add({count("prompt_tokens"),
         text("text"),
         text("answer"),
         {"tokens", is_list<is_count>, kNumbers},
         numbers("log_probs"),
         numbers("entropies"),
         text("finish")});
  return fields;
}

enum class Missing { refused, allowed };

/// Throws Error naming the first field of a record that is not what its task's records have there; without a field
/// only if that is refused. Judgements are checked wherever they are.
inline void check_record(std::string_view task, const nlohmann::ordered_json& record, Missing missing) {
  const auto check = [&](const RecordField& field, Missing may_miss) {
    const auto found = record.find(field.name);
    if (found == record.end() && may_miss == Missing::allowed) return;
    if (found == record.end())
      throw Error("field '" + std::string(field.name) + "' is missing, expected " + field.expected);
    if (!field.holds(*found))
      throw Error("field '" + std::string(field.name) + "': expected " + field.expected + ", found " +
                  activation_trace::detail::printable(activation_trace::detail::json_text(*found)));
  };
  for (const RecordField& field : record_fields(task)) check(field, missing);
  for (const char* judgement : {"truth", "info"})
    check({judgement, detail::is_share_or_null, "a number from 0 to 1, or null where it was neither yes nor no"},
          Missing::allowed);
}

}  // namespace activation_trace::examples
