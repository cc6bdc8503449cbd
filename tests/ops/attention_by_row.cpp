// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/ops/attention_by_row.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>
#include <type_traits>
#include <vector>

#include "activation_trace/ops/attention.hpp"
#include "support/each_isa.hpp"
#include "support/oracle.hpp"
#include "support/random_matrix.hpp"

using namespace activation_trace;

namespace {

constexpr float poison = -12345.0f;

template <class T>
std::vector<T> normal(Index count, std::mt19937& random) {
  const std::vector<float> floats = test::normal_floats(count, random);
  return std::vector<T>(floats.begin(), floats.end());
}

/// weighted_sum of `heads` rows of weights, as out [heads, cols] with a gap behind each row, all poison before.
template <class T>
std::vector<float> sums_of(Isa isa, const std::vector<float>& weights, Index heads, const std::vector<T>& values,
                           Index rows, Index cols, Index piece) {
  const detail::Kernels& kernels = detail::kernels(isa);
  const Index weight_stride = static_cast<Index>(weights.size()) / heads;
  const Index stride = static_cast<Index>(values.size()) / rows;
  std::vector<float> out(static_cast<std::size_t>(heads * (cols + 3)), poison);
  for (Index r = 0; r < rows; r += piece) {
    const auto sum = [&](const auto& kernel) {
      kernel(weights.data() + r, weight_stride, heads, values.data() + r * stride, stride, std::min(piece, rows - r),
             cols, out.data(), cols + 3, r == 0 ? detail::Into::set : detail::Into::add);
    };
    if constexpr (std::is_same_v<T, Half>)
      sum(kernels.weighted_sum_f16);
    else
      sum(kernels.weighted_sum);
  }
  return out;
}

template <class T>
void check_weighted_sum(Index heads, Index rows, Index cols, std::mt19937& random) {
  const Index weight_stride = rows + 2;
  const Index stride = cols + 5;
  const std::vector<float> weights = test::normal_floats(heads * weight_stride, random);
  const std::vector<T> values = normal<T>(rows * stride, random);
  CAPTURE(heads);
  CAPTURE(rows);
  CAPTURE(cols);
  test::each_isa([&](Isa isa) {
    const std::vector<float> out = sums_of(isa, weights, heads, values, rows, cols, rows);
    CHECK(sums_of(isa, weights, heads, values, rows, cols, 7) == out);  // to be gone on with, in the same order
    for (Index h = 0; h < heads; ++h) {
      const std::vector<float> own(weights.begin() + h * weight_stride, weights.begin() + (h + 1) * weight_stride);
      const std::vector<float> alone = sums_of(isa, own, 1, values, rows, cols, rows);
      CHECK(std::equal(alone.begin(), alone.end(), out.begin() + h * (cols + 3)));
      for (Index c = 0; c < cols; ++c) {
        double sum = 0;
        double magnitude = 0;
        for (Index r = 0; r < rows; ++r) {
          const double term = static_cast<double>(own[static_cast<std::size_t>(r)]) *
                              static_cast<double>(static_cast<float>(values[static_cast<std::size_t>(r * stride + c)]));
          sum += term;
          magnitude += std::abs(term);
        }
        const double got = out[static_cast<std::size_t>(h * (cols + 3) + c)];
        CHECK(std::abs(got - sum) <= 1e-7 * static_cast<double>(rows + 2) * magnitude);
      }
      for (Index c = cols; c < cols + 3; ++c) CHECK(out[static_cast<std::size_t>(h * (cols + 3) + c)] == poison);
    }
  });
}

struct Shape {
  Index n, t, sharing, groups, D;
};

/// Keys and values as a cache has them, [t, groups, D], and queries and results with a gap behind each head.
template <class T>
void check_attention(const Shape& shape, const AttentionOptions& options, std::mt19937& random) {
  const Index n = shape.n, t = shape.t, groups = shape.groups, D = shape.D;  // clang 14 captures no bindings
  const Index heads = groups * shape.sharing;
  const Index gap = D + 3;
  const std::vector<float> q_memory = test::normal_floats(n * heads * gap, random);
  const std::vector<T> keys = normal<T>(t * groups * D, random);
  const std::vector<T> values = normal<T>(t * groups * D, random);
  const std::vector<float> k(keys.begin(), keys.end());
  const std::vector<float> v(values.begin(), values.end());
  const test::Heads q(q_memory.data(), {n, heads, D}, {heads * gap, gap, 1});
  const std::vector<double> expected =
      test::attention(q, test::Heads(k.data(), {t, groups, D}), test::Heads(v.data(), {t, groups, D}), options);
  CAPTURE(t);
  CAPTURE(shape.sharing);
  CAPTURE(groups);
  CAPTURE(D);
  test::each_isa([&](Isa isa) {
    std::vector<float> of_one;
    for (const int threads : {1, 2, 3, 7}) {
      Execution<Host> execution(threads, isa);
      std::vector<float> out(q_memory.size(), poison);
      const AttentionPart<Host, T> part{q,
                                        {keys.data(), {t, groups, D}},
                                        {values.data(), {t, groups, D}},
                                        {out.data(), {n, heads, D}, {heads * gap, gap, 1}}};
      attention(execution, std::span(&part, 1), options);
      if (threads > 1) {
        CHECK(out == of_one);
        continue;
      }
      of_one = out;
      double worst = 0;
      bool kept = true;
      for (Index row = 0; row < n * heads; ++row)
        for (Index c = 0; c < gap; ++c) {
          const float got = out[static_cast<std::size_t>(row * gap + c)];
          if (c < D)
            worst =
                std::max(worst, std::abs(static_cast<double>(got) - expected[static_cast<std::size_t>(row * D + c)]));
          else
            kept = kept && got == poison;
        }
      CHECK(worst <= 4e-6);
      CHECK(kept);
    }
  });
}

}  // namespace

