// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/data_sets/data_file.hpp"
#include "activation_trace/evaluation/data_sets/record.hpp"

namespace activation_trace {
inline namespace v0 {

/// A statement that a model knows: `prompt`, then `attribute`.
struct KnownFact {
  std::string prompt;     ///< the statement up to the attribute
  std::string subject;    ///< what the statement is about; may be empty
  std::string attribute;  ///< what completes it
  std::string relation;   ///< the id of the kind of fact, "P103"; empty: the file names none
};

/// The known facts of CounterFact's authors: records {prompt, subject, attribute, relation_id}.
[[nodiscard]] std::vector<KnownFact> read_known_facts(const std::filesystem::path& path);

/// A false answer to fact `i`: the attribute of the next fact of its relation, in a circle, that has another one; none
/// if all have the same. Throws ArgumentError if there is no fact `i`.
[[nodiscard]] std::optional<std::string> false_attribute(std::span<const KnownFact> facts, Index i);

inline std::vector<KnownFact> read_known_facts(const std::filesystem::path& path) {
  std::vector<KnownFact> facts;
  detail::DataFile(path).for_each_record([&](const detail::DataRecord& record) {
    facts.push_back({record.filled_text("prompt"), record.text("subject"), record.filled_text("attribute"),
                     record.has("relation_id") ? record.text("relation_id") : std::string()});
  });
  return facts;
}

inline std::optional<std::string> false_attribute(std::span<const KnownFact> facts, Index i) {
  const auto count = static_cast<Index>(facts.size());
  if (i < 0 || i >= count)
    throw ArgumentError("known facts: there are " + std::to_string(count) + ", no number " + std::to_string(i));
  const KnownFact& fact = facts[static_cast<std::size_t>(i)];
  for (Index step = 1; step < count; ++step) {
    const KnownFact& other = facts[static_cast<std::size_t>((i + step) % count)];
    if (other.relation == fact.relation && other.attribute != fact.attribute) return other.attribute;
  }
  return std::nullopt;
}

}  // namespace v0
}  // namespace activation_trace
