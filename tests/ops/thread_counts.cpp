// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "activation_trace/ops/attention.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/softmax_entropy.hpp"
#include "support/each_isa.hpp"
#include "support/random_matrix.hpp"

using namespace activation_trace;

namespace {

// What `compute(execution)` returns must not depend on the number of threads, bit for bit.
template <class Compute>
void check_any_thread_count(Compute compute) {
  test::each_isa([&](Isa isa) {
    Execution<Host> single(1, isa);
    const std::vector<float> expected = compute(single);
    for (const int threads : {2, 3, 7}) {
      Execution<Host> execution(threads, isa);
      for (int repeat = 0; repeat < 3; ++repeat) {
        const std::vector<float> actual = compute(execution);
        REQUIRE(actual.size() == expected.size());
        CHECK(std::memcmp(actual.data(), expected.data(), expected.size() * sizeof(float)) == 0);
      }
    }
  });
}

}  // namespace

TEST_CASE("matmul gives the same bits for any number of threads") {
  std::mt19937 random(1);
  const Index d = 256;
  const Index m = 75;
  for (const DType dtype : {DType::f32, DType::f16, DType::q4_1, DType::q6_k}) {
    const test::RandomMatrix w(dtype, m, d, random);
    const test::RandomMatrix w2(dtype, 20, d, random);
    for (const Index n : {1, 2, 13, 40}) {
      const std::vector<float> x = test::normal_floats(n * d, random);
      check_any_thread_count([&](Execution<Host>& execution) {
        std::vector<float> y(static_cast<std::size_t>(n * (m + 20)));
        const MatrixView<float> whole(y.data(), {n, m + 20});
        const MatmulTarget<> targets[] = {{w.view(), whole.slice(1, 0, m)}, {w2.view(), whole.slice(1, m, m + 20)}};
        matmul(execution, test::matrix(x, n, d), targets);
        return y;
      });
    }
  }
}

TEST_CASE("context states give the same bits for any number of threads") {
  std::mt19937 random(2);
  const Index d = 64;
  const test::RandomMatrix w(DType::q8_0, 133, d, random);
  const std::vector<float> hidden = test::normal_floats(45 * d, random);
  std::vector<TokenId> ids{5, 132, 0, 5, 17, 18, 19};
  check_any_thread_count([&](Execution<Host>& execution) {
    std::vector<float> entropies(133);
    softmax_entropy(execution, test::matrix(hidden, 45, d), w.view(), entropies);
    return entropies;
  });
  check_any_thread_count([&](Execution<Host>& execution) {
    std::vector<SoftmaxState> states(ids.size());
    softmax_states(execution, test::matrix(hidden, 45, d), w.view(), ids, states);
    std::vector<float> flat;
    for (const SoftmaxState& s : states) flat.insert(flat.end(), {s.max, s.sum, s.weighted});
    return flat;
  });
}

TEST_CASE("attention gives the same bits for any number of threads") {
  std::mt19937 random(3);
  for (const Index n : {1, 37}) {
    const Index t = 50;
    const std::vector<float> q = test::normal_floats(n * 6 * 8, random);
    const std::vector<float> k = test::normal_floats(t * 2 * 8, random);
    const std::vector<float> v = test::normal_floats(t * 2 * 8, random);
    check_any_thread_count([&](Execution<Host>& execution) {
      std::vector<float> out(q.size());
      attention(execution, {q.data(), {n, 6, 8}}, {k.data(), {t, 2, 8}}, {v.data(), {t, 2, 8}},
                {out.data(), {n, 6, 8}});
      return out;
    });
  }
}
