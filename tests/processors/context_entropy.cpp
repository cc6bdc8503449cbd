// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/context_entropy.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "reference.hpp"

using namespace activation_trace;
using activation_trace::test::Matrix;
using activation_trace::test::random_matrix;

namespace {

// numerics/README.md 2, tolerances,: float end to end.
double tolerance(const Matrix& hidden, const Matrix& w) {
  double largest = 0;
  for (Index i = 0; i < hidden.rows; ++i)
    for (Index v = 0; v < w.rows; ++v) {
      double s = 0;
      for (Index k = 0; k < w.cols; ++k) s += hidden.at(i, k) * w.at(v, k);
      largest = std::max(largest, std::abs(s));
    }
  return 2e-5 * (1 + largest / 8);
}

std::vector<float> all(ContextEntropy& context) {
  std::vector<float> entropy(static_cast<std::size_t>(context.vocab()));
  context.entropy(entropy);
  return entropy;
}

float one(ContextEntropy& context, TokenId id) {
  float entropy = 0;
  context.entropy(std::span(&id, 1), std::span(&entropy, 1));
  return entropy;
}

}  // namespace

TEST_CASE("entropies of random data are those of the oracle, all at once and one by one, at awkward sizes") {
  std::mt19937 random(2);
  for (const Index positions : {1, 2, 3, 31, 65, 257})
    for (const Index vocab : {1, 7, 129})
      for (const Index d : {1, 8, 67}) {
        CAPTURE(positions);
        CAPTURE(vocab);
        CAPTURE(d);
        const Matrix hidden = random_matrix(random, positions, d, 1);
        const Matrix w = random_matrix(random, vocab, d, 3 / std::sqrt(static_cast<float>(d)));
        const double bound = tolerance(hidden, w);
        Execution<Host> execution(1);
        ContextEntropy full(execution), lazy(execution);
        full.observe(hidden.view(), w.view());
        lazy.observe(hidden.view(), w.view());
        const std::vector<float> at_once = all(full);
        const std::vector<double> expected = test::reference_entropies(hidden, w);
        for (std::size_t v = 0; v < at_once.size(); ++v) {
          const double e = expected[v];
          CHECK(std::abs(static_cast<double>(at_once[v]) - e) <= bound);
          CHECK(std::abs(static_cast<double>(one(lazy, static_cast<TokenId>(v))) - e) <= bound);
        }
      }
}

TEST_CASE("closed forms: one position, equal positions, equal spikes") {
  Execution<Host> execution(1);
  const Matrix w{2, 1, {1, -2}};
  {
    ContextEntropy context(execution);
    context.observe(Matrix{1, 1, {5}}.view(), w.view());
    CHECK(all(context) == std::vector<float>{0, 0});
  }
  {
    ContextEntropy context(execution);
    context.observe(Matrix{6, 1, {3, 3, 3, 3, 3, 3}}.view(), w.view());
    for (const float e : all(context)) CHECK(e == doctest::Approx(std::log(6.0)).epsilon(1e-6));
  }
  {
    ContextEntropy context(execution);  // for the first token two spikes stand out, for the second the other three
    context.observe(Matrix{5, 1, {50, 0, 0, 50, 0}}.view(), w.view());
    CHECK(one(context, 0) == doctest::Approx(std::log(2.0)).epsilon(1e-6));
    CHECK(one(context, 1) == doctest::Approx(std::log(3.0)).epsilon(1e-6));
  }
}

TEST_CASE("a context in pieces is the whole context, whatever was asked for in between") {
  std::mt19937 random(3);
  const Index positions = 40, vocab = 61, d = 24;
  const Matrix hidden = random_matrix(random, positions, d, 1);
  const Matrix w = random_matrix(random, vocab, d, 0.5f);
  const std::vector<double> expected = test::reference_entropies(hidden, w);
  Execution<Host> execution(1);
  for (int round = 0; round < 50; ++round) {
    ContextEntropy context(execution);
    for (Index done = 0; done < positions;) {
      const Index count = std::uniform_int_distribution<Index>(0, positions - done)(random);
      context.observe(hidden.view(done, done + count), w.view());
      done += count;
      if (done == 0) continue;
      CHECK(context.positions() == done);
      std::vector<TokenId> ids(static_cast<std::size_t>(random() % 9));
      for (TokenId& id : ids) id = static_cast<TokenId>(random() % static_cast<unsigned>(vocab));
      context.prepare(ids);  // repetitions included
      if (random() % 4 == 0) context.prepare();
      for (const TokenId id : ids)
        CHECK(std::abs(static_cast<double>(one(context, id)) - test::reference_entropy(hidden, w, id, 0, done)) <=
              tolerance(hidden, w));
    }
    const std::vector<float> before = [&] {
      std::vector<float> some(5);
      context.entropy(std::vector<TokenId>{0, 60, 7, 7, 33}, some);
      return some;
    }();
    const std::vector<float> entropy = all(context);
    for (std::size_t v = 0; v < entropy.size(); ++v)
      CHECK(std::abs(static_cast<double>(entropy[v]) - expected[v]) <= tolerance(hidden, w));
    CHECK(before == std::vector<float>{entropy[0], entropy[60], entropy[7], entropy[7], entropy[33]});
  }
}

