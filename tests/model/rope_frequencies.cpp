// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/model/rope_frequencies.hpp"

#include <doctest/doctest.h>

#include "support/reference_llama.hpp"

using namespace activation_trace;

namespace {

void check_against_reference(const RopeConfig& rope, Index head_dim) {
  const std::vector<float> frequencies = rope_frequencies(rope, head_dim);
  REQUIRE(static_cast<Index>(frequencies.size()) == head_dim / 2);
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    CAPTURE(j);
    const double expected = test::reference::frequency(rope, j, head_dim);
    // Both are computed in double; ours is rounded to float once.
    CHECK(std::abs(static_cast<double>(frequencies[j]) / expected - 1) <= 0x1.01p-24);
  }
}

}  // namespace

TEST_CASE("closed forms: theta^(-2j / D)") {
  RopeConfig rope;
  rope.theta = 16;
  CHECK(rope_frequencies(rope, 8) == std::vector<float>{1, 0.5f, 0.25f, 0.125f});
  rope.scaling = RopeScaling::linear;
  rope.factor = 4;
  CHECK(rope_frequencies(rope, 8) == std::vector<float>{0.25f, 0.125f, 0.0625f, 0.03125f});
  rope.divisors = {1, 2, 4, 8};
  CHECK(rope_frequencies(rope, 8) == std::vector<float>{0.25f, 0.0625f, 0.015625f, 0.00390625f});
}

TEST_CASE("default and llama3 scaling agree with the wavelength form of model/README.md 2") {
  RopeConfig rope;
  for (const float theta : {10000.0f, 100000.0f, 500000.0f}) {
    rope.theta = theta;
    rope.scaling = RopeScaling::none;
    check_against_reference(rope, 64);
    rope.scaling = RopeScaling::llama3;
    rope.factor = 8;
    rope.low_freq_factor = 1;
    rope.high_freq_factor = 4;
    rope.original_context = 8192;
    check_against_reference(rope, 128);
    rope.factor = 32;
    check_against_reference(rope, 64);
  }
}

TEST_CASE("llama3 keeps fast pairs, divides slow ones and blends between") {
  RopeConfig rope;
  rope.theta = 500000;
  rope.scaling = RopeScaling::llama3;
  rope.factor = 8;
  const std::vector<float> scaled = rope_frequencies(rope, 128);
  rope.scaling = RopeScaling::none;
  const std::vector<float> plain = rope_frequencies(rope, 128);
  CHECK(scaled.front() == plain.front());
  CHECK(scaled.back() == doctest::Approx(plain.back() / 8).epsilon(1e-6));
  int blended = 0;
  for (std::size_t j = 0; j < plain.size(); ++j) {
    CHECK(scaled[j] <= plain[j]);
    CHECK(scaled[j] >= plain[j] / 8 * 0.999999f);
    blended += scaled[j] < plain[j] * 0.999f && scaled[j] > plain[j] / 8 * 1.001f;
  }
  CHECK(blended > 0);
}

TEST_CASE("a part of a head has the frequencies of a head of its size, and long contexts have their own divisors") {
  RopeConfig rope{.theta = 16, .original_context = 100, .rotary_dim = 8};
  CHECK(rope_frequencies(rope, 12, 1000) == std::vector<float>{1, 0.5f, 0.25f, 0.125f});
  rope.divisors = {1, 2, 1, 2};
  rope.long_divisors = {1, 4, 8, 16};
  CHECK(rope_frequencies(rope, 12) == std::vector<float>{1, 0.25f, 0.25f, 0.0625f});
  CHECK(rope_frequencies(rope, 12, 100) == std::vector<float>{1, 0.25f, 0.25f, 0.0625f});
  CHECK(rope_frequencies(rope, 12, 101) == std::vector<float>{1, 0.125f, 0.03125f, 0.0078125f});
  rope.rotary_dim = 14;
  CHECK_THROWS_WITH_AS((void)rope_frequencies(rope, 12),
                       "rope_frequencies: rotary_dim must be even and in 0..head_dim, got 14", ArgumentError);
}

TEST_CASE("impossible head sizes and divisors are refused") {
  RopeConfig rope;
  CHECK_THROWS_WITH_AS((void)rope_frequencies(rope, 7), "rope_frequencies: head_dim must be positive and even, got 7",
                       ArgumentError);
  CHECK_THROWS_AS((void)rope_frequencies(rope, 0), ArgumentError);
  rope.divisors = {1, 1};
  CHECK_THROWS_WITH_AS((void)rope_frequencies(rope, 8), "rope_frequencies: expected 4 divisors, got 2", ArgumentError);
}
