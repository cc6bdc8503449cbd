// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/cuda/processors/entropy_sharpness.cuh"

#include "activation_trace/cuda/device_weights.cuh"
#include "activation_trace/cuda/graph.cuh"
#include "activation_trace/processors/entropy_sharpness_batch.hpp"
#include "device_processor.cuh"
#include "support/random_matrix.hpp"

using SharpnessUnderTest = activation_trace::test::DeviceProcessor<>;
constexpr float sharpness_tolerance = 1e-5f;

#include "processors/sharpness_cases.hpp"

namespace {

// Half is left to the tests of the kernels: three types of all of them take nvcc two minutes and a half.

/// One batch on the device beside one processor on the host per sequence, of the same rounded numbers.
template <class T>
struct Both {
  static constexpr Index room = 160;

  Both(Index count, Index v, Index columns, EntropySharpnessOptions o = {}, float penalty = 1, Index candidates = 1024)
      : sequences(count),
        vocab(v),
        d(columns),
        options(std::move(o)),
        lm_head(rounded(random_matrix(random, v, columns, 0.7f))),
        device_lm_head(upload(lm_head)),
        batch(stream,
              {.vocab = v,
               .hidden = columns,
               .positions = room,
               .sequences = count,
               .dtype = dtype_of<T>,
               .repetition_penalty = penalty,
               .candidates = candidates},
              options),
        penalties(static_cast<std::size_t>(count), RepetitionPenalty(penalty, v)),
        logits(count * v) {
    for (Index b = 0; b < count; ++b) hosts.emplace_back(options);
  }

  static Matrix rounded(Matrix m) {
    for (float& x : m.data) x = static_cast<float>(T(x));
    return m;
  }
  static Buffer<T, Cuda> upload(const Matrix& m) {
    std::vector<T> values;
    for (const float x : m.data) values.push_back(T(x));
    return test::to_device(values);
  }

  void observe(Index b, Index positions) {
    const Matrix hidden = rounded(random_matrix(random, positions, d, 1));
    const Buffer<T, Cuda> device = upload(hidden);
    if constexpr (std::is_same_v<T, float>) {
      if (stored_lm_head)
        batch[b].observe_context(device.matrix(positions, d), stored_lm_head->view());
      else
        batch[b].observe_context(device.matrix(positions, d), std::as_const(device_lm_head).matrix(vocab, d));
    } else {
      batch[b].observe_context(device.matrix(positions, d), std::as_const(device_lm_head).matrix(vocab, d));
    }
    stream.synchronize();
    hosts[static_cast<std::size_t>(b)].observe_context(hidden.view(), lm_head.view());
  }

  /// The LM head becomes one of `dtype`, before any context.
  void store_lm_head(DType dtype) {
    const test::RandomMatrix stored(dtype, vocab, d, random);
    for (Index v = 0; v < vocab; ++v)
      stored.view().decode_row(
          v, std::span<float>(lm_head.data).subspan(static_cast<std::size_t>(v * d), static_cast<std::size_t>(d)));
    stored_lm_head.emplace(stream, stored.view());
    stream.synchronize();
  }

  void upload_logits(float deviation) {
    rows = random_matrix(random, sequences, vocab, deviation);
    cuda::copy(stream, VectorView<const float>(rows.data), logits.view());
  }

  /// Scores, record and choice of the last step against the host's, whose step is made here.
  void check() {
    const std::vector<float> scores = test::to_host(logits);
    const std::vector<cuda::SharpnessChoice> choices = test::to_host(batch.choices());
    for (Index b = 0; b < sequences; ++b) {
      CAPTURE(b);
      const auto at = static_cast<std::size_t>(b);
      const std::span<float> row(rows.data.data() + b * vocab, static_cast<std::size_t>(vocab));
      const std::size_t kept = hosts[at].process(row).kept.size();
      penalties[at].process(row);
      for (std::size_t v = 0; v < row.size(); ++v) {
        const float got = scores[static_cast<std::size_t>(b * vocab) + v];
        CHECK((got == row[v] || std::abs(got - row[v]) <= 2e-5f * (1 + std::abs(row[v]))));
      }
      const SharpnessRecord record = batch[b].record();
      CHECK(record.kept.size() == kept);
      CHECK(choices[at].kept == static_cast<int>(kept));
      CHECK(choices[at].invalid == 0);
      CHECK(choices[at].most_probable == hosts[at].record().most_probable);
      const auto best = static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin());
      CHECK(choices[at].best == best);
      CHECK(record.best == best);
      penalties[at].observe(best);
    }
  }

