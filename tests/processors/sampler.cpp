// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/sampler.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

using namespace activation_trace;

namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("the place drawn is where the cumulative probability passes the number") {
  // Probabilities 1/8, 1/2, 0, 1/4, 1/8.
  const float l = std::log(2.0f);
  const std::vector<float> scores{5 - 3 * l, 5 - l, kMasked, 5 - 2 * l, 5 - 3 * l};
  const auto at = [&](double uniform) { return Sampler(0).draw(scores, uniform); };
  CHECK(at(0) == 0);
  CHECK(at(0.124) == 0);
  CHECK(at(0.126) == 1);
  CHECK(at(0.624) == 1);
  CHECK(at(0.626) == 3);  // the masked one has no width
  CHECK(at(0.874) == 3);
  CHECK(at(0.876) == 4);
  CHECK(at(std::nextafter(1.0, 0.0)) == 4);
}

TEST_CASE("what is masked is never drawn, not even at the ends") {
  const std::vector<float> scores{kMasked, 3, kMasked};
  CHECK(Sampler(0).draw(scores, 0) == 1);
  CHECK(Sampler(0).draw(scores, std::nextafter(1.0, 0.0)) == 1);
  // So far below the best that their weight is 0 in double: as masked.
  CHECK(Sampler(0).draw(std::vector<float>{-2000, 3, -2000}, 0) == 1);
}

TEST_CASE("a constant added to all scores changes nothing") {
  for (const float shift : {-1e4f, -64.0f, 1024.0f}) {
    Sampler plain(3);
    Sampler shifted(3);
    const std::vector<float> scores{0, 1, 0.5f, -2};
    std::vector<float> moved;
    for (const float s : scores) moved.push_back(s + shift);
    for (int i = 0; i < 200; ++i) CHECK(plain.draw(scores) == shifted.draw(moved));
  }
}

TEST_CASE("draws follow the distribution: chi-square of 100000 with a fixed seed") {
  const std::vector<float> scores{1, -0.5f, kMasked, 2, 0, -3, 1.5f};
  double total = 0;
  for (const float s : scores) total += std::exp(static_cast<double>(s));
  constexpr int draws = 100000;
  for (const std::uint64_t stream : {0u, 1u, 77u}) {
    Sampler sampler(12345, stream);
    std::vector<int> counts(scores.size());
    for (int i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(sampler.draw(scores))];
    double chi_square = 0;
    for (std::size_t v = 0; v < scores.size(); ++v) {
      const double expected = draws * std::exp(static_cast<double>(scores[v])) / total;
      if (expected == 0)
        CHECK(counts[v] == 0);
      else
        chi_square += (counts[v] - expected) * (counts[v] - expected) / expected;
    }
    CAPTURE(chi_square);
    CHECK(chi_square < 20.5);  // 5 degrees of freedom: exceeded once in 1000 seeds
  }
}

TEST_CASE("seed and stream decide the numbers; all 64 bits of both count") {
  std::set<double> first;
  for (const std::uint64_t seed : {0ull, 1ull, 1ull << 32, 1ull << 63})
    for (const std::uint64_t stream : {0ull, 1ull, 1ull << 32, 1ull << 63}) {
      Sampler a(seed, stream);
      Sampler b(seed, stream);
      for (int i = 0; i < 10; ++i) {
        const double x = a.next();
        CHECK(x == b.next());
        CHECK(x >= 0);
        CHECK(x < 1);
        if (i == 0) first.insert(x);
      }
    }
  CHECK(first.size() == 16);
}

TEST_CASE("the numbers are those of std::mt19937_64 with a std::seed_seq of the four halves") {
  std::seed_seq sequence{0x9abcdef0u, 0x12345678u, 7u, 0u};
  std::mt19937_64 random(sequence);
  Sampler sampler(0x123456789abcdef0ull, 7);
  for (int i = 0; i < 100; ++i) CHECK(sampler.next() == std::ldexp(static_cast<double>(random() >> 11), -53));
}

TEST_CASE("what cannot be drawn from is refused") {
  const auto draw = [](const std::vector<float>& scores, double uniform) {
    return static_cast<void>(Sampler(0).draw(scores, uniform));
  };
  CHECK_THROWS_WITH_AS(draw({}, 0), "scores: none is above -inf", ArgumentError);
  CHECK_THROWS_WITH_AS(draw({kMasked, kMasked}, 0), "scores: none is above -inf", ArgumentError);
  CHECK_THROWS_WITH_AS(draw({0, std::nanf("")}, 0), "scores: [1] is nan", ArgumentError);
  CHECK_THROWS_WITH_AS(draw({-kMasked}, 0), "scores: [0] is inf", ArgumentError);
  CHECK_THROWS_AS(draw({0}, 1), ArgumentError);
  CHECK_THROWS_AS(draw({0}, -0.1), ArgumentError);
}
