// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <span>
#include <string>
#include <vector>

#include "activation_trace/model/llama.hpp"
#include "model/trace.hpp"
#include "support/each_isa.hpp"

using namespace activation_trace;
using namespace activation_trace::test;

namespace {

constexpr LlamaOptions half_options{.max_context = 48, .sequences = 3, .cache = DType::f16};

}  // namespace

TEST_CASE("a cache of halves: logits are off by what rounding keys and values to 11 bits makes, and not the same") {
  const TinyLlama tiny;
  const std::vector<TokenId> ids = some_ids(40, tiny.config().vocab);
  each_isa([&](Isa isa) {
    Execution<Host> execution(1, isa);
    Llama exact(tiny.config(), tiny.weights(), {.max_context = 48}, execution);
    Llama halved(tiny.config(), tiny.weights(), half_options, execution);
    Trace of_exact(tiny.config().layers);
    Trace of_halved(tiny.config().layers);
    for (const std::size_t piece : {std::size_t{40}, std::size_t{1}}) {
      exact.rewind(0);
      halved.rewind(0);
      of_exact.run(exact, ids, piece);
      of_halved.run(halved, ids, piece);
      const double error = relative_error(of_halved.logits, of_exact.logits);
      CHECK(error <= 4 * 0x1p-11);
      CHECK(error > 1e-6);
    }
  });
}

TEST_CASE("a cache of halves: the same bits with any threads, in any cut, beside others, rewound and copied") {
  const TinyLlama tiny;
  const std::vector<TokenId> ids = some_ids(24, tiny.config().vocab);
  Execution<Host> one(1);
  Llama expected(tiny.config(), tiny.weights(), half_options, one);
  Trace alone(tiny.config().layers);
  alone.run(expected, std::span(ids).first(23));
  alone.run(expected, std::span(ids).last(1));
  for (const int threads : {1, 3}) {
    Execution<Host> execution(threads);
    Llama model(tiny.config(), tiny.weights(), half_options, execution);
    Trace in_parts(tiny.config().layers);
    in_parts.run(model, std::span(ids).first(9));
    model.fill(some_ids(7, tiny.config().vocab, 3));
    model.rewind(9);
    in_parts.run(model, std::span(ids).subspan(9, 14));
    model.copy_sequence(0, 1);
    model.fill(std::span(ids).subspan(5, 3), {}, 2);
    const LayerObserver<> observer = in_parts.observer();
    const SequencePiece<> pieces[] = {{2, std::span(ids).first(1), nullptr}, {1, std::span(ids).last(1), &observer}};
    const std::span<const float> logits = model.forward(pieces).row(1).span();
    in_parts.logits.assign(logits.begin(), logits.end());
    CHECK(in_parts == alone);
  }
}

TEST_CASE("a cache of halves takes half the memory, of other types there is none") {
  LlamaConfig config = tiny_llama_config();
  LlamaOptions options{.max_context = 512, .max_batch = 1, .sequences = 4};
  const double floats = llama_memory(config, options);
  options.cache = DType::f16;
  const double positions = 512 * 4;
  const double keys = 2 * 64;
  CHECK(floats - llama_memory(config, options) == positions * 2 * 2 * keys * 2);
  options.cache = DType::q8_0;
  CHECK_THROWS_WITH_AS(options.validate(config), "LlamaOptions: cache must be F32 or F16, got Q8_0", ArgumentError);
}