  void step(float deviation = 2) {
    upload_logits(deviation);
    batch.process(logits.matrix(sequences, vocab));
    check();
    batch.observe_choices();
  }

  std::mt19937 random{5};
  Index sequences, vocab, d;
  EntropySharpnessOptions options;
  Matrix lm_head;
  Buffer<T, Cuda> device_lm_head;
  std::optional<cuda::DeviceMatrix> stored_lm_head;
  cuda::Stream stream;
  EntropySharpnessBatch<Cuda> batch;
  std::vector<EntropySharpnessProcessor<>> hosts;
  std::vector<RepetitionPenalty> penalties;
  Buffer<float, Cuda> logits;
  Matrix rows;
};

}  // namespace

TEST_CASE_TEMPLATE("a batch of ragged contexts is one host processor per row, sequences end and begin", T, float,
                   BFloat16) {
  for (const Index d : {24, 19}) {  // rows of 16-byte multiples, and others
    Both<T> both(3, 300, d, {.alpha = 0.8f}, 1.3f);
    both.observe(0, 1);
    both.observe(1, 90);
    both.observe(2, 33);
    for (int i = 0; i < 3; ++i) both.step();
    both.batch[1].reset();
    both.hosts[1].reset();
    both.penalties[1].reset();
    CHECK(both.batch[1].context_size() == 0);
    both.upload_logits(2);
    CHECK_THROWS_WITH_AS(both.batch.process(both.logits.matrix(3, 300)),
                         "no context: sequence 1 has observed no position within the span", StateError);
    both.observe(1, 8);
    for (int i = 0; i < 2; ++i) both.step();
  }
}

TEST_CASE_TEMPLATE("a growing context: only what is known is added to", T, float, BFloat16) {
  for (const Index d : {32, 21}) {
    Both<T> both(2, 130, d);
    both.observe(0, 40);
    both.observe(1, 7);
    for (int i = 0; i < 4; ++i) {
      both.step();
      both.observe(0, 1);
      both.observe(1, i == 2 ? 70 : 2);
    }
    // Once all are known the full kernel appends.
    const std::vector<float> before = test::to_host(both.batch[0].entropy());
    CHECK(std::abs(before[7] - both.hosts[0].entropy()[7]) <= 2e-5f);
    both.observe(0, 3);
    both.step();
    const std::vector<float> after = test::to_host(both.batch[0].entropy());
    const std::span<const float> host = both.hosts[0].entropy();
    for (std::size_t v = 0; v < host.size(); ++v) CHECK(std::abs(after[v] - host[v]) <= 2e-5f);
    CHECK(std::abs(both.batch[1].state(12).entropy() - both.hosts[1].state(12).entropy()) <= 2e-5f);
  }
}

TEST_CASE("more new tokens than there is room for: all entropies are computed, the same bits every time") {
  std::vector<float> first;
  for (int run = 0; run < 2; ++run) {
    Both<BFloat16> both(2, 200, 40, {.filter = {.relative_top = 0.001f}}, 1, 16);
    both.observe(0, 50);
    both.observe(1, 3);
    both.step(0.5f);
    both.step(6);  // and few again
    both.observe(1, 2);
    both.step(0.5f);
    if (run == 0)
      first = test::to_host(both.logits);
    else
      CHECK(test::to_host(both.logits) == first);
  }
}

