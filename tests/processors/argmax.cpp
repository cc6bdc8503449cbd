// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/argmax.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <random>
#include <vector>

#include "processors/reference.hpp"

using namespace activation_trace;
using activation_trace::test::kInfinity;

TEST_CASE("the first of the largest, at every length and place") {
  std::mt19937 random(31);
  for (std::size_t size = 1; size < 70; ++size)
    for (std::size_t at = 0; at < size; ++at) {
      std::vector<float> x(size);
      for (float& value : x) value = -static_cast<float>(random() % 1000) - 1;
      x[at] = 0;
      if (at + 3 < size) x[at + 3] = 0;
      CHECK(argmax(x) == static_cast<Index>(at));
    }
}

TEST_CASE("-inf is an ordinary number, NaN and +inf are not") {
  CHECK(argmax(std::vector<float>{-kInfinity, -3e38f, -kInfinity}) == 1);
  std::vector<float> x(40, 1.0f);
  x[37] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH_AS((void)argmax(x), "logits: [37] is nan", ArgumentError);
  x[37] = 1;
  x[3] = kInfinity;
  CHECK_THROWS_WITH_AS((void)argmax(x), "logits: [3] is inf", ArgumentError);
  CHECK_THROWS_AS((void)argmax(std::vector<float>(20, -kInfinity)), ArgumentError);
  CHECK_THROWS_AS((void)argmax({}), ArgumentError);
}
