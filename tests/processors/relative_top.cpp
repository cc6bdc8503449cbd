// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/relative_top.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <random>
#include <vector>

#include "reference.hpp"

using namespace activation_trace;

using activation_trace::test::kInfinity;

TEST_CASE("what is a tenth as likely as the best stays, what is less goes") {
  RelativeTopFilter filter;
  std::vector<float> lp{-1, -1 + std::log(0.1f), -3.4f, -5, -kInfinity};  // the second is the threshold itself
  filter.process(lp);
  CHECK(lp == std::vector<float>{-1, -1 + std::log(0.1f), -kInfinity, -kInfinity, -kInfinity});
}

TEST_CASE("relative_top 1 keeps the best and its equals, 0 keeps all") {
  std::vector<float> lp{-1, -2, -1, -kInfinity};
  std::vector<float> same = lp;
  RelativeTopFilter({.relative_top = 1}).process(lp);
  CHECK(lp == std::vector<float>{-1, -kInfinity, -1, -kInfinity});
  RelativeTopFilter({.relative_top = 0}).process(same);
  CHECK(same == std::vector<float>{-1, -2, -1, -kInfinity});
}

TEST_CASE("min_tokens_to_keep lowers the threshold to the k-th largest, and ties stay") {
  const std::vector<float> lp{-7, -1, -9, -5, -7, -30};
  const auto kept = [&](Index k) {
    std::vector<float> x = lp;
    RelativeTopFilter({.relative_top = 0.5f, .min_tokens_to_keep = k}).process(x);
    return std::count_if(x.begin(), x.end(), [](float v) { return v > -kInfinity; });
  };
  CHECK(kept(1) == 1);
  CHECK(kept(2) == 2);
  CHECK(kept(3) == 4);  // -7 twice
  CHECK(kept(4) == 4);
  CHECK(kept(6) == 6);
  CHECK(kept(7) == 6);  // fewer than k are there
}

TEST_CASE("the k-th largest of random numbers is that of sorting") {
  std::mt19937 random(1);
  for (Index k = 1; k <= 40; ++k) {
    std::vector<float> x = test::random_logits(random, 40);
    const float found = RelativeTopFilter({.relative_top = 1, .min_tokens_to_keep = k}).threshold(x);
    std::sort(x.rbegin(), x.rend());
    CHECK(found == x[static_cast<std::size_t>(k - 1)]);
  }
}

TEST_CASE("no entries, and options that cannot be") {
  RelativeTopFilter filter;
  filter.process({});
  CHECK_THROWS_AS(RelativeTopFilter({.relative_top = -0.1f}), ArgumentError);
  CHECK_THROWS_AS(RelativeTopFilter({.relative_top = 1.1f}), ArgumentError);
  CHECK_THROWS_AS(RelativeTopFilter({.relative_top = std::numeric_limits<float>::quiet_NaN()}), ArgumentError);
  CHECK_THROWS_WITH(RelativeTopFilter({.min_tokens_to_keep = 0}), "min_tokens_to_keep: expected at least 1, got 0");
}
