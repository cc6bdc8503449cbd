// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <stdexcept>
#include <utility>

#include "activation_trace/model/llama.hpp"
#include "model/trace.hpp"
#include "support/each_isa.hpp"

using namespace activation_trace;
using namespace activation_trace::test;

namespace {

/// Lengths of the pieces of one call, in the order of the sequences.
using Lengths = std::vector<std::size_t>;

/// A prompt for each of several sequences, a ragged call on top of them, and a single token after that.
struct Scenario {
  Lengths prompts;
  Lengths pieces;
};

const std::vector<Scenario> scenarios{
    {{0, 0}, {1, 1}},               // two sequences from nothing
    {{5, 9, 1, 30}, {1, 1, 1, 1}},  // decoding
    {{7, 2, 19, 4, 11, 3, 25, 1}, {1, 1, 1, 1, 1, 1, 1, 1}},
    {{20, 20, 20}, {3, 9, 6}},  // answers of one prompt
    {{0, 13, 0}, {21, 1, 40}},  // prompts beside a token
    {{3, 4, 5, 6, 7, 8}, {2, 1, 3, 4, 1, 5}},
    {{1, 33}, {4, 3}},
};

/// What one sequence went through: the traces of its prompt, of the call and of the token after it.
struct Outcome {
  std::vector<Trace> traces;
  std::vector<std::vector<float>> logits;  // of the call and of the token after it
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::vector<TokenId> ids_of(std::size_t sequence, const LlamaConfig& config) {
  return some_ids(64, config.vocab, static_cast<std::uint32_t>(sequence) * 31 + 5);
}

std::vector<float> copied(std::span<const float> row) { return {row.begin(), row.end()}; }

Outcome alone(const TinyLlama& tiny, const Scenario& scenario, std::size_t s, ThreadPool& pool, Index max_batch) {
  const LlamaConfig& config = tiny.config();
  Llama model(config, tiny.weights(), {.max_context = 64, .max_batch = max_batch}, pool);
  const std::vector<TokenId> ids = ids_of(s, config);
  const std::size_t prompt = scenario.prompts[s];
  const std::size_t piece = scenario.pieces[s];
  Outcome outcome;
  outcome.traces.emplace_back(config.layers);
  const LayerObserver observer = outcome.traces[0].observer();
  if (prompt > 0) model.fill(std::span(ids).first(prompt), observer);
  outcome.logits.push_back(copied(model.forward(std::span(ids).subspan(prompt, piece), observer)));
  outcome.logits.push_back(copied(model.forward(std::span(ids).subspan(prompt + piece, 1), observer)));
  return outcome;
}

std::vector<Outcome> together(const TinyLlama& tiny, const Scenario& scenario, ThreadPool& pool, Index max_batch) {
  const LlamaConfig& config = tiny.config();
  const std::size_t count = scenario.prompts.size();
  Llama model(config, tiny.weights(),
              {.max_context = 64, .max_batch = max_batch, .sequences = static_cast<Index>(count)}, pool);
  std::vector<Outcome> outcomes(count);
  std::vector<std::vector<TokenId>> ids;
  std::vector<LayerObserver> observers;
  for (std::size_t s = 0; s < count; ++s) {
    ids.push_back(ids_of(s, config));
    outcomes[s].traces.emplace_back(config.layers);
    observers.push_back(outcomes[s].traces[0].observer());
    if (scenario.prompts[s] > 0)
      model.fill(std::span(ids[s]).first(scenario.prompts[s]), observers[s], static_cast<Index>(s));
  }
  std::vector<LlamaPiece> pieces;
  const auto run = [&] {
    const MatrixView<const float> logits = model.forward(pieces);
    REQUIRE(logits.extents() == std::array<Index, 2>{static_cast<Index>(count), config.vocab});
    for (std::size_t i = 0; i < count; ++i)
      outcomes[static_cast<std::size_t>(pieces[i].sequence)].logits.push_back(
          copied(logits.row(static_cast<Index>(i)).span()));
  };
  for (std::size_t s = 0; s < count; ++s)
    pieces.push_back({.sequence = static_cast<Index>(s),
                      .ids = std::span(ids[s]).subspan(scenario.prompts[s], scenario.pieces[s]),
                      .observer = &observers[s]});
  run();
  for (LlamaPiece& piece : pieces) {
    const auto s = static_cast<std::size_t>(piece.sequence);
    CHECK(model.position(piece.sequence) == static_cast<Index>(scenario.prompts[s] + scenario.pieces[s]));
    piece.ids = std::span(ids[s]).subspan(scenario.prompts[s] + scenario.pieces[s], 1);
  }
  std::ranges::reverse(pieces);  // the order of the pieces is the caller's
  run();
  return outcomes;
}

void check_close(const Outcome& a, const Outcome& b, double tolerance) {
  for (std::size_t layer = 0; layer < b.traces[0].hidden.size(); ++layer) {
    const auto& expected = b.traces[0].hidden[layer];
    const auto& found = a.traces[0].hidden[layer];
    REQUIRE(found.size() == expected.size());
    for (std::size_t t = 0; t < expected.size(); ++t) CHECK(relative_error(found[t], expected[t]) <= tolerance);
  }
  for (std::size_t i = 0; i < 2; ++i) CHECK(relative_error(a.logits[i], b.logits[i]) <= tolerance);
}

}  // namespace

TEST_CASE("several sequences at once are what each is alone, however the batch is cut") {
  for (const DType dtype : {DType::f32, DType::q4_1}) {
    TinyLlamaOptions options;
    options.dtype = dtype;
    const TinyLlama tiny(options);
    ThreadPool pool(2);
    for (std::size_t i = 0; i < scenarios.size(); ++i) {
      for (const Index max_batch : {Index{512}, Index{7}, Index{2}, Index{1}}) {
        CAPTURE(i);
        CAPTURE(max_batch);
        const std::vector<Outcome> outcomes = together(tiny, scenarios[i], pool, max_batch);
        for (std::size_t s = 0; s < outcomes.size(); ++s) {
          CAPTURE(s);
          // Two float results, each within the tolerance of the exact one.
          check_close(outcomes[s], alone(tiny, scenarios[i], s, pool, 512), 2 * rounding_tolerance(tiny.config()));
        }
      }
    }
  }
}
