// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/candidates.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <span>
#include <vector>

#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/processor_chain.hpp"
#include "activation_trace/processors/temperature.hpp"
#include "activation_trace/processors/top_k.hpp"
#include "reference.hpp"

using namespace activation_trace;
using activation_trace::test::Matrix;
using activation_trace::test::random_logits;
using activation_trace::test::random_matrix;

namespace {

struct Entry {
  TokenId id;
  float logit;
  float p;
};

struct HalfEntry {
  TokenId id;
  Half logit;
  Half p;
};

}  // namespace

TEST_CASE("an array of structs, shuffled, gets the scores of two arrays, and its other members stay") {
  constexpr Index vocab = 90;
  std::mt19937 random(81);
  const Matrix hidden = random_matrix(random, 12, 8, 1);
  const Matrix w = random_matrix(random, vocab, 8, 1);
  const std::vector<float> logits = random_logits(random, vocab);
  EntropySharpnessProcessor processor;
  processor.observe_context(hidden.view(), w.view());
  std::vector<float> expected = logits;
  const TokenId best = processor.process(expected).best;

  std::vector<Entry> entries;
  std::vector<HalfEntry> halves;
  for (TokenId v = 0; v < vocab; ++v) {
    entries.push_back({v, logits[static_cast<std::size_t>(v)], static_cast<float>(v)});
    halves.push_back({v, Half(logits[static_cast<std::size_t>(v)]), Half(7.0f)});
  }
  std::shuffle(entries.begin(), entries.end(), random);
  CandidateBuffer buffer;
  const SharpnessRecord& record =
      buffer.process(processor, candidates_of(std::span(entries), &Entry::id, &Entry::logit));
  CHECK(record.best == best);
  CHECK(&record == &processor.record());
  for (const Entry& entry : entries) {
    CHECK(entry.p == static_cast<float>(entry.id));
    const float wanted = expected[static_cast<std::size_t>(entry.id)];
    CHECK((entry.logit == wanted || std::abs(entry.logit - wanted) < 1e-5f));
  }

  // Of 16 bits: what the widened numbers give, rounded.
  std::vector<float> wide;
  for (const HalfEntry& entry : halves) wide.push_back(entry.logit);
  processor.process(wide);
  buffer.process(processor, candidates_of(std::span(halves), &HalfEntry::id, &HalfEntry::logit));
  for (std::size_t v = 0; v < halves.size(); ++v) {
    CHECK(halves[v].logit.bits == Half(wide[v]).bits);
    CHECK(halves[v].p.bits == Half(7.0f).bits);
  }
}

TEST_CASE("a chain on every second score of a row, tight rows as they are, and what fails changes nothing") {
  std::vector<float> row{4, -1, 1, -1, 3, -1, 2, -1};
  ProcessorChain chain;
  chain.add("temperature", Temperature(0.5f)).add("top_k", TopK(2));
  CandidateBuffer buffer;
  buffer.process(chain, Candidates<float>{{}, {row.data(), {4}, {2}}});
  constexpr float masked = -std::numeric_limits<float>::infinity();
  CHECK(row == std::vector<float>{8, -1, masked, -1, 6, -1, masked, -1});
  std::vector<float> tight{1, 2, 3};
  const std::vector<TokenId> ids{5, 6, 7};
  buffer.process(chain, Candidates<float>{ids, tight});
  CHECK(tight == std::vector<float>{masked, 4, 6});
  CHECK_THROWS_WITH_AS(buffer.process(chain, Candidates<float>{ids, row}), "candidates: got 8 scores for 3 ids",
                       ShapeError);
  const std::vector<float> before = row = {1, 0, test::kNaN, 0};
  EntropySharpnessProcessor processor;
  const Matrix one{1, 1, {1.0f}};
  const Matrix head{2, 1, {1.0f, 2.0f}};
  processor.observe_context(one.view(), head.view());
  CHECK_THROWS_AS(buffer.process(processor, Candidates<float>{{}, {row.data(), {2}, {2}}}), ArgumentError);
  CHECK(row[0] == 1);
  CHECK(row[1] == 0);
}

TEST_CASE("states of 16 bits are widened in the order of rows, whatever their strides") {
  std::vector<BFloat16> states;
  for (const float x : {1.0f, 2.0f, 9.0f, 3.0f, 4.0f, 9.0f}) states.emplace_back(x);
  CHECK(widened(MatrixView<const BFloat16>(states.data(), {2, 2}, {3, 1})) == std::vector<float>{1, 2, 3, 4});
  const std::vector<Half> half{Half(0.5f), Half(-2.0f)};
  CHECK(widened(MatrixView<const Half>(half.data(), {1, 2})) == std::vector<float>{0.5f, -2.0f});
}
