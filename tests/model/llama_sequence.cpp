// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <stdexcept>
#include <tuple>

#include "activation_trace/model/llama.hpp"
#include "model/trace.hpp"
#include "support/each_isa.hpp"

using namespace activation_trace;
using namespace activation_trace::test;

namespace {

Trace traced(const TinyLlama& tiny, std::span<const TokenId> ids, LlamaOptions options, int threads,
             std::size_t piece = std::numeric_limits<std::size_t>::max()) {
  Execution<Host> execution(threads);
  Llama model(tiny.config(), tiny.weights(), options, execution);
  Trace trace(tiny.config().layers);
  trace.run(model, ids, piece);
  return trace;
}

/// Two runs may add in another order only: each is within the rounding tolerance of the exact result.
void check_close(const Trace& a, const Trace& b, const LlamaConfig& config) {
  const double tolerance = 2 * rounding_tolerance(config);
  CAPTURE(tolerance);
  for (std::size_t layer = 0; layer < b.hidden.size(); ++layer) {
    REQUIRE(a.hidden[layer].size() == b.hidden[layer].size());
    for (std::size_t t = 0; t < b.hidden[layer].size(); ++t)
      CHECK(relative_error(a.hidden[layer][t], b.hidden[layer][t]) <= tolerance);
  }
  CHECK(relative_error(a.logits, b.logits) <= tolerance);
}

}  // namespace

TEST_CASE("any cutting into calls and batches gives the token by token result") {
  for (const DType dtype : {DType::f32, DType::q4_1}) {
    TinyLlamaOptions options;
    options.dtype = dtype;
    const TinyLlama tiny(options);
    const std::vector<TokenId> ids = some_ids(61, tiny.config().vocab);
    const Trace one_by_one = traced(tiny, ids, {.max_context = 61}, 2, 1);
    for (const auto& [batch_rows, call_rows] :
         {std::pair<Index, std::size_t>{512, 61}, {512, 60}, {1, 61}, {7, 61}, {32, 61}, {32, 45}, {5, 6}, {60, 61}}) {
      const Index batch = batch_rows;  // clang 14 captures no structured binding
      const std::size_t piece = call_rows;
      CAPTURE(batch);
      CAPTURE(piece);
      check_close(traced(tiny, ids, {.max_context = 61, .max_batch = batch}, 2, piece), one_by_one, tiny.config());
    }
  }
}

TEST_CASE("batches of four or more tokens give the same bits, however they are cut") {
  const TinyLlama tiny;
  const std::vector<TokenId> ids = some_ids(150, tiny.config().vocab);
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(1, isa);
    const auto traced_with = [&](Index batch, std::size_t piece) {
      Llama model(tiny.config(), tiny.weights(), {.max_context = 150, .max_batch = batch}, execution);
      Trace trace(tiny.config().layers);
      trace.run(model, ids, piece);
      return trace;
    };
    const Trace whole = traced_with(150, 150);
    for (const auto& [batch_rows, call_rows] :
         {std::pair<Index, std::size_t>{146, 150}, {64, 150}, {16, 150}, {5, 150}, {150, 100}, {29, 50}}) {
      const Index batch = batch_rows;  // clang 14 captures no structured binding
      const std::size_t piece = call_rows;
      CAPTURE(batch);
      CAPTURE(piece);
      const bool same = traced_with(batch, piece) == whole;
      CHECK(same);
    }
  });
}

TEST_CASE("thread counts do not change a bit") {
  for (const DType dtype : {DType::f32, DType::f16, DType::q8_0, DType::q4_1, DType::q6_k}) {
    TinyLlamaOptions options;
    options.dtype = dtype;
    const TinyLlama tiny(options);
    const std::vector<TokenId> ids = some_ids(37, tiny.config().vocab);
    const Trace whole = traced(tiny, ids, {.max_context = 64}, 1);
    const Trace pieces = traced(tiny, ids, {.max_context = 64}, 1, 1);
    for (const int threads : {2, 3, 8}) {
      CAPTURE(threads);
      CHECK(traced(tiny, ids, {.max_context = 64}, threads) == whole);
      CHECK(traced(tiny, ids, {.max_context = 64}, threads, 1) == pieces);
    }
  }
}

TEST_CASE("what was rewound leaves no trace") {
  const TinyLlama tiny;
  const std::vector<TokenId> ids = some_ids(20, tiny.config().vocab);
  const std::vector<TokenId> others = some_ids(30, tiny.config().vocab, 77);
  Execution<Host> execution(2);
  Llama fresh(tiny.config(), tiny.weights(), {.max_context = 50, .max_batch = 16}, execution);
  Trace expected(tiny.config().layers);
  expected.run(fresh, std::span(ids).first(9));
  expected.run(fresh, std::span(ids).subspan(9));

  Llama model(tiny.config(), tiny.weights(), {.max_context = 50, .max_batch = 16}, execution);
  Trace trace(tiny.config().layers);
  trace.run(model, std::span(ids).first(9));
  trace.run(model, others);
  CHECK(model.position() == 39);
  model.rewind(9);
  CHECK(model.position() == 9);
  trace.run(model, std::span(ids).subspan(9));
  CHECK(trace == expected);  // the same cuts, so the same bits
  model.rewind(0);
  trace.run(model, std::span(ids).first(9));
  trace.run(model, std::span(ids).subspan(9));
  CHECK(trace == expected);
}