TEST_CASE("weighted sums of any number of heads: each is what it is alone, and what double makes of it") {
  std::mt19937 random(21);
  for (Index heads = 1; heads <= 13; ++heads)
    for (const Index cols : {1, 7, 16, 24, 64, 80, 131}) {
      check_weighted_sum<float>(heads, 19, cols, random);
      check_weighted_sum<Half>(heads, 19, cols, random);
    }
  for (const Index rows : {1, 2, 16, 40}) {
    check_weighted_sum<float>(3, rows, 96, random);
    check_weighted_sum<Half>(4, rows, 96, random);
  }
}

TEST_CASE("few queries: any number of heads that share keys, of groups in a pass, of positions in a step") {
  std::mt19937 random(22);
  for (Index sharing = 1; sharing <= 9; ++sharing) {
    check_attention<float>({1, 35, sharing, 3, 64}, {}, random);
    check_attention<Half>({2, 18, sharing, 5, 24}, {}, random);
  }
  for (const Index t : {1, 2, 15, 16, 17, 32, 33, 100}) {
    check_attention<float>({1, t, 3, 3, 80}, {}, random);
    check_attention<Half>({1, t, 2, 2, 67}, {}, random);
  }
  for (const Index groups : {1, 2, 4, 5, 8})  // one, some and all of them in a pass
    for (const Index D : {10, 96, 130, 300}) check_attention<float>({3, 20, 2, groups, D}, {.window = 17}, random);
}

TEST_CASE("parts of any lengths get the heads of their rows computed once, whatever the workers' shares") {
  std::mt19937 random(23);
  const Index D = 8;
  const Index lengths[] = {1, 200, 3, 3, 90, 1, 17, 64};
  std::vector<std::vector<float>> memory;
  std::vector<AttentionPart<>> parts;
  std::vector<std::vector<double>> expected;
  std::vector<std::vector<float>> out(std::size(lengths));
  for (const Index t : lengths) {
    const Index n = std::min<Index>(t, 3);
    std::vector<float>& results = out[parts.size()];
    results.resize(static_cast<std::size_t>(n * 6 * D));
    memory.push_back(test::normal_floats(n * 6 * D, random));
    const test::Heads q(memory.back().data(), {n, 6, D});
    memory.push_back(test::normal_floats(t * 2 * D, random));
    const test::Heads k(memory.back().data(), {t, 2, D});
    memory.push_back(test::normal_floats(t * 2 * D, random));
    const test::Heads v(memory.back().data(), {t, 2, D});
    expected.push_back(test::attention(q, k, v));
    parts.push_back({q, k, v, {results.data(), {n, 6, D}}});
  }
  for (int threads = 1; threads <= 24; ++threads) {
    Execution<Host> execution(threads);
    for (std::vector<float>& results : out) std::ranges::fill(results, poison);
    attention(execution, parts);
    double worst = 0;
    for (std::size_t p = 0; p < parts.size(); ++p)
      for (std::size_t i = 0; i < out[p].size(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(out[p][i]) - expected[p][i]));
    CAPTURE(threads);
    CHECK(worst <= 4e-6);
  }
}
