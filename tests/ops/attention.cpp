// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/ops/attention.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "support/each_isa.hpp"
#include "support/oracle.hpp"
#include "support/random_matrix.hpp"

using namespace activation_trace;

namespace {

using test::Heads;

struct Case {
  Index n, t, H, G, D;
};

}  // namespace

TEST_CASE("attention agrees with its definition: prefill, continued prefill, decode, all group sizes") {
  std::mt19937 random(1);
  for (const Case& shape : {Case{1, 1, 9, 3, 64}, Case{1, 2, 4, 4, 8}, Case{1, 100, 9, 3, 64}, Case{1, 513, 8, 1, 128},
                            Case{2, 2, 3, 3, 16}, Case{5, 5, 4, 2, 32}, Case{16, 16, 9, 3, 64}, Case{17, 40, 6, 2, 10},
                            Case{63, 63, 2, 1, 64}, Case{65, 129, 9, 3, 64}, Case{200, 200, 3, 1, 64},
                            Case{33, 300, 4, 4, 80}, Case{7, 64, 2, 2, 2}}) {
    const Index n = shape.n, t = shape.t, H = shape.H, G = shape.G, D = shape.D;  // clang 14 captures no bindings
    for (const float scale : {1.0f, 30.0f}) {                                     // 30: softmax is nearly one-hot
      const std::vector<float> q_memory = test::normal_floats(n * H * D, random, scale);
      const Index capacity = t + 3;
      // The cache as [G, positions, D] with room to spare, seen as [t, G, D].
      const std::vector<float> k_memory = test::normal_floats(G * capacity * D, random);
      const std::vector<float> v_memory = test::normal_floats(G * capacity * D, random);
      const Heads q(q_memory.data(), {n, H, D});
      const Heads k(k_memory.data(), {t, G, D}, {D, capacity * D, 1});
      const Heads v(v_memory.data(), {t, G, D}, {D, capacity * D, 1});
      const std::vector<double> expected = test::attention(q, k, v);
      test::each_isa([&](Isa isa) {
        Execution<Host> execution(2, isa);
        std::vector<float> out(q_memory.size(), -1e9f);
        attention(execution, q, k, v, {out.data(), {n, H, D}});
        double worst = 0;
        for (std::size_t i = 0; i < out.size(); ++i)
          worst = std::max(worst, std::abs(static_cast<double>(out[i]) - expected[i]));
        CAPTURE(n);
        CAPTURE(t);
        CAPTURE(D);
        // Scores are off by about 2^-24 * scale * sqrt(D) each, values are of size 1 to 4.
        CHECK(worst <= 4e-6 * static_cast<double>(scale));
      });
    }
  }
}

TEST_CASE("keys and values that are halves are widened exactly: prefill, decode, windows") {
  std::mt19937 random(9);
  for (const Case& shape :
       {Case{1, 1, 9, 3, 64}, Case{1, 513, 8, 1, 128}, Case{3, 40, 9, 3, 64}, Case{17, 40, 6, 2, 10},
        Case{65, 129, 9, 3, 64}, Case{130, 300, 4, 4, 80}, Case{7, 64, 2, 2, 2}}) {
    const Index n = shape.n, t = shape.t, H = shape.H, G = shape.G, D = shape.D;
    const auto halves = [&] {
      std::vector<Half> values;
      for (const float v : test::normal_floats(t * G * D, random)) values.emplace_back(v);
      return values;
    };
    const std::vector<Half> half_keys = halves();
    const std::vector<Half> half_values = halves();
    const std::vector<float> keys(half_keys.begin(), half_keys.end());
    const std::vector<float> values(half_values.begin(), half_values.end());
    const std::vector<float> q_memory = test::normal_floats(n * H * D, random);
    const Heads q(q_memory.data(), {n, H, D});
    for (const AttentionOptions& options : {AttentionOptions{}, AttentionOptions{.soft_cap = 2.0f, .window = 33}}) {
      const std::vector<double> expected =
          test::attention(q, Heads(keys.data(), {t, G, D}), Heads(values.data(), {t, G, D}), options);
      test::each_isa([&](Isa isa) {
        std::vector<float> of_one;
        for (const int threads : {1, 3}) {
          Execution<Host> execution(threads, isa);
          std::vector<float> out(q_memory.size(), -1e9f);
          const AttentionPart<Host, Half> part{
              q, {half_keys.data(), {t, G, D}}, {half_values.data(), {t, G, D}}, {out.data(), {n, H, D}}};
          attention(execution, std::span(&part, 1), options);
          double worst = 0;
          for (std::size_t i = 0; i < out.size(); ++i)
            worst = std::max(worst, std::abs(static_cast<double>(out[i]) - expected[i]));
          CAPTURE(n);
          CAPTURE(t);
          CHECK(worst <= 4e-6);
          if (threads == 1) of_one = out;
          CHECK(out == of_one);
        }
      });
    }
  }
}

