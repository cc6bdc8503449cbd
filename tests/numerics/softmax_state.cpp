// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/numerics/softmax_state.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "support/oracle.hpp"
#include "support/random_matrix.hpp"

using namespace activation_trace;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

// One chain of pushes.
SoftmaxState pushed(std::span<const float> logits) {
  SoftmaxState state;
  for (const float x : logits) state.push(x);
  return state;
}

// Parts of 512, merged: how long sequences are meant to be summed.
SoftmaxState state_of(std::span<const float> logits) {
  SoftmaxState state;
  for (std::size_t i = 0; i < logits.size(); i += 512)
    state.merge(pushed(logits.subspan(i, std::min<std::size_t>(512, logits.size() - i))));
  return state;
}

double oracle(const std::vector<float>& logits) {
  return test::entropy(std::vector<double>(logits.begin(), logits.end()));
}

bool same_bits(const SoftmaxState& a, const SoftmaxState& b) {
  return std::bit_cast<std::uint32_t>(a.max) == std::bit_cast<std::uint32_t>(b.max) &&
         std::bit_cast<std::uint32_t>(a.sum) == std::bit_cast<std::uint32_t>(b.sum) &&
         std::bit_cast<std::uint32_t>(a.weighted) == std::bit_cast<std::uint32_t>(b.weighted);
}

struct Data {
  std::string name;
  std::vector<float> logits;
};

// The kinds of numerics/README.md 2.
std::vector<Data> all_kinds(Index T) {
  std::mt19937 random(static_cast<unsigned>(T));
  std::vector<Data> kinds;
  for (const float deviation : {0.1f, 1.0f, 3.0f, 10.0f})
    kinds.push_back({"normal " + std::to_string(deviation), test::normal_floats(T, random, deviation)});
  for (const float mean : {100.0f, -100.0f, 1e4f, -1e4f})
    kinds.push_back({"offset " + std::to_string(mean), test::normal_floats(T, random, 1.0f, mean)});
  kinds.push_back({"all equal", std::vector<float>(static_cast<std::size_t>(T), 3.25f)});
  for (const float height : {30.0f, 200.0f, 3e38f}) {
    kinds.push_back({"spike " + std::to_string(height), test::normal_floats(T, random)});
    if (T > 0) kinds.back().logits[random() % kinds.back().logits.size()] = height;
  }
  kinds.push_back({"ascending", test::normal_floats(T, random, 3.0f)});
  std::sort(kinds.back().logits.begin(), kinds.back().logits.end());
  kinds.push_back({"descending", kinds.back().logits});
  std::reverse(kinds.back().logits.begin(), kinds.back().logits.end());
  kinds.push_back({"half -inf", test::normal_floats(T, random)});
  for (std::size_t i = 0; i < kinds.back().logits.size(); i += 2) kinds.back().logits[i] = -infinity;
  kinds.push_back({"float range", test::normal_floats(T, random, 1e38f)});
  kinds.push_back({"denormal", test::normal_floats(T, random, 1e-41f)});
  return kinds;
}

}  // namespace

TEST_CASE("entropy agrees with the definition in double, whatever the data") {
  for (const Index T : {1, 2, 31, 32, 33, 255, 512, 1000, 2048, 8192}) {
    for (const Data& data : all_kinds(T)) {
      const std::vector<float>& logits = data.logits;
      CAPTURE(T);
      CAPTURE(data.name);
      const double expected = oracle(logits);
      const float actual = state_of(logits).entropy();
      if (std::isnan(expected)) {
        CHECK(std::isnan(actual));
      } else {
        CHECK(std::abs(static_cast<double>(actual) - expected) <= 5e-6);
        CHECK(actual >= 0.0f);
        CHECK(std::abs(static_cast<double>(pushed(logits).entropy()) - expected) <= (T <= 1000 ? 5e-6 : 2e-5));
      }
    }
  }
}

TEST_CASE("in double, of a sequence that is all there or pushed: entropy and probabilities by their definitions") {
  for (const Index T : {1, 2, 33, 1000, 8192}) {
    for (const Data& data : all_kinds(T)) {
      CAPTURE(T);
      CAPTURE(data.name);
      const std::vector<double> logits(data.logits.begin(), data.logits.end());
      const auto state = BasicSoftmaxState<double>::of(logits.size(), [&](std::size_t i) { return logits[i]; });
      BasicSoftmaxState<double> one_by_one;
      for (const double x : logits) one_by_one.push(x);
      const double expected = test::entropy(logits);
      if (std::isnan(expected)) {
        CHECK(std::isnan(state.entropy()));
        continue;
      }
      // A sum of T terms of relative error 2^-52, against its own size and the maximum's.
      const double bound = 0x1p-50 * static_cast<double>(T + 8) * (1 + expected);
      CHECK(std::abs(state.entropy() - expected) <= bound);
      CHECK(std::abs(one_by_one.entropy() - expected) <= bound);
      double sum = 0;
      double log_sum = 0;
      for (const double x : logits) {
        sum += state.probability(x);
        if (x > -static_cast<double>(infinity)) log_sum += state.probability(x) * (x - state.log_sum_exp());
      }
      CHECK(std::abs(sum - 1) <= bound);
      if (std::abs(state.max) < 1e3) CHECK(std::abs(log_sum + expected) <= 1e-10);
    }
  }
  const std::vector<double> bad{1.0, std::nan("")};
  CHECK(std::isnan(BasicSoftmaxState<double>::of(2, [&](std::size_t i) { return bad[i]; }).entropy()));
}

