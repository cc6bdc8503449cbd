// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/evaluation/data_sets.hpp"

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fuzz/inputs.hpp"

using namespace activation_trace;

namespace {

template <class Read>
void read(const Read& reader, const std::filesystem::path& path) {
  try {
    if (reader(path).empty()) std::abort();
  } catch (const FormatError&) {
  }
}

// What was read is the same when it is read from the plain form, JSON lines of question and answers.
void read_plainly(const std::filesystem::path& path) {
  std::vector<QaQuestion> questions;
  try {
    questions = read_nq_open(path);
  } catch (const FormatError&) {
    return;
  }
  std::string lines;
  for (const QaQuestion& q : questions)
    lines += nlohmann::json{{"question", q.question}, {"answers", q.gold}}.dump() + '\n';
  const std::vector<QaQuestion> again = read_nq_open(test::input_file("plain", lines));
  if (again.size() != questions.size()) std::abort();
  for (std::size_t i = 0; i < again.size(); ++i)
    if (again[i].question != questions[i].question || again[i].gold != questions[i].gold) std::abort();
}

}  // namespace

// Any bytes are each of the data sets, with samples, or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::filesystem::path path = test::input_file("data", test::text_of_input(data, size));
  read_plainly(path);
  read(read_triviaqa, path);
  read(read_nq_open, path);
  read(read_hotpotqa, path);
  read(read_truthfulqa, path);
  read(read_factor, path);
  read(
      [](const std::filesystem::path& file) {
        std::vector<KnownFact> facts = read_known_facts(file);
        for (Index i = 0; i < static_cast<Index>(facts.size()); ++i)
          if (false_attribute(facts, i) == facts[static_cast<std::size_t>(i)].attribute) std::abort();
        return facts;
      },
      path);
  return 0;
}