TEST_CASE("span, norm, number of tokens to keep, and no filter are as on the host") {
  std::mt19937 random(3);
  const FinalNorm norm{random_matrix(random, 1, 24, 1).data, 1e-5f};
  for (const EntropySharpnessOptions& options :
       {EntropySharpnessOptions{.context = {.begin = 1, .end = 30}}, EntropySharpnessOptions{.final_norm = norm},
        EntropySharpnessOptions{.filter = {.relative_top = 0.9f, .min_tokens_to_keep = 17}},
        EntropySharpnessOptions{.filter = {.relative_top = 0.9f, .min_tokens_to_keep = 1000}},
        EntropySharpnessOptions{.alpha = 0.1f, .filter = {.relative_top = 0}}}) {
    Both<float> both(2, 70, 24, options);
    both.observe(0, 20);
    both.observe(0, 20);
    both.observe(1, 5);
    for (int i = 0; i < 3; ++i) both.step();
    both.observe(1, 4);
    both.step();
  }
}

TEST_CASE("a recorded step gives what the step gives, again and again") {
  Both<BFloat16> both(2, 3000, 64, {.alpha = 0.5f}, 1.2f);
  both.observe(0, 50);
  both.observe(1, 120);
  const cuda::Graph graph(both.stream, [&](Execution<Cuda>) {
    both.batch.process(both.logits.matrix(2, 3000));
    both.batch.observe_choices();
  });
  for (int i = 0; i < 4; ++i) {
    both.upload_logits(3);
    graph.launch(both.stream);
    both.check();
  }
}

TEST_CASE("a recorded step is right for a context that has grown since") {
  Both<BFloat16> both(2, 300, 64, {.alpha = 0.5f});
  both.observe(0, 3);
  both.observe(1, 20);
  const cuda::Graph graph(both.stream, [&](Execution<Cuda>) { both.batch.process(both.logits.matrix(2, 300)); });
  for (const Index more : {0, 1, 40, 90}) {
    both.observe(0, more);
    both.observe(1, more);
    both.upload_logits(3);
    graph.launch(both.stream);
    both.check();
  }
}

TEST_CASE("without a filter a step may be recorded before the first, and does not make the entropies again") {
  Both<float> both(2, 70, 24, {.alpha = 0.1f, .filter = {.relative_top = 0}});
  both.observe(0, 20);
  both.observe(1, 5);
  const cuda::Graph graph(both.stream, [&](Execution<Cuda>) { both.batch.process(both.logits.matrix(2, 70)); });
  both.step();  // before the graph's first launch
  for (int i = 0; i < 2; ++i) {
    both.upload_logits(2);
    graph.launch(both.stream);
    both.check();
  }
  both.observe(0, 3);
  both.observe(1, 40);
  both.step();
}

TEST_CASE("what concerns a context is refused while a graph is recorded, and works after that") {
  Both<float> both(1, 70, 24);
  both.observe(0, 20);
  const Buffer<float, Cuda> hidden = Both<float>::upload(random_matrix(both.random, 3, 24, 1));
  const auto recorded = [&](auto work) { const cuda::Graph graph(both.stream, [&](Execution<Cuda>) { work(); }); };
  CHECK_THROWS_WITH_AS(recorded([&] {
                         both.batch[0].observe_context(hidden.matrix(3, 24),
                                                       std::as_const(both.device_lm_head).matrix(70, 24));
                       }),
                       "observe_context: it cannot be recorded in a graph, call it before; process() can", StateError);
  CHECK_THROWS_AS(recorded([&] { (void)both.batch[0].entropy(); }), StateError);
  CHECK_THROWS_AS(recorded([&] { (void)both.batch[0].state(3); }), StateError);
  CHECK_THROWS_AS(recorded([&] { (void)both.batch[0].record(); }), StateError);
  CHECK_THROWS_AS(recorded([&] { both.batch[0].reset(); }), StateError);
  CHECK(both.batch[0].context_size() == 20);
  both.observe(0, 2);
  both.step();
}

