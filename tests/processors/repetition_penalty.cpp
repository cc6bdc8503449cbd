// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/repetition_penalty.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "processors/reference.hpp"

using namespace activation_trace;

using activation_trace::test::kInfinity;

TEST_CASE("negative scores are multiplied and positive ones divided, once per token") {
  RepetitionPenalty penalty(2, 6);
  penalty.observe(std::vector<TokenId>{0, 1, 1, 3});
  penalty.observe(4);
  penalty.observe(1);
  std::vector<float> scores{3, -3, 5, 0, -kInfinity, -7};
  penalty.process(scores);
  CHECK(scores == std::vector<float>{1.5f, -6, 5, 0, -kInfinity, -7});
}

TEST_CASE("a candidate list in any order gets what the full row gets") {
  RepetitionPenalty penalty(1.2f, 6);
  penalty.observe(std::vector<TokenId>{5, 2});
  const std::vector<float> row{1, -2, 3, 4, -5, -6};
  std::vector<float> full = row;
  penalty.process(full);
  const std::vector<TokenId> ids{5, 0, 2, 4};
  std::vector<float> scores;
  for (const TokenId id : ids) scores.push_back(row[static_cast<std::size_t>(id)]);
  penalty.process(ids, scores);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    CHECK(scores[i] == full[static_cast<std::size_t>(ids[i])]);
    CHECK(penalty.penalised(ids[i], row[static_cast<std::size_t>(ids[i])]) == scores[i]);
  }
}

TEST_CASE("a penalty of 1 and a reset change nothing") {
  std::vector<float> scores{1, -2};
  RepetitionPenalty none(1, 2);
  none.observe(std::vector<TokenId>{0, 1});
  none.process(scores);
  RepetitionPenalty penalty(3, 2);
  penalty.observe(std::vector<TokenId>{0, 1});
  penalty.reset();
  penalty.process(scores);
  CHECK(scores == std::vector<float>{1, -2});
  penalty.observe(1);
  penalty.process(scores);
  CHECK(scores == std::vector<float>{1, -6});
}

TEST_CASE("what cannot be is refused by name") {
  for (const float p : {0.0f, -1.0f, kInfinity, std::numeric_limits<float>::quiet_NaN()})
    CHECK_THROWS_AS(RepetitionPenalty(p, 4), ArgumentError);
  RepetitionPenalty penalty(1.5f, 4);
  CHECK_THROWS_WITH(penalty.observe(4), "RepetitionPenalty: token id 4 is not in the vocabulary of 4");
  CHECK_THROWS_AS(penalty.observe(-1), ArgumentError);
  std::vector<float> three(3);
  CHECK_THROWS_AS(penalty.process(three), ShapeError);
  CHECK_THROWS_AS(penalty.process(std::vector<TokenId>{1}, three), ShapeError);
  CHECK_THROWS_AS(penalty.process(std::vector<TokenId>{1, 2, 9}, three), ArgumentError);
}