TEST_CASE("the span chooses positions across pieces") {
  std::mt19937 random(4);
  const Matrix hidden = random_matrix(random, 20, 8, 1);
  const Matrix w = random_matrix(random, 5, 8, 1);
  Execution<Host> execution(1);
  const auto check = [&](ContextSpan span, Index begin, Index end) {
    for (const Index piece : {1, 3, 20}) {
      ContextEntropy context(execution, span);
      for (Index i = 0; i < 20; i += piece) context.observe(hidden.view(i, std::min<Index>(20, i + piece)), w.view());
      CHECK(context.positions() == end - begin);
      for (TokenId v = 0; v < 5; ++v)
        CHECK(std::abs(static_cast<double>(one(context, v)) - test::reference_entropy(hidden, w, v, begin, end)) <=
              tolerance(hidden, w));
    }
  };
  check({}, 0, 20);
  check(ContextSpan::without_bos(), 1, 20);
  check({.begin = 5, .end = 12}, 5, 12);
  check({.begin = 0, .end = 1}, 0, 1);
  ContextEntropy nothing(execution, {.begin = 20});
  nothing.observe(hidden.view(), w.view());
  CHECK_THROWS_WITH_AS(nothing.require(),
                       "no context: observe_context was not called, or none of its 20 positions lies within the "
                       "context span",
                       StateError);
}

TEST_CASE("the final norm is applied to what is observed") {
  std::mt19937 random(5);
  const Matrix hidden = random_matrix(random, 9, 16, 3);
  const Matrix w = random_matrix(random, 4, 16, 1);
  FinalNorm norm{random_matrix(random, 1, 16, 1).data, 1e-3f};
  Matrix normed = hidden;
  for (Index i = 0; i < 9; ++i) {
    double squares = 0;
    for (Index k = 0; k < 16; ++k) squares += hidden.at(i, k) * hidden.at(i, k);
    for (Index k = 0; k < 16; ++k)
      normed.data[static_cast<std::size_t>(i * 16 + k)] =
          static_cast<float>(hidden.at(i, k) / std::sqrt(squares / 16 + 1e-3) *
                             static_cast<double>(norm.weight[static_cast<std::size_t>(k)]));
  }
  Execution<Host> execution(1);
  ContextEntropy context(execution, {}, norm);
  context.observe(hidden.view(), w.view());
  for (TokenId v = 0; v < 4; ++v)
    CHECK(std::abs(static_cast<double>(one(context, v)) - test::reference_entropy(normed, w, v, 0, 9)) <=
          tolerance(normed, w));
}

TEST_CASE("an LM head that gives rows on request is the same LM head, bit for bit") {
  std::mt19937 random(6);
  const Index vocab = 2100, d = 40;  // more rows than a block
  const Matrix hidden = random_matrix(random, 33, d, 1);
  const Matrix w = random_matrix(random, vocab, d, 1);
  Index asked = 0;
  const LmHead<> rows(vocab, d, [&](Index begin, Index end, MatrixView<float> out) {
    REQUIRE(out.extent(0) == end - begin);
    REQUIRE(out.extent(1) == d);
    asked += end - begin;
    std::memcpy(out.data(), w.data.data() + begin * d, static_cast<std::size_t>((end - begin) * d) * sizeof(float));
  });
  Execution<Host> execution(1);
  ContextEntropy stored(execution), on_request(execution);
  stored.observe(hidden.view(), w.view());
  on_request.observe(hidden.view(), rows);
  const std::vector<TokenId> ids{2099, 0, 1024, 5};
  std::vector<float> a(4), b(4);
  stored.entropy(ids, a);
  on_request.entropy(ids, b);
  CHECK(a == b);
  CHECK(asked == 4);
  CHECK(all(stored) == all(on_request));
  CHECK(asked == 4 + vocab);
}