TEST_CASE("a list that names a token more than once gives what it gives on the host") {
  for (const Index candidates : {2, 1024}) {  // more new tokens than there is room for, and fewer
    Both<float> both(2, 600, 8, {.alpha = 0.7f, .filter = {.relative_top = 0.001f}}, 1, candidates);
    both.observe(0, 6);
    both.observe(1, 11);
    // Within a warp, and in different blocks.
    std::vector<TokenId> ids{7, 9, 7, 11, 7};
    for (TokenId id = 20; id < 550; ++id) ids.push_back(id % 3 == 0 ? 9 : id);
    const auto n = static_cast<Index>(ids.size());
    const Buffer<TokenId, Cuda> device_ids = test::to_device(ids);
    for (int round = 0; round < 3; ++round) {
      const Matrix rows = random_matrix(both.random, 2, n, 1);
      Buffer<float, Cuda> logits = Both<float>::upload(rows);
      both.batch.process(device_ids.view(), logits.matrix(2, n));
      const std::vector<float> got = test::to_host(logits);
      for (Index b = 0; b < 2; ++b) {
        const auto first = rows.data.begin() + b * n;
        std::vector<float> row(first, first + n);
        both.hosts[static_cast<std::size_t>(b)].process(ids, row);
        for (Index i = 0; i < n; ++i) {
          const float expected = row[static_cast<std::size_t>(i)];
          const float x = got[static_cast<std::size_t>(b * n + i)];
          CHECK((x == expected || std::abs(x - expected) <= 2e-5f * (1 + std::abs(expected))));
        }
        const SharpnessRecord record = both.batch[b].record();
        CHECK(record.best == both.hosts[static_cast<std::size_t>(b)].record().best);
        CHECK(record.kept.size() == both.hosts[static_cast<std::size_t>(b)].record().kept.size());
        CHECK(std::abs(both.batch[b].state(7).entropy() - both.hosts[static_cast<std::size_t>(b)].state(7).entropy()) <=
              2e-5f);
      }
      both.observe(0, 2);  // and what is added later is added once
      both.observe(1, 1);
    }
  }
}

TEST_CASE("a token named twice whose products are all -inf is looked at again when the context grows") {
  Both<float> both(1, 3, 1, {.filter = {.relative_top = 0.1f}});
  both.device_lm_head = test::to_device(std::vector<float>{-0x1p127f, 0.25f, 0.5f});
  const auto observe = [&](const std::vector<float>& hidden) {
    const Buffer<float, Cuda> rows = test::to_device(hidden);
    both.batch[0].observe_context(rows.matrix(2, 1), std::as_const(both.device_lm_head).matrix(3, 1));
    both.stream.synchronize();
  };
  const Buffer<TokenId, Cuda> ids = test::to_device(std::vector<TokenId>{0, 1, 0});
  const auto step = [&] {
    Buffer<float, Cuda> logits = test::to_device(std::vector<float>{1, 1, 1});
    both.batch.process(ids.view(), logits.matrix(1, 3));
    return both.batch[0].record();
  };
  observe({0x1p127f, 0x1p126f});
  CHECK_THROWS_AS((void)step(), ArgumentError);
  observe({0x1p-126f, 0x1p-125f});
  const SharpnessRecord record = step();
  REQUIRE(record.kept.size() == 3);
  CHECK(std::abs(record.kept[0].entropy - test::entropy_oracle({-2, -4})) <= 1e-6);
}

TEST_CASE("f32 states and an LM head in any stored form are one host processor per row") {
  struct Case {
    DType dtype;
    Index d;
  };
  for (const auto& [dtype, d] : {Case{DType::f16, 24}, {DType::bf16, 19}, {DType::q8_0, 64}, {DType::q6_k, 256}}) {
    for (const Index candidates : {2, 1024}) {  // more new tokens than there is room for, and fewer
      Both<float> both(3, 300, d, {.alpha = 0.8f}, 1.3f, candidates);
      both.store_lm_head(dtype);
      both.observe(0, 1);
      both.observe(1, 90);
      both.observe(2, 33);
      for (int i = 0; i < 2; ++i) both.step();
      both.observe(2, 13);  // of what is known, too
      both.step();
      CHECK(std::abs(both.batch[1].state(7).entropy() - both.hosts[1].state(7).entropy()) <= 2e-5f);
      both.step();  // all are known
    }
  }
  Both<float> all(2, 130, 32, {.filter = {.relative_top = 0}});
  all.store_lm_head(DType::q4_1);
  all.observe(0, 20);
  all.observe(1, 140);
  all.step();
  all.observe(0, 7);
  all.step();
}