TEST_CASE("closed forms") {
  const auto log_of = [](int n) { return std::log(static_cast<double>(n)); };
  CHECK(state_of(std::vector<float>(512, -7.0f)).entropy() == doctest::Approx(log_of(512)).epsilon(1e-6));
  // n equal spikes far above the rest
  std::vector<float> spikes(1000, 0.0f);
  for (const std::size_t i : {1u, 500u, 999u}) spikes[i] = 100.0f;
  CHECK(state_of(spikes).entropy() == doctest::Approx(log_of(3)).epsilon(1e-6));
  CHECK(state_of(spikes).log_sum_exp() == doctest::Approx(100 + log_of(3)).epsilon(1e-6));
  CHECK(state_of(std::vector<float>{42.0f}).entropy() == 0.0f);
  // Two levels: p of the upper one.
  const double p = 1 / (1 + std::exp(-2.0));
  const std::vector<float> two_levels{5.0f, 3.0f};
  CHECK(state_of(two_levels).entropy() == doctest::Approx(-p * std::log(p) - (1 - p) * std::log(1 - p)).epsilon(1e-6));
  // One spike of 30: E is about 512 * 30 e^-30 = 1.5e-9, and the exact-difference form resolves it.
  std::vector<float> spike(512, 0.0f);
  spike[77] = 30.0f;
  CHECK(std::abs(static_cast<double>(state_of(spike).entropy()) - oracle(spike)) < 1e-9);
}

TEST_CASE("an empty state") {
  const SoftmaxState empty;
  CHECK(empty.empty());
  CHECK(std::isnan(empty.entropy()));
  CHECK(empty.log_sum_exp() == -infinity);
  SoftmaxState state = state_of(std::vector<float>{-infinity, -infinity});
  CHECK(same_bits(state, empty));
  state.merge(empty);
  CHECK(same_bits(state, empty));
  const SoftmaxState three = state_of(std::vector<float>{1, 2, 3});
  state.merge(three);
  CHECK(same_bits(state, three));
  state.merge(empty);
  CHECK(same_bits(state, three));
}

TEST_CASE("NaN and +inf poison a state for good, through every order of push and merge") {
  for (const float poison : {not_a_number, infinity}) {
    for (const std::vector<float>& logits :
         {std::vector<float>{poison}, std::vector<float>{poison, 1, 3e38f}, std::vector<float>{1, poison, -infinity},
          std::vector<float>{-3e38f, 3e38f, poison}}) {
      const SoftmaxState poisoned = state_of(logits);
      CHECK(std::isnan(poisoned.entropy()));
      for (const std::vector<float>& others : {std::vector<float>{}, std::vector<float>{-1e30f},
                                               std::vector<float>{1e30f}, std::vector<float>{3e38f, -infinity}}) {
        SoftmaxState state = state_of(others);
        state.merge(poisoned);
        CHECK(std::isnan(state.entropy()));
        state = poisoned;
        state.merge(state_of(others));
        CHECK(std::isnan(state.entropy()));
      }
    }
  }
}

TEST_CASE("splitting and merging, permuting, shifting, doubling") {
  std::mt19937 random(7);
  for (const Data& data : all_kinds(777)) {
    const std::vector<float>& logits = data.logits;
    CAPTURE(data.name);
    const double expected = oracle(logits);
    if (std::isnan(expected)) continue;
    // Random parts, some empty, merged in order; and a tree of single elements.
    for (int trial = 0; trial < 5; ++trial) {
      SoftmaxState whole;
      for (std::size_t begin = 0; begin < logits.size();) {
        const std::size_t length = std::min<std::size_t>(random() % 200, logits.size() - begin);
        const SoftmaxState part = state_of(std::span(logits).subspan(begin, length));
        SoftmaxState swapped = part;
        swapped.merge(whole);
        whole.merge(part);
        CHECK(same_bits(whole, swapped));
        begin += length;
      }
      CHECK(std::abs(static_cast<double>(whole.entropy()) - expected) <= 5e-6);
    }
    std::vector<float> changed = logits;
    std::shuffle(changed.begin(), changed.end(), random);
    CHECK(std::abs(static_cast<double>(state_of(changed).entropy()) - expected) <= 5e-6);
    SoftmaxState doubled = state_of(logits);
    doubled.merge(state_of(logits));
    CHECK(std::abs(static_cast<double>(doubled.entropy()) - expected - std::log(2.0)) <= 5e-6);
  }
  const std::vector<float> logits = test::normal_floats(300, random);
  std::vector<float> shifted = logits;  // by a power of two, far enough to matter and near enough to be exact
  for (float& x : shifted) x = std::round(x * 1024.0f) / 1024.0f;
  const float before = state_of(shifted).entropy();
  for (float& x : shifted) x += 4096.0f;
  CHECK(state_of(shifted).entropy() == before);
}
