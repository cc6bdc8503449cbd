// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/model/llama.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "model/trace.hpp"
#include "support/each_isa.hpp"
#include "support/reference_llama.hpp"

using namespace activation_trace;
using namespace activation_trace::test;

namespace {

/// Every hidden state and the last logits against those of the double-precision model, with an instruction set.
void check_against(const reference::ForwardResult& expected, const LlamaConfig& config, const LlamaWeights<>& weights,
                   const std::vector<TokenId>& ids, Isa isa) {
  Execution<Host> execution(2, isa);
  Llama model(config, weights, {.max_context = static_cast<Index>(ids.size())}, execution);
  Trace trace(config.layers);
  trace.run(model, ids);
  const double tolerance = rounding_tolerance(config);
  CAPTURE(tolerance);
  for (std::size_t layer = 0; layer < expected.hidden.size(); ++layer) {
    REQUIRE(trace.hidden[layer].size() == ids.size());
    for (std::size_t t = 0; t < ids.size(); ++t) {
      CAPTURE(layer);
      CAPTURE(t);
      CHECK(relative_error(trace.hidden[layer][t], expected.hidden[layer][t]) <= tolerance);
    }
  }
  CHECK(relative_error(trace.logits, expected.logits.back()) <= tolerance);
}

void check_best_isa(const LlamaConfig& config, const LlamaWeights<>& weights, Index tokens) {
  const std::vector<TokenId> ids = some_ids(tokens, config.vocab);
  check_against(reference::forward(config, weights, ids), config, weights, ids, best_isa());
}

void check_each_isa(const LlamaConfig& config, const LlamaWeights<>& weights, Index tokens) {
  const std::vector<TokenId> ids = some_ids(tokens, config.vocab);
  const reference::ForwardResult expected = reference::forward(config, weights, ids);
  test::each_isa([&](Isa isa) { check_against(expected, config, weights, ids, isa); });
}

LlamaConfig small_config() {
  LlamaConfig config;
  config.layers = 3;
  config.hidden = 48;
  config.ffn = 80;
  config.heads = 6;
  config.kv_heads = 2;
  config.head_dim = 16;  // heads * head_dim = 96, not the hidden size
  config.vocab = 101;
  config.max_context = 64;
  config.rms_norm_eps = 1e-5f;
  config.rope.theta = 500;
  return config;
}

}  // namespace

TEST_CASE("every weight type, against double precision") {
  for (const DType dtype : all_dtypes) {
    const std::string type(name(dtype));
    CAPTURE(type);
    TinyLlamaOptions options;
    options.dtype = dtype;
    const TinyLlama tiny(options);
    check_each_isa(tiny.config(), tiny.weights(), 9);
  }
}

TEST_CASE("shapes: grouped queries, odd sizes, one block, one token, tied and separate heads") {
  TinyLlamaOptions options;
  options.config = small_config();
  for (const Embeddings embeddings : {Embeddings::tied, Embeddings::separate}) {
    options.embeddings = embeddings;
    for (const auto& sharing : {std::pair<Index, Index>{6, 2}, {6, 6}, {5, 1}, {1, 1}}) {
      const Index heads = options.config.heads = sharing.first;
      options.config.kv_heads = sharing.second;
      for (const Index tokens : {Index{1}, Index{2}, Index{17}, Index{33}}) {
        CAPTURE(heads);
        CAPTURE(tokens);
        const TinyLlama tiny(options);
        check_each_isa(tiny.config(), tiny.weights(), tokens);
      }
    }
  }
  options.config.layers = 1;
  options.config.hidden = 7;
  options.config.ffn = 5;
  options.config.head_dim = 2;
  const TinyLlama tiny(options);
  check_best_isa(tiny.config(), tiny.weights(), 13);
}