TEST_CASE("the penalty is for observed tokens, and passes over what is none") {
  Both<float> both(2, 40, 8, {}, 1.5f);
  both.observe(0, 6);
  both.observe(1, 6);
  const Buffer<TokenId, Cuda> ids = test::to_device(std::vector<TokenId>{3, 39, -1, 40, 5, 3});
  both.batch.observe_tokens(ids.matrix(2, 3));
  both.penalties[0].observe(std::vector<TokenId>{3, 39});
  both.penalties[1].observe(std::vector<TokenId>{5, 3});
  both.step(0.5f);
  CHECK_THROWS_AS(both.batch.observe_tokens(ids.matrix(3, 2)), ShapeError);
}

TEST_CASE("a token that did not survive is looked up, in every sequence, and grows with the context") {
  constexpr Index vocab = 300;
  Both<float> both(2, vocab, 24, {.filter = {.relative_top = 0.5f}});
  both.observe(0, 5);
  both.observe(1, 70);
  for (int round = 0; round < 3; ++round) {
    both.step();
    std::vector<SharpnessRecord> records;
    for (Index b = 0; b < 2; ++b) records.push_back(both.batch[b].record());
    const auto survived = [&](TokenId id) {
      return std::ranges::any_of(records, [&](const SharpnessRecord& r) {
        return std::ranges::count(r.kept, id, &SharpnessCandidate::id) != 0;
      });
    };
    TokenId id = 0;
    while (survived(id)) ++id;
    for (const TokenId asked : {id, records[0].kept.front().id, id}) {
      const Buffer<TokenId, Cuda> there = test::to_device(std::vector<TokenId>{asked});
      both.batch.look_up(there.data());
      for (Index b = 0; b < 2; ++b) {
        SoftmaxState state;
        cuda::copy(both.stream,
                   VectorView<const SoftmaxState, Cuda>(both.batch.memory().states + b * vocab + asked, {1}),
                   VectorView<SoftmaxState>(&state, {1}));
        both.stream.synchronize();
        CHECK(std::abs(state.entropy() - both.hosts[static_cast<std::size_t>(b)].state(asked).entropy()) <= 2e-5f);
      }
    }
    for (Index b = 0; b < 2; ++b)
      CHECK(both.batch[b].record().kept.size() == records[static_cast<std::size_t>(b)].kept.size());
    both.observe(round % 2, 3);
  }
}

TEST_CASE("a bad row has no choice and does not touch the others") {
  Both<float> both(2, 40, 8);
  both.observe(0, 6);
  both.observe(1, 6);
  both.upload_logits(1);
  const std::vector<float> good = both.rows.data;
  std::vector<float> poisoned = good;
  poisoned[7] = std::numeric_limits<float>::quiet_NaN();
  cuda::copy(both.stream, VectorView<const float>(poisoned), both.logits.view());
  both.batch.process(both.logits.matrix(2, 40));
  CHECK_THROWS_AS((void)both.batch[0].record(), ArgumentError);
  CHECK(test::to_host(both.batch.choices())[0].best == -1);
  CHECK(test::to_host(both.logits)[3] == good[3]);
  std::vector<float> second(good.begin() + 40, good.end());
  CHECK(both.batch[1].record().best == both.hosts[1].process(second).best);

  const Buffer<TokenId, Cuda> ids = test::to_device(std::vector<TokenId>{1, 40});
  Buffer<float, Cuda> listed = test::to_device(std::vector<float>{0, 0, 0, 0});
  both.batch.process(ids.view(), listed.matrix(2, 2));
  CHECK_THROWS_AS((void)both.batch[0].record(), ArgumentError);

  Both<float> overflowing(1, 2, 1);
  overflowing.device_lm_head = test::to_device(std::vector<float>{3e38f, 1});
  const Buffer<float, Cuda> hidden = test::to_device(std::vector<float>{3e38f, 1});
  overflowing.batch[0].observe_context(hidden.matrix(2, 1), std::as_const(overflowing.device_lm_head).matrix(2, 1));
  overflowing.upload_logits(0.01f);
  overflowing.batch.process(overflowing.logits.matrix(1, 2));
  CHECK_THROWS_AS((void)overflowing.batch[0].record(), ArgumentError);
}

