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

Outcome alone(const TinyLlama& tiny, const Scenario& scenario, std::size_t s, Execution<Host>& execution,
              Index max_batch) {
  const LlamaConfig& config = tiny.config();
  Llama model(config, tiny.weights(), {.max_context = 64, .max_batch = max_batch}, execution);
  const std::vector<TokenId> ids = ids_of(s, config);
  const std::size_t prompt = scenario.prompts[s];
  const std::size_t piece = scenario.pieces[s];
  Outcome outcome;
  outcome.traces.emplace_back(config.layers);
  const LayerObserver<> observer = outcome.traces[0].observer();
  if (prompt > 0) model.fill(std::span(ids).first(prompt), observer);
  outcome.logits.push_back(copied(model.forward(std::span(ids).subspan(prompt, piece), observer)));
  outcome.logits.push_back(copied(model.forward(std::span(ids).subspan(prompt + piece, 1), observer)));
  return outcome;
}

std::vector<Outcome> together(const TinyLlama& tiny, const Scenario& scenario, Execution<Host>& execution,
                              Index max_batch) {
  const LlamaConfig& config = tiny.config();
  const std::size_t count = scenario.prompts.size();
  Llama model(config, tiny.weights(),
              {.max_context = 64, .max_batch = max_batch, .sequences = static_cast<Index>(count)}, execution);
  std::vector<Outcome> outcomes(count);
  std::vector<std::vector<TokenId>> ids;
  std::vector<LayerObserver<>> observers;
  for (std::size_t s = 0; s < count; ++s) {
    ids.push_back(ids_of(s, config));
    outcomes[s].traces.emplace_back(config.layers);
    observers.push_back(outcomes[s].traces[0].observer());
    if (scenario.prompts[s] > 0)
      model.fill(std::span(ids[s]).first(scenario.prompts[s]), observers[s], static_cast<Index>(s));
  }
  std::vector<SequencePiece<>> pieces;
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
  for (SequencePiece<>& piece : pieces) {
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

TEST_CASE("several sequences at once are what each is alone, bit for bit, on any number of threads") {
  for (const DType dtype : {DType::f32, DType::bf16, DType::q8_0, DType::q4_1, DType::q6_k}) {
    TinyLlamaOptions options;
    options.dtype = dtype;
    const TinyLlama tiny(options);
    test::each_isa([&](Isa isa) {
      Execution<Host> single(1, isa);
      Execution<Host> two(2, isa);
      Execution<Host> five(5, isa);
      for (std::size_t i = 0; i < scenarios.size(); ++i) {
        CAPTURE(i);
        std::vector<Outcome> expected;
        for (std::size_t s = 0; s < scenarios[i].prompts.size(); ++s)
          expected.push_back(alone(tiny, scenarios[i], s, single, 512));
        CHECK(together(tiny, scenarios[i], single, 512) == expected);
        CHECK(together(tiny, scenarios[i], two, 512) == expected);
        CHECK(together(tiny, scenarios[i], five, 512) == expected);
      }
    });
  }
}

TEST_CASE("a call that is longer than a batch differs by rounding only") {
  const TinyLlama tiny;
  Execution<Host> execution(2);
  for (std::size_t i = 0; i < scenarios.size(); ++i) {
    for (const Index max_batch : {Index{1}, Index{2}, Index{7}, Index{16}}) {
      CAPTURE(i);
      CAPTURE(max_batch);
      const std::vector<Outcome> outcomes = together(tiny, scenarios[i], execution, max_batch);
      for (std::size_t s = 0; s < outcomes.size();
           ++s)  // two float results, each within the tolerance of the exact one
        check_close(outcomes[s], alone(tiny, scenarios[i], s, execution, 512), 2 * rounding_tolerance(tiny.config()));
    }
  }
}

TEST_CASE("early exits of several sequences are those of each alone") {
  const TinyLlama tiny;
  const Index vocab = tiny.config().vocab;
  Execution<Host> execution(2);
  const std::vector<std::size_t> lengths{1, 12, 5, 1};
  Llama model(tiny.config(), tiny.weights(), {.max_context = 20, .sequences = 4}, execution);
  for (const std::vector<Index>& layers : {std::vector<Index>{0, 1, -1}, {1}, {-1, 1}, {0, 1}, {}}) {
    const auto exits = static_cast<Index>(layers.size());
    std::vector<std::vector<TokenId>> ids;
    std::vector<SequencePiece<>> pieces;
    for (std::size_t s = 0; s < lengths.size(); ++s)
      ids.push_back(some_ids(static_cast<Index>(lengths[s]), vocab, static_cast<std::uint32_t>(s) + 9));
    for (const std::size_t s : {2u, 0u, 3u, 1u}) pieces.push_back({static_cast<Index>(s), ids[s], nullptr});
    std::vector<float> memory(static_cast<std::size_t>(4 * exits * vocab) + 1);
    const TensorView<float, 3> logits(memory.data(), {4, exits, vocab});
    for (Index s = 0; s < 4; ++s) model.rewind(0, s);
    model.early_exit(pieces, layers, logits);
    Llama one(tiny.config(), tiny.weights(), {.max_context = 20}, execution);
    std::vector<float> row_memory(static_cast<std::size_t>(exits * vocab) + 1);
    const MatrixView<float> rows(row_memory.data(), {exits, vocab});
    for (Index p = 0; p < 4; ++p) {
      one.rewind(0);
      one.early_exit(pieces[static_cast<std::size_t>(p)].ids, layers, rows);
      for (Index i = 0; i < exits; ++i) {
        CHECK(std::ranges::equal(logits.row(p).row(i).span(), rows.row(i).span()));
        if (layers[static_cast<std::size_t>(i)] != -1) continue;
        one.rewind(0);  // the top exit is what forward returns
        CHECK(std::ranges::equal(one.forward(pieces[static_cast<std::size_t>(p)].ids), rows.row(i).span()));
      }
      CHECK(model.position(pieces[static_cast<std::size_t>(p)].sequence) == one.position());
    }
  }
}

TEST_CASE("a copied sequence continues like its origin, and neither disturbs the other") {
  const TinyLlama tiny;
  const std::vector<TokenId> ids = some_ids(30, tiny.config().vocab);
  const std::vector<TokenId> other = some_ids(30, tiny.config().vocab, 99);
  Execution<Host> execution(2);
  const auto run = [&](Llama<>& model, std::size_t begin, std::size_t end, const std::vector<TokenId>& from, Index s) {
    return copied(model.forward(std::span(from).subspan(begin, end - begin), {}, s));
  };
  Llama fresh(tiny.config(), tiny.weights(), {.max_context = 40}, execution);
  run(fresh, 0, 12, ids, 0);
  const std::vector<float> expected = run(fresh, 12, 20, ids, 0);
  fresh.rewind(12);
  const std::vector<float> expected_other = run(fresh, 12, 20, other, 0);

  Llama model(tiny.config(), tiny.weights(), {.max_context = 40, .sequences = 3}, execution);
  run(model, 0, 25, other, 2);  // what the copy replaces
  run(model, 0, 12, ids, 0);
  model.copy_sequence(0, 2);
  CHECK(model.position(2) == 12);
  CHECK(run(model, 12, 20, other, 2) == expected_other);
  CHECK(run(model, 12, 20, ids, 0) == expected);
  // With a common prefix, only the rest is copied; back to a sequence that is shorter, and onto itself.
  model.copy_sequence(0, 2, 12);
  CHECK(model.position(2) == 20);
  model.rewind(12, 2);
  CHECK(run(model, 12, 20, ids, 2) == expected);
  model.copy_sequence(1, 2);  // empty
  CHECK(model.position(2) == 0);
  model.copy_sequence(0, 1, 0);
  model.copy_sequence(1, 1, 20);
  CHECK(model.position(1) == 20);
  model.rewind(12, 1);
  CHECK(run(model, 12, 20, other, 1) == expected_other);
  CHECK_THROWS_WITH_AS(model.copy_sequence(0, 2, 1),
                       "Llama: copy_sequence from position 1, but the sequences hold 20 and 0", ArgumentError);
  CHECK_THROWS_AS(model.copy_sequence(2, 0, 1), ArgumentError);
  CHECK_THROWS_AS(model.copy_sequence(0, 1, -1), ArgumentError);
  CHECK_THROWS_WITH_AS(model.copy_sequence(0, 3), "Llama: sequence 3 does not exist, there are 3", ArgumentError);
}

TEST_CASE("an exception appends no token to any sequence") {
  const TinyLlama tiny;
  const std::vector<TokenId> ids = some_ids(20, tiny.config().vocab);
  Execution<Host> execution(2);
  Llama model(tiny.config(), tiny.weights(), {.max_context = 24, .max_batch = 8, .sequences = 3}, execution);
  for (Index s = 0; s < 3; ++s) model.fill(std::span(ids).first(static_cast<std::size_t>(2 + s)), {}, s);
  LayerObserver<> throwing;
  throwing.layers = {1};
  throwing.on_states = [](Index, Index first, MatrixView<const float>) {
    if (first > 4) throw std::runtime_error("enough");  // in the second batch
  };
  const std::vector<SequencePiece<>> pieces{{0, std::span(ids).first(7), nullptr},
                                            {1, std::span(ids).first(1), nullptr},
                                            {2, std::span(ids).first(9), &throwing}};
  CHECK_THROWS_WITH_AS(model.forward(pieces), "enough", std::runtime_error);
  CHECK_THROWS_WITH_AS(model.fill(pieces), "enough", std::runtime_error);
  for (Index s = 0; s < 3; ++s) CHECK(model.position(s) == 2 + s);
  Llama fresh(tiny.config(), tiny.weights(), {.max_context = 24}, execution);
  fresh.fill(std::span(ids).first(3));
  const std::vector<float> expected = copied(fresh.forward(std::span(ids).subspan(3, 5)));
  CHECK(copied(model.forward(std::span(ids).subspan(3, 5), {}, 1)) == expected);
}

TEST_CASE("pieces that cannot be are named") {
  const TinyLlama tiny;
  Execution<Host> execution(1);
  CHECK_THROWS_WITH_AS(Llama(tiny.config(), tiny.weights(), {.sequences = 0}, execution),
                       "LlamaOptions: sequences must be in 1..1024, got 0", ArgumentError);
  Llama model(tiny.config(), tiny.weights(), {.max_context = 8, .sequences = 2}, execution);
  CHECK(model.sequences() == 2);
  const std::vector<TokenId> ids{1, 2, 3};
  const std::vector<TokenId> wrong{1, 400};
  const std::vector<TokenId> nine = some_ids(9, 320);
  const auto forward = [&](std::vector<SequencePiece<>> pieces) { model.forward(pieces); };
  CHECK_THROWS_WITH_AS(forward({}), "Llama: pieces must not be empty", ArgumentError);
  CHECK_THROWS_WITH_AS(forward({{0, ids, nullptr}, {0, ids, nullptr}}),
                       "Llama: sequence 0 occurs in pieces[0] and pieces[1]", ArgumentError);
  CHECK_THROWS_WITH_AS(forward({{0, ids, nullptr}, {2, ids, nullptr}}), "Llama: sequence 2 does not exist, there are 2",
                       ArgumentError);
  CHECK_THROWS_AS(forward({{-1, ids, nullptr}}), ArgumentError);
  CHECK_THROWS_WITH_AS(forward({{0, ids, nullptr}, {1, {}, nullptr}}), "Llama: pieces[1].ids must not be empty",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(forward({{0, ids, nullptr}, {1, wrong, nullptr}}),
                       "Llama: pieces[1].ids[1] is 400, outside the vocabulary of 320", ArgumentError);
  CHECK_THROWS_WITH_AS(forward({{0, ids, nullptr}, {1, nine, nullptr}}),
                       "Llama: 9 tokens at position 0 of sequence 1 do not fit into a context of 8", StateError);
  LayerObserver<> observer;
  observer.layers = {3};
  observer.on_states = [](Index, Index, MatrixView<const float>) {};
  CHECK_THROWS_AS(forward({{0, ids, nullptr}, {1, ids, &observer}}), ArgumentError);
  observer.layers = {0};
  observer.on_states = nullptr;
  CHECK_THROWS_WITH_AS(forward({{0, ids, nullptr}, {1, ids, &observer}}),
                       "LayerObserver: layers are given, but on_states is empty", ArgumentError);
  std::vector<float> memory(2 * 2 * 2 * 320);
  const std::vector<SequencePiece<>> pieces{{0, ids, nullptr}, {1, ids, nullptr}};
  const std::vector<Index> layers{0, -1};
  CHECK_THROWS_WITH_AS(model.early_exit(pieces, layers, {memory.data(), {2, 1, 320}}),
                       "Llama: expected early-exit logits of [2, 2, 320], got [2, 1, 320]", ShapeError);
  CHECK_THROWS_WITH_AS(model.early_exit(pieces, layers, {memory.data(), {2, 2, 320}, {1280, 320, 1}}),
                       "Llama: the rows of early-exit logits must be evenly spaced", ShapeError);
  CHECK_THROWS_AS(model.early_exit(pieces, layers, {memory.data(), {2, 2, 320}, {1280, 640, 2}}), ShapeError);
  CHECK_THROWS_AS((void)model.position(2), ArgumentError);
  CHECK_THROWS_AS(model.rewind(0, 2), ArgumentError);
  CHECK_THROWS_AS(model.forward(ids, {}, 2), ArgumentError);
  CHECK(model.position(0) == 0);
  CHECK(model.position(1) == 0);
}