TEST_CASE("both rotation layouts and every scaling") {
  TinyLlamaOptions options;
  options.config = small_config();
  const TinyLlama tiny(options);
  LlamaConfig config = tiny.config();
  for (const RopeLayout layout : {RopeLayout::half_split, RopeLayout::interleaved}) {
    for (const RopeScaling scaling : {RopeScaling::none, RopeScaling::linear, RopeScaling::llama3}) {
      config.rope.layout = layout;
      config.rope.scaling = scaling;
      config.rope.factor = 4;
      config.rope.original_context = 24;  // so that pairs of all three kinds occur
      config.rope.divisors.clear();
      check_best_isa(config, tiny.weights(), 40);
      config.rope.divisors = {1, 1, 2, 2, 3, 3, 4, 4};
      check_best_isa(config, tiny.weights(), 40);
    }
  }
}

TEST_CASE("early exits are W h_k at the last position, without the final norm below the top") {
  const TinyLlama tiny;
  const std::vector<TokenId> ids = some_ids(11, tiny.config().vocab);
  const reference::ForwardResult expected = reference::forward(tiny.config(), tiny.weights(), ids);
  Execution<Host> execution(2);
  Llama model(tiny.config(), tiny.weights(), {.max_context = 32, .max_batch = 4}, execution);
  const std::vector<Index> layers{-1, 0, 1, 2, -3};
  std::vector<float> logits(layers.size() * static_cast<std::size_t>(tiny.config().vocab));
  const auto rows = as_matrix(std::span(logits), 5, tiny.config().vocab);
  CHECK_THROWS_AS(model.early_exit(ids, layers, rows), ArgumentError);  // only N + 1 = 3 rows at once
  const std::span<const Index> three = std::span(layers).first(3);
  model.early_exit(ids, three, rows.slice(0, 0, 3));
  for (std::size_t i = 0; i < three.size(); ++i) {
    const auto layer = static_cast<std::size_t>(resolve_layer(three[i], tiny.config().layers));
    const reference::Vector row = reference::times(tiny.weights().lm_head, expected.hidden[layer].back());
    CAPTURE(layer);
    CHECK(relative_error(rows.row(static_cast<Index>(i)).span(), row) <= rounding_tolerance(tiny.config()));
  }
  CHECK(model.position() == 11);
  // The same layer twice, and none that needs the last block.
  model.rewind(0);
  const std::vector<Index> twice{1, -2};
  model.early_exit(ids, twice, rows.slice(0, 0, 2));
  CHECK(std::ranges::equal(rows.row(0).span(), rows.row(1).span()));
  const reference::Vector row = reference::times(tiny.weights().lm_head, expected.hidden[1].back());
  CHECK(relative_error(rows.row(0).span(), row) <= rounding_tolerance(tiny.config()));
  model.rewind(0);
  CHECK_THROWS_WITH_AS(model.early_exit(ids, twice, rows),
                       "Llama: expected early-exit logits of [2, 320], got [5, 320]", ShapeError);
}

TEST_CASE("what cannot be computed is named") {
  const TinyLlama tiny;
  Execution<Host> execution(1);
  const auto model_with = [&](LlamaOptions options) {
    return Llama(tiny.config(), tiny.weights(), options, execution);
  };
  CHECK_THROWS_WITH_AS(model_with({.max_context = 0}),
                       "LlamaOptions: max_context must be in 1..512, the model's context, got 0", ArgumentError);
  CHECK_THROWS_AS(model_with({.max_context = 513}), ArgumentError);
  CHECK_THROWS_WITH_AS(model_with({.max_batch = 0}), "LlamaOptions: max_batch must be positive, got 0", ArgumentError);
  LlamaWeights<> short_weights = tiny.weights();
  short_weights.layers.pop_back();
  CHECK_THROWS_WITH_AS(Llama(tiny.config(), short_weights, {}, execution), "layers: expected 2, got 1", ShapeError);

  Llama model = model_with({.max_context = 8, .max_batch = 3});
  const std::vector<TokenId> four{1, 2, 3, 4};
  model.fill(four);
  CHECK_THROWS_WITH_AS(model.forward(std::span<const TokenId>{}), "Llama: ids must not be empty", ArgumentError);
  CHECK_THROWS_WITH_AS(model.forward(std::vector<TokenId>{0, 320}),
                       "Llama: ids[1] is 320, outside the vocabulary of 320", ArgumentError);
  CHECK_THROWS_AS(model.forward(std::vector<TokenId>{-1}), ArgumentError);
  CHECK_THROWS_WITH_AS(model.forward(some_ids(5, 320)), "Llama: 5 tokens at position 4 do not fit into a context of 8",
                       StateError);
  CHECK_THROWS_WITH_AS(model.rewind(5), "KvCache: cannot rewind to position 5 of 4", ArgumentError);
  CHECK_THROWS_AS(model.rewind(-1), ArgumentError);
  LayerObserver<> observer;
  observer.layers = {3};
  observer.on_states = [](Index, Index, MatrixView<const float>) {};
  CHECK_THROWS_WITH_AS(model.forward(four, observer),
                       "layer 3 does not exist: a model of 2 blocks has the hidden states -3..2", ArgumentError);
  observer.layers = {-4};
  CHECK_THROWS_AS(model.forward(four, observer), ArgumentError);
  observer.layers = {0};
  observer.on_states = nullptr;
  CHECK_THROWS_WITH_AS(model.forward(four, observer), "LayerObserver: layers are given, but on_states is empty",
                       ArgumentError);
  CHECK(model.position() == 4);
}