TEST_CASE("what cannot be on the device is refused by name") {
  const cuda::Stream stream;
  const cuda::SharpnessShape shape{.vocab = 40, .hidden = 8, .positions = 4, .sequences = 2, .dtype = DType::f32};
  const auto made_with = [&](auto change, EntropySharpnessOptions options = {}) {
    cuda::SharpnessShape other = shape;
    change(other);
    EntropySharpnessBatch<Cuda>(stream, other, std::move(options));
  };
  CHECK_THROWS_WITH_AS(made_with([](auto& s) { s.vocab = 0; }), "vocab: expected a number in [1, 2^30], got 0",
                       ArgumentError);
  CHECK_THROWS_AS(made_with([](auto& s) { s.positions = -1; }), ArgumentError);
  CHECK_THROWS_AS(made_with([](auto& s) { s.sequences = 70000; }), ArgumentError);
  CHECK_THROWS_AS(made_with([](auto& s) { s.dtype = DType::q8_0; }), ArgumentError);
  CHECK_THROWS_AS(made_with([](auto& s) { s.repetition_penalty = 0; }), ArgumentError);
  CHECK_THROWS_AS(made_with([](auto&) {}, {.alpha = -1}), ArgumentError);
  CHECK_THROWS_AS(made_with([](auto&) {}, {.final_norm = FinalNorm{{1, 1}, 1e-5f}}), ShapeError);
  CHECK_THROWS_AS(EntropySharpnessProcessor<Cuda>(stream, shape), ArgumentError);

  EntropySharpnessBatch<Cuda> batch(stream, shape);
  Buffer<float, Cuda> numbers = test::to_device(std::vector<float>(400, 0.5f));
  Buffer<Half, Cuda> halves = test::to_device(std::vector<Half>(400));
  CHECK_THROWS_WITH_AS(batch[2].observe_context(numbers.matrix(3, 8), numbers.matrix(40, 8)),
                       "sequence 2 is not in a batch of 2", ArgumentError);
  CHECK_THROWS_AS(batch[0].observe_context(halves.matrix(3, 8), halves.matrix(40, 8)), ArgumentError);
  CHECK_THROWS_AS(batch[0].observe_context(numbers.matrix(3, 8), numbers.matrix(39, 8)), ShapeError);
  CHECK_THROWS_AS(batch[0].observe_context(numbers.matrix(3, 7), numbers.matrix(40, 8)), ShapeError);
  CHECK_THROWS_WITH_AS(batch[0].observe_context(numbers.matrix(5, 8), numbers.matrix(40, 8)),
                       "hidden: 5 positions, the processor was made for 4", ShapeError);
  CHECK_THROWS_AS((void)batch[0].entropy(), StateError);
  CHECK_THROWS_AS((void)batch[0].state(1), StateError);
  batch[0].observe_context(numbers.matrix(3, 8), numbers.matrix(40, 8));
  CHECK_THROWS_AS(
      batch[1].observe_context(numbers.matrix(3, 8), MatrixView<const float, Cuda>(numbers.data() + 8, {40, 8})),
      ArgumentError);
  CHECK_THROWS_AS((void)batch[0].state(40), ArgumentError);
  CHECK_THROWS_AS(batch.process(numbers.matrix(3, 40)), ShapeError);
  CHECK_THROWS_AS(batch.process(numbers.matrix(2, 39)), ShapeError);
  CHECK_THROWS_AS(batch.process(numbers.matrix(2, 40)), StateError);
}