TEST_CASE("observing or filling changes no logit") {
  const TinyLlama tiny;
  const std::vector<TokenId> ids = some_ids(20, tiny.config().vocab);
  Execution<Host> execution(2);
  for (const Index batch : {Index{6}, Index{512}}) {
    const LlamaOptions options{.max_context = 21, .max_batch = batch};
    Llama observed(tiny.config(), tiny.weights(), options, execution);
    Trace trace(tiny.config().layers);
    trace.run(observed, ids);
    Llama plain(tiny.config(), tiny.weights(), options, execution);
    // The last block computes the last row alone here, all rows there: another shape of product, rounded otherwise.
    CHECK(relative_error(plain.forward(ids), trace.logits) <= 2 * rounding_tolerance(tiny.config()));
    Llama filled(tiny.config(), tiny.weights(), options, execution);
    filled.fill(ids);
    const std::vector<TokenId> next{5};
    const auto logits = plain.forward(next);
    const std::vector<float> after_forward(logits.begin(), logits.end());
    const auto after_fill = filled.forward(next);
    CHECK(std::ranges::equal(after_fill, after_forward));
  }
}

TEST_CASE("an observer sees the layers and positions that it names, in order, and nothing else") {
  const TinyLlama tiny;
  const Index d = tiny.config().hidden;
  const std::vector<TokenId> ids = some_ids(20, tiny.config().vocab);
  Execution<Host> execution(2);
  Llama model(tiny.config(), tiny.weights(), {.max_context = 40, .max_batch = 8}, execution);
  Trace all(tiny.config().layers);
  all.run(model, ids);
  using Call = std::tuple<Index, Index, Index>;  // layer, first position, rows
  std::vector<Call> calls;
  LayerObserver<> observer;
  observer.layers = {-1, 1, 2, 1, -3};  // h_2 twice, h_1 twice, h_0
  observer.begin = 5;
  observer.end = 17;
  observer.on_states = [&](Index layer, Index first, MatrixView<const float> states) {
    CHECK(states.extent(1) == d);
    calls.emplace_back(layer, first, states.extent(0));
    for (Index i = 0; i < states.extent(0); ++i)
      CHECK(relative_error(states.row(i).span(),
                           all.hidden[static_cast<std::size_t>(layer)][static_cast<std::size_t>(first + i)]) <=
            2 * rounding_tolerance(tiny.config()));
  };
  const std::vector<Call> expected{{0, 5, 3}, {1, 5, 3},  {2, 5, 3},  {0, 8, 8}, {1, 8, 8},
                                   {2, 8, 8}, {0, 16, 1}, {1, 16, 1}, {2, 16, 1}};
  model.rewind(0);
  model.forward(ids, observer);
  CHECK(calls == expected);
  calls.clear();
  model.rewind(0);
  model.fill(ids, observer);
  CHECK(calls == expected);
  calls.clear();
  observer.layers = {-1};
  observer.begin = 3;
  observer.end = 4;
  model.rewind(2);
  model.fill(std::span(ids).subspan(2), observer);  // positions count from the start of the sequence
  CHECK(calls == std::vector<Call>{{2, 3, 1}});
  calls.clear();
  observer.begin = 30;
  observer.end = std::numeric_limits<Index>::max();
  model.rewind(0);
  model.fill(ids, observer);
  CHECK(calls.empty());
}

TEST_CASE("an observer that throws leaves the model where it was") {
  const TinyLlama tiny;
  const std::vector<TokenId> ids = some_ids(20, tiny.config().vocab);
  Execution<Host> execution(2);
  Llama model(tiny.config(), tiny.weights(), {.max_context = 40, .max_batch = 8}, execution);
  model.fill(std::span(ids).first(4));
  LayerObserver<> observer;
  observer.layers = {1};
  observer.on_states = [](Index, Index first, MatrixView<const float>) {
    if (first > 4) throw std::runtime_error("enough");
  };
  CHECK_THROWS_WITH_AS(model.fill(std::span(ids).subspan(4), observer), "enough", std::runtime_error);
  CHECK(model.position() == 4);
  Llama fresh(tiny.config(), tiny.weights(), {.max_context = 40, .max_batch = 8}, execution);
  fresh.fill(std::span(ids).first(4));
  const auto expected = fresh.forward(std::span(ids).subspan(4));
  CHECK(std::ranges::equal(model.forward(std::span(ids).subspan(4)), expected));
}