TEST_CASE("an observer reads, and cannot change the model that calls it") {
  const TinyLlama tiny;
  Execution<Host> execution(2);
  Llama model(tiny.config(), tiny.weights(), {.max_context = 32, .sequences = 2}, execution);
  const std::vector<TokenId> ids = some_ids(6, tiny.config().vocab);
  const std::span<const float> first = model.forward(ids);
  const std::vector<float> expected(first.begin(), first.end());
  model.rewind(0);
  std::vector<float> logits(static_cast<std::size_t>(tiny.config().vocab));
  const std::vector<Index> top{-1};
  const std::vector<std::function<void()>> calls{
      [&] { model.forward(ids); },
      [&] { model.forward(ids, {}, 1); },  // of another sequence: the memory in between is shared
      [&] { model.fill(ids, {}, 1); },
      [&] { model.early_exit(ids, top, as_matrix(std::span(logits), 1, tiny.config().vocab)); },
      [&] { model.rewind(0); },
      [&] { model.copy_sequence(0, 1); }};
  for (const auto& call : calls) {
    LayerObserver<> observer;
    observer.layers = {1};
    observer.on_states = [&](Index, Index, MatrixView<const float>) {
      CHECK(model.position() == 0);
      CHECK(model.ids().empty());
      CHECK_THROWS_WITH_AS(call(), "Llama: a pass is under way, which an observer must not change", StateError);
    };
    const std::span<const float> seen = model.forward(ids, observer);
    CHECK(std::ranges::equal(seen, expected));
    model.rewind(0);
    // And what escapes from the observer leaves the model as it was.
    observer.on_states = [&](Index, Index, MatrixView<const float>) { call(); };
    CHECK_THROWS_AS(model.forward(ids, observer), StateError);
    CHECK(model.position() == 0);
  }
  CHECK(std::ranges::equal(model.forward(ids), expected));
}

