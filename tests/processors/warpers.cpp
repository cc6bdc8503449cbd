// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "activation_trace/processors/min_p.hpp"
#include "activation_trace/processors/processor_chain.hpp"
#include "activation_trace/processors/temperature.hpp"
#include "activation_trace/processors/top_k.hpp"
#include "activation_trace/processors/top_p.hpp"
#include "activation_trace/processors/typical.hpp"
#include "processors/reference.hpp"

// temperature.hpp, top_k.hpp, top_p.hpp, min_p.hpp, typical.hpp
using namespace activation_trace;
using activation_trace::test::kInfinity;
using activation_trace::test::kNaN;

namespace activation_trace::test {

// What each warper keeps, by sorting everything, in double precision. Of equals the lower id goes first.
struct WarperOracle {
  std::string name;
  double value;
  std::size_t keep;

  [[nodiscard]] std::vector<bool> kept(const std::vector<float>& scores) const {
    std::vector<bool> result(scores.size());
    std::vector<std::size_t> order;
    for (std::size_t v = 0; v < scores.size(); ++v)
      if (scores[v] > -kInfinity) order.push_back(v);
    if (order.empty()) return result;
    const std::vector<double> lp = reference_log_softmax(scores);
    double entropy = 0;
    for (const std::size_t v : order) entropy -= std::exp(lp[v]) * lp[v];
    std::vector<double> key;
    for (const double x : lp) key.push_back(name == "typical" ? std::abs(-x - entropy) : -x);
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      if (key[a] != key[b]) return key[a] < key[b];
      return a < b;
    });
    double mass = 0;
    double last = 0;  // typical: the key that stays
    bool reached = false;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::size_t v = order[i];
      bool keeps = i < keep;
      if (name == "top_k")
        keeps = key[v] <= key[order[std::min(std::max(static_cast<std::size_t>(value), keep), order.size()) - 1]];
      if (name == "min_p")
        keeps |=
            std::exp(lp[v]) >= value * std::exp(lp[order[0]]) || key[v] <= key[order[std::min(keep, order.size()) - 1]];
      if (name == "top_p") keeps |= mass < value;
      mass += std::exp(lp[v]);
      if (name == "typical") {
        keeps |= !reached || key[v] <= last;
        if (!reached) last = key[v];
        reached |= mass >= value;
      }
      result[v] = keeps;
    }
    return result;
  }

  [[nodiscard]] ProcessorChain processor() const {
    const auto least = static_cast<Index>(keep);
    const auto number = static_cast<float>(value);
    ProcessorChain chain;
    if (name == "top_k") chain.add(name, TopK(static_cast<Index>(value), least));
    if (name == "top_p") chain.add(name, TopP(number, least));
    if (name == "min_p") chain.add(name, MinP(number, least));
    if (name == "typical") chain.add(name, Typical(number, least));
    return chain;
  }
};

inline std::vector<bool> not_masked(std::span<const float> scores) {
  std::vector<bool> result;
  for (const float x : scores) result.push_back(x > -kInfinity);
  return result;
}

}  // namespace activation_trace::test

using activation_trace::test::WarperOracle;

TEST_CASE("warpers keep what Hugging Face's keep, ties included") {
  std::ifstream file(std::string(ACTIVATION_TRACE_TEST_DATA) + "/golden/warpers.txt");
  REQUIRE(file);
  int cases = 0;
  for (std::string head, row, ids; std::getline(file, head) && std::getline(file, row) && std::getline(file, ids);) {
    std::string empty;
    std::getline(file, empty);
    WarperOracle warper{};
    std::istringstream(head) >> warper.name >> warper.value >> warper.keep;
    std::vector<float> scores;
    std::istringstream numbers(row);
    for (std::string number; numbers >> number;) scores.push_back(std::stof(number));
    // Which of equals are kept is up to an unstable sort there, so scores are compared, not ids.
    std::vector<float> expected;
    std::istringstream kept(ids);
    for (std::size_t id = 0; kept >> id;) expected.push_back(scores[id]);
    warper.processor().process(scores);
    std::vector<float> got;
    std::copy_if(scores.begin(), scores.end(), std::back_inserter(got), [](float x) { return x > -kInfinity; });
    std::sort(expected.begin(), expected.end());
    std::sort(got.begin(), got.end());
    // Of the equals at the border of min_tokens_to_keep min-p picks some there; here all of them stay.
    if (warper.name == "min_p" && warper.keep > 1)
      while (expected.size() < got.size() && got[0] == expected[0]) got.erase(got.begin());
    CAPTURE(head);
    CAPTURE(row);
    CHECK(got == expected);
    ++cases;
  }
  CHECK(cases > 250);
}

TEST_CASE(
    "warpers keep what sorting keeps, on rows, on shuffled lists, with a constant added and with masked entries") {
  std::mt19937 random(61);
  for (const char* name : {"top_k", "top_p", "min_p", "typical"})
    for (const double value : {0.03, 0.25, 0.5, 0.75, 0.96875})
      for (const std::size_t keep : {1u, 2u, 50u})
        for (const Index V : {1, 2, 3, 40, 2000}) {
          const bool top_k = std::string(name) == "top_k";
          // As the processors see it: a float.
          const WarperOracle warper{
              name, top_k ? std::round(value * 40 + 1) : static_cast<double>(static_cast<float>(value)), keep};
          CAPTURE(name);
          CAPTURE(value);
          CAPTURE(keep);
          CAPTURE(V);
          std::vector<float> row = test::random_logits(random, V);
          for (float& x : row) x = std::round(x * 32) / 32;  // ties, and exact sums
          if (V > 2)
            for (std::size_t v = 0; v < row.size(); v += 5) row[v] = -kInfinity;
          ProcessorChain processor = warper.processor();
          std::vector<float> scores = row;
          processor.process(scores);
          CHECK(test::not_masked(scores) == warper.kept(row));
          const test::ShuffledRow list(random, row);
          std::vector<float> listed = list.scores;
          processor.process(list.ids, listed);
          CHECK(listed == list.pick(scores));
          std::vector<float> shifted = row;
          for (float& x : shifted) x += 64;
          processor.process(shifted);
          CHECK(test::not_masked(shifted) == test::not_masked(scores));
        }
}