TEST_CASE("strided hidden states are read as they lie") {
  std::mt19937 random(7);
  const Matrix wide = random_matrix(random, 6, 20, 1);
  const Matrix w = random_matrix(random, 3, 8, 1);
  Matrix narrow{6, 8, {}};
  for (Index i = 0; i < 6; ++i)
    for (Index k = 0; k < 8; ++k) narrow.data.push_back(static_cast<float>(wide.at(i, 5 + k)));
  Execution<Host> execution(1);
  ContextEntropy a(execution), b(execution);
  a.observe(wide.view().slice(1, 5, 13), w.view());
  b.observe(narrow.view(), w.view());
  CHECK(all(a) == all(b));
}

TEST_CASE("any number of threads gives the same bits") {
  std::mt19937 random(8);
  const Matrix hidden = random_matrix(random, 70, 32, 1);
  const Matrix w = random_matrix(random, 333, 32, 1);
  std::vector<float> expected, expected_some(9);
  const std::vector<TokenId> some{1, 3, 5, 300, 299, 298, 17, 5, 0};
  for (const int threads : {1, 2, 3, 8}) {
    Execution<Host> execution(threads);
    ContextEntropy full(execution), lazy(execution);
    full.observe(hidden.view(), w.view());
    lazy.observe(hidden.view(), w.view());
    std::vector<float> got_some(9);
    lazy.entropy(some, got_some);
    const std::vector<float> got = all(full);
    if (threads == 1) {
      expected = got;
      expected_some = got_some;
    }
    CHECK(got == expected);
    CHECK(got_some == expected_some);
  }
}

TEST_CASE("reset makes room for another prompt and another LM head") {
  std::mt19937 random(9);
  const Matrix hidden = random_matrix(random, 11, 8, 1);
  const Matrix w = random_matrix(random, 30, 8, 1);
  const Matrix other = random_matrix(random, 20, 5, 1);
  const Matrix other_hidden = random_matrix(random, 4, 5, 1);
  Execution<Host> execution(1);
  ContextEntropy context(execution), fresh(execution);
  context.observe(other_hidden.view(), other.view());
  (void)one(context, 3);
  (void)all(context);
  context.reset();
  CHECK(context.positions() == 0);
  CHECK_THROWS_AS(context.prepare(), StateError);
  context.observe(hidden.view(), w.view());
  fresh.observe(hidden.view(), w.view());
  CHECK(all(context) == all(fresh));
}

TEST_CASE("products that overflow give NaN for that token only") {
  const Matrix hidden{2, 1, {3e38f, 1}};
  const Matrix w{2, 1, {3e38f, 1e-38f}};
  Execution<Host> execution(1);
  ContextEntropy context(execution);
  context.observe(hidden.view(), w.view());
  const std::vector<float> entropy = all(context);
  CHECK(std::isnan(entropy[0]));
  CHECK(std::isfinite(entropy[1]));
}

TEST_CASE("what cannot be is refused by name, and changes nothing") {
  Execution<Host> execution(1);
  const Matrix hidden{2, 3, {1, 2, 3, 4, 5, 6}};
  const Matrix w{4, 3, std::vector<float>(12, 1)};
  const Matrix w_again = w;
  ContextEntropy context(execution);
  CHECK_THROWS_AS(context.require(), StateError);
  CHECK_THROWS_AS((void)context.state(0), StateError);
  CHECK_THROWS_WITH_AS(context.observe(Matrix{1, 2, {1, 2}}.view(), w.view()), "hidden: expected [T, 3], got [1, 2]",
                       ShapeError);
  CHECK_THROWS_AS(context.observe(hidden.view(), LmHead()), ShapeError);
  context.observe(hidden.view(), w.view());
  CHECK_THROWS_AS(context.observe(hidden.view(), w_again.view()), ArgumentError);
  CHECK_THROWS_AS(context.observe(hidden.view(), w.view().slice(0, 0, 3)), ArgumentError);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH_AS(context.observe(Matrix{1, 3, {1, nan, 2}}.view(), w.view()), "hidden: [0, 1] is nan",
                       ArgumentError);
  CHECK_THROWS_AS(context.observe(Matrix{1, 3, {1, 2, std::numeric_limits<float>::infinity()}}.view(), w.view()),
                  ArgumentError);
  CHECK(context.positions() == 2);
  CHECK_THROWS_WITH_AS((void)context.state(4), "token id 4 is not in the vocabulary of 4", ArgumentError);
  CHECK_THROWS_AS((void)context.state(-1), ArgumentError);
  std::vector<float> three(3);
  CHECK_THROWS_AS(context.entropy(three), ShapeError);
  CHECK_THROWS_AS(context.entropy(std::vector<TokenId>{1, 2}, three), ShapeError);

  CHECK_THROWS_AS(ContextEntropy(execution, {.begin = -1}), ArgumentError);
  CHECK_THROWS_AS(ContextEntropy(execution, {.begin = 4, .end = 3}), ArgumentError);
  CHECK_THROWS_AS(ContextEntropy(execution, {}, FinalNorm{}), ArgumentError);
  CHECK_THROWS_AS(ContextEntropy(execution, {}, FinalNorm{{1, 1, 1}, 0}), ArgumentError);
  ContextEntropy normed(execution, {}, FinalNorm{{1, 1}, 1e-5f});
  CHECK_THROWS_AS(normed.observe(hidden.view(), w.view()), ShapeError);
  CHECK_THROWS_AS(LmHead(3, 3, LmHead<>::Rows{}), ArgumentError);
  CHECK_THROWS_AS(LmHead(-1, 3, [](Index, Index, MatrixView<float>) {}), ArgumentError);
}