TEST_CASE("weights that are not finite are the model's fault, and the layer says where") {
  TinyLlama tiny;
  Execution<Host> execution(1);
  LlamaConfig config = tiny.config();
  config.source = "damaged.gguf";
  const std::vector<TokenId> ids = some_ids(6, config.vocab);
  const float bad = std::numeric_limits<float>::quiet_NaN();
  const auto complaint = [&](const LlamaWeights<>& weights, const LayerObserver<>& observer = {}) -> std::string {
    Llama model(config, weights, {.max_context = 32}, execution);
    try {
      model.forward(ids, observer);
    } catch (const Error& e) {
      CHECK(model.position() == 0);
      return e.what();
    }
    return "accepted";
  };
  const auto says = [](const std::string& text, std::initializer_list<const char*> parts) {
    CAPTURE(text);
    for (const char* part : parts) CHECK(text.find(part) != std::string::npos);
  };
  LlamaWeights<> weights = tiny.weights();
  weights.layers[1].ffn_norm[3] = bad;
  says(complaint(weights), {"damaged.gguf: h_2 at position 5 is ", "nan", "weights are damaged"});
  weights = tiny.weights();
  weights.layers[0].attention_norm[0] = std::numeric_limits<float>::infinity();
  says(complaint(weights), {"damaged.gguf: h_1 at position "});

  // The row of one token, which the prompt may have or not.
  const auto width = static_cast<std::size_t>(config.hidden);
  std::vector<float> rows(static_cast<std::size_t>(config.vocab) * width);
  for (Index v = 0; v < config.vocab; ++v)
    tiny.weights().embedding.decode_row(v, std::span(rows).subspan(static_cast<std::size_t>(v) * width, width));
  const std::vector<float> whole = rows;
  const auto damage = [&](TokenId token) {
    rows = whole;
    rows[static_cast<std::size_t>(token) * width] = bad;
    weights = tiny.weights();
    weights.embedding = {DType::f32, reinterpret_cast<const std::byte*>(rows.data()), config.vocab, config.hidden};
    weights.lm_head = weights.embedding;
  };
  damage(ids[2]);
  LayerObserver<> observer;
  observer.layers = {0};
  int shown = 0;
  observer.on_states = [&](Index, Index, MatrixView<const float>) { ++shown; };
  says(complaint(weights, observer), {"damaged.gguf: h_0 at position 2 is "});
  CHECK(shown == 0);
  says(complaint(weights), {"damaged.gguf: h_1 at position 5 is "});
  TokenId unused = 0;
  while (std::ranges::find(ids, unused) != ids.end()) ++unused;
  damage(unused);
  says(complaint(weights), {("damaged.gguf: the logit of token " + std::to_string(unused) + " is ").c_str(), "nan"});
}

TEST_CASE("all_finite finds one bad number in any place") {
  for (const std::size_t size : {0u, 1u, 7u, 8u, 9u, 33u}) {
    std::vector<float> row(size, std::numeric_limits<float>::max());
    for (std::size_t i = 0; i < size; i += 2) row[i] = -std::numeric_limits<float>::denorm_min();
    CHECK(activation_trace::detail::all_finite(row));
    for (std::size_t i = 0; i < size; ++i)
      for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::signaling_NaN()}) {
        std::vector<float> changed = row;
        changed[i] = bad;
        CHECK_FALSE(activation_trace::detail::all_finite(changed));
      }
  }
}

TEST_CASE("a context beyond all memory is refused, not taken") {
  const TinyLlama tiny;
  Execution<Host> execution(1);
  LlamaConfig config = tiny.config();
  std::vector<Index> contexts{Index{1} << 62, Index{1} << 58};
  // What no library knows to be too much the system refuses; AddressSanitizer stops the program instead.
#ifndef ACTIVATION_TRACE_SANITIZED
  contexts.push_back(Index{1} << 45);
#endif
  for (const Index context : contexts) {
    config.max_context = context;
    try {
      const Llama model(config, tiny.weights(), {.max_context = context, .max_batch = context, .sequences = 3},
                        execution);
      FAIL("accepted");
    } catch (const Error& e) {
      CHECK(std::string(e.what()).find(std::to_string(context)) != std::string::npos);
    }
  }
  config.max_context = (Index{1} << 62) + 1;
  CHECK_THROWS_WITH_AS(config.validate(), "LlamaConfig: max_context must be at most 2^62, got 4611686018427387905",
                       ArgumentError);

  // KV cache: 2 blocks x keys and values x kv_heads * head_dim x 4 bytes per position; everything else is small.
  const double bytes = llama_memory(tiny.config(), {.max_context = 1000, .max_batch = 1, .sequences = 7});
  const double cache = 7.0 * 1000 * 2 * 2 * static_cast<double>(tiny.config().kv_heads * tiny.config().head_dim) * 4;
  CHECK(bytes > cache);
  CHECK(bytes < 1.2 * cache);
}
