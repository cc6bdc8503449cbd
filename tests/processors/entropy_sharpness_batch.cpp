// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/entropy_sharpness_batch.hpp"

#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "reference.hpp"

using namespace activation_trace;
using activation_trace::test::Matrix;
using activation_trace::test::random_matrix;

TEST_CASE("ragged contexts: each row is what its sequence gives alone") {
  std::mt19937 random(21);
  const Index vocab = 75;
  const Matrix w = random_matrix(random, vocab, 12, 1);
  const std::vector<Matrix> contexts{random_matrix(random, 1, 12, 1), random_matrix(random, 40, 12, 1),
                                     random_matrix(random, 7, 12, 1)};
  Execution<Host> execution(2);
  EntropySharpnessBatch batch(3, {.alpha = 0.8f}, execution);
  for (Index b = 0; b < 3; ++b) batch[b].observe_context(contexts[static_cast<std::size_t>(b)].view(), w.view());
  for (int step = 0; step < 4; ++step) {
    Matrix logits = random_matrix(random, 3, vocab, 2);
    const Matrix before = logits;
    batch.process({logits.data.data(), {3, vocab}});
    for (Index b = 0; b < 3; ++b) {
      EntropySharpnessProcessor alone({.alpha = 0.8f});
      alone.observe_context(contexts[static_cast<std::size_t>(b)].view(), w.view());
      std::vector<float> row(before.data.begin() + b * vocab, before.data.begin() + (b + 1) * vocab);
      alone.process(row);
      CHECK(row == std::vector<float>(logits.data.begin() + b * vocab, logits.data.begin() + (b + 1) * vocab));
      CHECK(batch[b].record().best == alone.record().best);
    }
  }
}

TEST_CASE("a sequence that ends makes room for another") {
  std::mt19937 random(22);
  const Matrix w = random_matrix(random, 9, 4, 1);
  const Matrix first = random_matrix(random, 5, 4, 1);
  const Matrix second = random_matrix(random, 3, 4, 1);
  EntropySharpnessBatch batch(2);
  batch[0].observe_context(first.view(), w.view());
  batch[1].observe_context(first.view(), w.view());
  batch[1].reset();
  batch[1].observe_context(second.view(), w.view());
  CHECK(batch[0].context_size() == 5);
  CHECK(batch[1].context_size() == 3);
  CHECK(static_cast<double>(batch[1].entropy()[8]) ==
        doctest::Approx(test::reference_entropy(second, w, 8, 0, 3)).epsilon(1e-5));
}

TEST_CASE("what cannot be is refused by name") {
  CHECK_THROWS_AS(EntropySharpnessBatch<>(-1), ArgumentError);
  EntropySharpnessBatch batch(2);
  CHECK_THROWS_WITH_AS((void)batch[2], "sequence 2 is not in a batch of 2", ArgumentError);
  std::vector<float> logits(12);
  CHECK_THROWS_WITH_AS(batch.process({logits.data(), {3, 4}}), "logits: expected 2 rows, got 3", ShapeError);
  CHECK_THROWS_AS(batch.process({logits.data(), {2, 6}}), StateError);
}