TEST_CASE("scale, soft cap and window, each and together, in prefill and decode") {
  std::mt19937 random(4);
  const Index D = 24;
  const AttentionOptions plain;
  const AttentionOptions all_options[] = {{.scale = 0.05f}, {.soft_cap = 2.0f}, {.window = 1},     {.window = 7},
                                          {.window = 100},  {.window = 130},    {.window = 10000}, {0.3f, 1.5f, 40}};
  for (const auto& lengths : {std::pair<Index, Index>{1, 1}, {1, 150}, {3, 150}, {4, 150}, {97, 97}, {250, 400}}) {
    const Index n = lengths.first, t = lengths.second;
    const std::vector<float> q_memory = test::normal_floats(n * 4 * D, random, 3.0f);
    const std::vector<float> k_memory = test::normal_floats(t * 2 * D, random);
    const std::vector<float> v_memory = test::normal_floats(t * 2 * D, random);
    const Heads q(q_memory.data(), {n, 4, D});
    const Heads k(k_memory.data(), {t, 2, D});
    const Heads v(v_memory.data(), {t, 2, D});
    const auto computed = [&](Isa isa, const AttentionOptions& options) {
      Execution<Host> execution(2, isa);
      std::vector<float> out(q_memory.size(), -1e9f);
      attention(execution, q, k, v, {out.data(), {n, 4, D}}, options);
      return out;
    };
    for (const AttentionOptions& options : all_options) {
      const std::vector<double> expected = test::attention(q, k, v, options);
      test::each_isa([&](Isa isa) {
        const std::vector<float> out = computed(isa, options);
        double worst = 0;
        for (std::size_t i = 0; i < out.size(); ++i)
          worst = std::max(worst, std::abs(static_cast<double>(out[i]) - expected[i]));
        CAPTURE(n);
        CAPTURE(t);
        CAPTURE(options.window);
        CHECK(worst <= 4e-6 * 3);  // as above
        // What changes nothing changes no bit; what hides positions does.
        if (options.window == 10000) CHECK(out == computed(isa, plain));
        if (options.window == 7 && t > 7) CHECK(out != computed(isa, plain));
      });
    }
  }
}

TEST_CASE("options that mean nothing are named") {
  Execution<Host> execution;
  std::vector<float> m(64);
  const auto attend = [&](const AttentionOptions& options) {
    attention(execution, Heads(m.data(), {4, 2, 4}), Heads(m.data(), {4, 2, 4}), Heads(m.data(), {4, 2, 4}),
              {m.data(), {4, 2, 4}}, options);
  };
  CHECK_THROWS_WITH_AS(attend({.scale = 0.0f}), "AttentionOptions: scale must be positive and finite, got 0.000000",
                       ArgumentError);
  CHECK_THROWS_AS(attend({.scale = test::infinity}), ArgumentError);
  CHECK_THROWS_WITH_AS(attend({.soft_cap = -1.0f}),
                       "AttentionOptions: soft_cap must be positive and finite, got -1.000000", ArgumentError);
  CHECK_THROWS_WITH_AS(attend({.window = -1}), "AttentionOptions: window must not be negative, got -1", ArgumentError);
}

TEST_CASE("a prefill in pieces, and token by token, gives the rows of the whole") {
  std::mt19937 random(2);
  const Index t = 70;
  const Index D = 32;
  const std::vector<float> q_memory = test::normal_floats(t * 4 * D, random);
  const std::vector<float> k_memory = test::normal_floats(t * 2 * D, random);
  const std::vector<float> v_memory = test::normal_floats(t * 2 * D, random);
  const Heads q(q_memory.data(), {t, 4, D});
  const Heads k(k_memory.data(), {t, 2, D});
  const Heads v(v_memory.data(), {t, 2, D});
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(1, isa);
    std::vector<float> whole(q_memory.size());
    attention(execution, q, k, v, {whole.data(), {t, 4, D}});
    for (const Index piece : {1, 7, 64}) {
      std::vector<float> out(q_memory.size());
      for (Index begin = 0; begin < t; begin += piece) {
        const Index end = std::min(t, begin + piece);
        attention(execution, q.slice(0, begin, end), k.slice(0, 0, end), v.slice(0, 0, end),
                  TensorView<float, 3>(out.data(), {t, 4, D}).slice(0, begin, end));
      }
      double worst = 0;
      for (std::size_t i = 0; i < out.size(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(out[i]) - static_cast<double>(whole[i])));
      CHECK(worst <= 4e-6);
    }
    // In place, as a decoder does it.
    std::vector<float> in_place = q_memory;
    attention(execution, {in_place.data(), {t, 4, D}}, k, v, {in_place.data(), {t, 4, D}});
    CHECK(in_place == whole);
  });
}