TEST_CASE("contexts that begin with a shared one are the whole, at any cut and for any span") {
  std::mt19937 random(11);
  const Matrix hidden = random_matrix(random, 30, 8, 1);
  const Matrix w = random_matrix(random, 50, 8, 1);
  Execution<Host> execution(2);
  const std::vector<TokenId> some{3, 49, 3, 7};
  for (const ContextSpan span :
       {ContextSpan{}, ContextSpan{.begin = 1}, ContextSpan{.begin = 12, .end = 25}, ContextSpan{.begin = 2, .end = 7}})
    for (const Index cut : {1, 10, 30}) {
      CAPTURE(span.begin);
      CAPTURE(cut);
      ContextEntropy whole(execution, span);
      whole.observe(hidden.view(), w.view());
      ContextEntropy shared(execution, span);
      shared.observe(hidden.view().slice(0, 0, cut), w.view());
      for (int use = 0; use < 2; ++use) {
        ContextEntropy context(execution, span);
        context.begin_with(shared);
        if (cut < 30) {
          context.observe(hidden.view().slice(0, cut, 20 + cut / 2), w.view());
          context.observe(hidden.view().slice(0, 20 + cut / 2, 30), w.view());
        }
        CHECK(context.positions() == whole.positions());
        std::vector<float> entropies(some.size());
        context.entropy(some, entropies);
        for (std::size_t i = 0; i < some.size(); ++i)
          CHECK(entropies[i] == doctest::Approx(static_cast<double>(one(whole, some[i]))).epsilon(1e-5));
        const std::vector<float> wanted = all(whole);
        const std::vector<float> found = all(context);
        for (std::size_t v = 0; v < wanted.size(); ++v)
          CHECK(found[v] == doctest::Approx(static_cast<double>(wanted[v])).epsilon(1e-5));
        CHECK(found[3] == entropies[0]);
        context.reset();
        context.observe(hidden.view(), w.view());
        CHECK(all(context) == wanted);
      }
    }
  ContextEntropy empty(execution), begun(execution), context(execution);
  CHECK_THROWS_AS(context.begin_with(empty), StateError);
  begun.observe(hidden.view(), w.view());
  CHECK_THROWS_AS(begun.begin_with(begun), StateError);
  context.begin_with(begun);
  const Matrix copy = w;
  CHECK_THROWS_AS(context.observe(hidden.view(), copy.view()), ArgumentError);
  CHECK_THROWS_AS((void)context.state(50), ArgumentError);
}

TEST_CASE("a callback that throws leaves a context that can be asked again") {
  std::mt19937 random(10);
  const Matrix hidden = random_matrix(random, 9, 8, 1);
  const Matrix w = random_matrix(random, 12, 8, 1);
  bool fails = true;
  const LmHead<> rows(12, 8, [&](Index begin, Index end, MatrixView<float> out) {
    if (fails) throw StateError("no rows now");
    std::memcpy(out.data(), w.data.data() + begin * 8, static_cast<std::size_t>((end - begin) * 8) * sizeof(float));
  });
  Execution<Host> execution(1);
  ContextEntropy context(execution), expected(execution);
  context.observe(hidden.view(), rows);
  expected.observe(hidden.view(), w.view());
  CHECK_THROWS_AS((void)one(context, 4), StateError);
  CHECK_THROWS_AS(context.prepare(), StateError);
  fails = false;
  CHECK(one(context, 4) == one(expected, 4));
  CHECK(all(context) == all(expected));
}