TEST_CASE("warpers at their limits") {
  for (const WarperOracle& warper :
       {WarperOracle{"top_k", 1, 1}, WarperOracle{"top_p", 0, 1}, WarperOracle{"min_p", 1, 1}}) {
    std::vector<float> scores{1, 3, 2};
    warper.processor().process(scores);
    CHECK(scores == std::vector<float>{-kInfinity, 3, -kInfinity});
  }
  for (const WarperOracle& warper : {WarperOracle{"top_k", 3, 1}, WarperOracle{"top_p", 1, 1},
                                     WarperOracle{"min_p", 0, 1}, WarperOracle{"typical", 0.5, 9}}) {
    std::vector<float> scores{1, -200, 2};
    warper.processor().process(scores);
    CHECK(scores == std::vector<float>{1, -200, 2});
  }
  for (const WarperOracle& warper : {WarperOracle{"top_k", 2, 1}, WarperOracle{"top_p", 0.5, 2},
                                     WarperOracle{"min_p", 0.5, 2}, WarperOracle{"typical", 0.5, 2}}) {
    ProcessorChain processor = warper.processor();
    std::vector<float> none(3, -kInfinity);
    processor.process(none);
    CHECK(none == std::vector<float>(3, -kInfinity));
    processor.process(std::span<float>());
    for (const float bad : {kNaN, kInfinity}) {
      std::vector<float> scores{1, bad, 2};
      CHECK_THROWS_AS(processor.process(scores), ArgumentError);
      CHECK(scores[2] == 2);
      CHECK_THROWS_AS(processor.process(std::vector<TokenId>{1}, scores), ShapeError);
    }
  }
  std::vector<float> equal{2, 2};
  TopP(0.5f).process(equal);  // which one of them reaches
  CHECK(equal == std::vector<float>{2, -kInfinity});
  CHECK_THROWS_WITH_AS(TopK(0), "top_k: expected at least 1, got 0", ArgumentError);
  CHECK_THROWS_AS(TopK(1, 0), ArgumentError);
  for (const float bad : {-0.1f, 1.1f, kNaN}) {
    CHECK_THROWS_AS(TopP{bad}, ArgumentError);
    CHECK_THROWS_AS(MinP{bad}, ArgumentError);
    CHECK_THROWS_AS(Typical{bad}, ArgumentError);
  }
  CHECK_THROWS_WITH_AS(MinP(2), "min_p: expected a number in [0, 1], got 2.000000", ArgumentError);
  CHECK_THROWS_AS(Typical(0), ArgumentError);
  CHECK_THROWS_AS(Typical(1), ArgumentError);
  CHECK_THROWS_AS(TopP(0.5f, 0), ArgumentError);
}

TEST_CASE("a temperature divides, and nothing else") {
  std::vector<float> scores{1, -3, 0, -kInfinity, 7};
  Temperature(2).process(scores);
  CHECK(scores == std::vector<float>{0.5f, -1.5f, 0, -kInfinity, 3.5f});
  Temperature(1).process(std::vector<TokenId>{9, 3, 4, 1, 2}, scores);
  CHECK(scores == std::vector<float>{0.5f, -1.5f, 0, -kInfinity, 3.5f});
  Temperature(0.25f).process(std::vector<TokenId>{9, 3, 4, 1, 2}, scores);
  CHECK(scores == std::vector<float>{2, -6, 0, -kInfinity, 14});
  for (const float bad : {0.0f, -1.0f, kNaN, kInfinity}) CHECK_THROWS_AS(Temperature{bad}, ArgumentError);
  CHECK_THROWS_AS(Temperature(2).process(std::vector<TokenId>{1}, scores), ShapeError);
}

TEST_CASE("every positive temperature gives the probabilities of the exact quotients") {
  const float most = std::numeric_limits<float>::max();
  const std::vector<std::vector<float>> rows{
      {18, 17.5f, -30, 18, -kInfinity, 3},
      {-18, -17.5f, -30, -kInfinity},                // all below 0: quotients overflow downwards
      {20, std::nextafter(20.0f, 0.0f), 19},         // neighbours
      {most, -most, 0, std::nextafter(most, 0.0f)},  // a difference that no float holds
      {0, -0.0f, -std::numeric_limits<float>::denorm_min()},
      {5}};
  for (const float temperature : {std::numeric_limits<float>::denorm_min(), 1e-38f, 1e-30f, 1e-6f, 0.004f, 0.02f, 0.5f,
                                  0.999f, 1.0f, 1.5f, 1e30f, most})
    for (const std::vector<float>& row : rows) {
      CAPTURE(temperature);
      CAPTURE(row[0]);
      std::vector<float> scores = row;
      Temperature(temperature).process(scores);
      const double best = static_cast<double>(*std::max_element(row.begin(), row.end()));
      const double largest = static_cast<double>(*std::max_element(scores.begin(), scores.end()));
      REQUIRE(std::isfinite(largest));
      for (std::size_t v = 0; v < row.size(); ++v) {
        const double exact = std::exp((static_cast<double>(row[v]) - best) / static_cast<double>(temperature));
        CHECK(std::exp(static_cast<double>(scores[v]) - largest) == doctest::Approx(exact).epsilon(2e-4));
      }
    }
}