TEST_CASE("parts of any lengths are what each is alone, bit for bit") {
  std::mt19937 random(3);
  const Index D = 24;
  const std::pair<Index, Index> lengths[] = {{1, 9}, {5, 5}, {100, 230}, {0, 4}, {1, 61}, {3, 3}, {17, 40}, {2, 31}};
  std::vector<std::vector<float>> memory;
  std::vector<AttentionPart<>> parts;
  std::vector<std::vector<float>> together;
  for (const auto& [n, t] : lengths) {
    together.emplace_back(static_cast<std::size_t>(n * 6 * D) + 1);
    memory.push_back(test::normal_floats(n * 6 * D + 1, random));
    const Heads q(memory.back().data(), {n, 6, D});
    memory.push_back(test::normal_floats(t * 2 * D, random));
    const Heads k(memory.back().data(), {t, 2, D});
    memory.push_back(test::normal_floats(t * 2 * D, random));
    parts.push_back({q, k, Heads(memory.back().data(), {t, 2, D}), {together.back().data(), {n, 6, D}}});
  }
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(3, isa);
    Execution<Host> single(1, isa);
    attention(execution, parts);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      std::vector<float> alone(together[i].size());
      attention(single, parts[i].q, parts[i].k, parts[i].v, {alone.data(), parts[i].out.extents()});
      CAPTURE(i);
      CHECK(alone == together[i]);
      std::ranges::fill(together[i], 0.0f);
    }
    attention(execution, std::span<const AttentionPart<>>{});
  });
  parts[3].k = Heads(memory[0].data(), {4, 3, 2});
  parts[3].v = parts[3].k;
  Execution<Host> execution(1);
  CHECK_THROWS_AS(attention(execution, parts), ShapeError);
}

TEST_CASE("however queries are tiled, the results are the same bits") {
  std::mt19937 random(12);
  const Index n = 130, t = 310, D = 24;
  const std::vector<float> q = test::normal_floats(n * 4 * D, random);
  const std::vector<float> k = test::normal_floats(t * 2 * D, random);
  const std::vector<float> v = test::normal_floats(t * 2 * D, random);
  std::vector<float> out(q.size());
  const AttentionPart<> part{
      Heads(q.data(), {n, 4, D}), Heads(k.data(), {t, 2, D}), Heads(v.data(), {t, 2, D}), {out.data(), {n, 4, D}}};
  for (const Index window : {0, 50})
    test::each_isa([&](Isa isa) {
      Execution<Host> execution(2, isa);
      attention(execution, std::span(&part, 1), {.window = window});
      const std::vector<float> expected = out;
      for (const AttentionTuning& tuning : {AttentionTuning{.query_tile = 7, .query_subtile = 3},
                                            AttentionTuning{.query_tile = 200, .query_subtile = 200}}) {
        std::ranges::fill(out, 0.0f);
        attention(execution, std::span(&part, 1), {.window = window}, tuning);
        CHECK(out == expected);
      }
    });
}

TEST_CASE("equal keys average the values; keys beyond the query are not looked at") {
  test::each_isa([&](Isa isa) {
    Execution<Host> execution(1, isa);
    const Index t = 40;
    const std::vector<float> q(static_cast<std::size_t>(t) * 16, 1.0f);
    const std::vector<float> k(static_cast<std::size_t>(t) * 16, 0.5f);
    std::vector<float> v(static_cast<std::size_t>(t) * 16);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i / 16);
    std::vector<float> out(q.size());
    attention(execution, {q.data(), {t, 1, 16}}, {k.data(), {t, 1, 16}}, {v.data(), {t, 1, 16}},
              {out.data(), {t, 1, 16}});
    for (std::size_t i = 0; i < out.size(); ++i)
      CHECK(out[i] == doctest::Approx(static_cast<double>(i / 16) / 2).epsilon(1e-5));
  });
}

TEST_CASE("shapes that do not fit are named") {
  Execution<Host> execution;
  std::vector<float> m(64);
  const auto view = [&](Index a, Index b, Index c) { return Heads(m.data(), {a, b, c}); };
  const TensorView<float, 3> out(m.data(), {4, 2, 4});
  CHECK_THROWS_WITH_AS(attention(execution, view(4, 2, 4), view(3, 2, 4), view(3, 2, 4), out),
                       "attention: 4 queries but only 3 keys", ShapeError);
  CHECK_THROWS_WITH_AS(attention(execution, view(4, 2, 4), view(4, 3, 4), view(4, 3, 4), out),
                       "attention: 2 heads cannot share 3 kv heads", ShapeError);
  CHECK_THROWS_AS(attention(execution, view(4, 2, 4), view(4, 0, 4), view(4, 0, 4), out), ShapeError);
  CHECK_THROWS_AS(attention(execution, view(4, 2, 4), view(4, 2, 2), view(4, 2, 2), out), ShapeError);
  CHECK_THROWS_AS(attention(execution, view(4, 2, 4), view(4, 2, 4), view(5, 2, 4), out), ShapeError);
  CHECK_THROWS_AS(attention(execution, view(4, 2, 2), view(4, 2, 2), view(4, 2, 2), out), ShapeError);
}
