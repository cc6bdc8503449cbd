// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/answer_metrics.hpp"
#include "activation_trace/evaluation/data_sets.hpp"
#include "evaluate/model_run.hpp"
#include "evaluate/task.hpp"

namespace activation_trace::examples {
namespace {

/// A fact against the attribute of the next fact of its relation that has another one. A fact without one (the
/// published file has one such) is no sample.
struct FactAndOther {
  KnownFact fact;
  std::string other;  ///< the false attribute
};

std::vector<FactAndOther> read_facts_and_others(const std::filesystem::path& file) {
  const std::vector<KnownFact> facts = read_known_facts(file);
  std::vector<FactAndOther> samples;
  for (std::size_t i = 0; i < facts.size(); ++i)
    if (std::optional<std::string> other = false_attribute(facts, static_cast<Index>(i)))
      samples.push_back({facts[i], *std::move(other)});
  if (samples.empty()) throw Error(file.string() + ": no fact has another of its relation with another attribute");
  return samples;
}

class KnownFacts : public SampleRun<FactAndOther> {
 public:
  using SampleRun::SampleRun;

  [[nodiscard]] Index positions(Index sample) const override {
    const auto& [fact, other] = at(sample);
    return std::max(generated_positions(fact.prompt), scored_positions(fact.prompt, {fact.attribute}, {other}));
  }
  [[nodiscard]] Json data_of(Index sample) const override {
    const KnownFact& fact = at(sample).fact;
    return {{"prompt", fact.prompt}, {"subject", fact.subject}, {"relation", fact.relation}};
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    std::map<Index, Answer> answers;  // all before the first is scored, which takes the same sequences of the model
    generate(
        samples, [&](Index sample) { return at(sample).fact.prompt; },
        [&](Index sample, const Answer& answer) { answers.emplace(sample, answer); }, stop);
    for (const auto& [sample, answer] : answers) {
      const auto& [fact, other] = at(sample);
      const std::optional<Json> choice = choose(fact.prompt, {fact.attribute}, {other}, 0, stop);
      if (!choice) return;
      const std::string cut = knowledge_qa_answer(answer.result.text);
      Json record = data_of(sample);
      record.update(*choice);
      record.update({{"prompt_tokens", answer.prompt_tokens},
                     {"text", answer.result.text},
                     {"answer", cut},
                     {"em", compare_answer(cut, Texts{fact.attribute}).exact_match ? 1.0 : 0.0}});
      answer.add_to(record);
      emit(sample, std::move(record));
    }
  }
};

}  // namespace

namespace tasks {

extern constinit const Task known_facts{
    .name = "known-facts",
    .summary = "known facts: scores a fact against another of its relation, and generates",
    .data = {.file = "known_1000.json", .where = "https://rome.baulab.info/data/dsets/known_1000.json"},
    .generates = true,
    .scores = true,
    .max_new_tokens = 20,
    .read = read_as<KnownFacts, read_facts_and_others>,
    .fields =
        [] {
          using namespace fields;
          return with({text("prompt"), share("em")}, with(of_choice(), of_generation()));
        },
    .measures =
        [](const Records&) {
          std::vector<Measure> measures = choice_measures();
          measures.push_back({"em", value_of("em")});
          return measures;
        }};

}  // namespace tasks
}  // namespace activation_trace::examples
