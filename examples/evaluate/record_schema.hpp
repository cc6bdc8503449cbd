// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/text/json.hpp"
#include "evaluate/records.hpp"
#include "evaluate/task.hpp"

// What the record of a sample holds, task by task.
namespace activation_trace::examples {

/// The fields that the records of a task have at least; of a sweep's as "sweep TASK". Of what is no task none.
[[nodiscard]] inline std::vector<RecordField> record_fields(std::string_view task) {
  if (task == "chat") return {fields::id("question_id"), fields::text("text")};
  const bool sweep = task.starts_with(kSweep);
  const Task* found = find_task(sweep ? task.substr(kSweep.size()) : task);
  const auto wanted = found == nullptr ? nullptr : sweep ? found->sweep_fields : found->fields;
  return wanted == nullptr ? std::vector<RecordField>() : wanted();
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
    check({judgement, fields::is_share_or_null, "a number from 0 to 1, or null where it was neither yes nor no"},
          Missing::allowed);
}

}  // namespace activation_trace::examples
