// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "activation_trace/processors/detector.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "reference.hpp"

using namespace activation_trace;
using activation_trace::test::Matrix;
using activation_trace::test::random_matrix;
using activation_trace::test::reference_entropy;

TEST_CASE("four threads that share a context get the numbers of one that has it alone") {
  constexpr Index vocab = 200;
  constexpr Index steps = 40;
  constexpr Index own = 5;  // positions of each reader behind the shared ones
  std::mt19937 random(71);
  const Matrix hidden = random_matrix(random, 30, 16, 1);
  const Matrix answer = random_matrix(random, 4 * own, 16, 1);
  const Matrix w = random_matrix(random, vocab, 16, 1);
  const Matrix logits = random_matrix(random, 4 * steps, vocab, 2);

  const auto shared = std::make_shared<SharedContext>(ContextSpan{.begin = 1});
  shared->observe(hidden.view(0, 11), w.view());
  shared->observe(hidden.view(11, 30), w.view());
  CHECK(shared->positions() == 29);
  std::vector<std::vector<float>> scores(4);
  std::vector<std::vector<float>> entropies(4);
  std::vector<std::thread> readers;
  for (Index reader = 0; reader < 4; ++reader)
    readers.emplace_back([&, reader] {
      EntropySharpnessProcessor processor({.alpha = 0.7f, .context = {.begin = 1}});
      processor.begin_context(shared);
      processor.observe_context(answer.view(reader * own, (reader + 1) * own), w.view());
      std::vector<float>& mine = scores[static_cast<std::size_t>(reader)];
      for (Index step = reader * steps; step < (reader + 1) * steps; ++step) {
        const std::span<const float> row = logits.view().row(step).span();
        mine.insert(mine.end(), row.begin(), row.end());
        processor.process(std::span(mine).last(vocab));
      }
      Detector detector;
      detector.begin_context(shared);
      for (TokenId v = 0; v < vocab; ++v) entropies[static_cast<std::size_t>(reader)].push_back(detector.entropy(v));
      const std::span<const float> all = processor.entropy();
      mine.insert(mine.end(), all.begin(), all.end());
    });
  for (std::thread& reader : readers) reader.join();

  for (Index reader = 0; reader < 4; ++reader) {
    CAPTURE(reader);
    EntropySharpnessProcessor alone({.alpha = 0.7f, .context = {.begin = 1}});
    alone.observe_context(hidden.view(), w.view());
    alone.observe_context(answer.view(reader * own, (reader + 1) * own), w.view());
    std::size_t next = 0;
    const auto compare = [&](std::span<const float> wanted) {
      for (const float x : wanted) {
        const float found = scores[static_cast<std::size_t>(reader)].at(next++);
        CHECK((found == x || std::abs(found - x) < 1e-4f));  // -inf where the filter masks
      }
    };
    for (Index step = reader * steps; step < (reader + 1) * steps; ++step) {
      const std::span<const float> row = logits.view().row(step).span();
      std::vector<float> expected(row.begin(), row.end());
      alone.process(expected);
      compare(expected);
    }
    compare(alone.entropy());
    CHECK(next == scores[static_cast<std::size_t>(reader)].size());
    for (TokenId v = 0; v < vocab; ++v)
      CHECK(std::abs(static_cast<double>(entropies[static_cast<std::size_t>(reader)][static_cast<std::size_t>(v)]) -
                     reference_entropy(hidden, w, v, 1, 30)) < 1e-4);
  }
}

TEST_CASE("a shared context outlives who made it, grows until it is read, and is not begun with twice") {
  std::mt19937 random(72);
  const Matrix hidden = random_matrix(random, 6, 8, 1);
  const Matrix w = random_matrix(random, 10, 8, 1);
  auto shared = std::make_shared<SharedContext>();
  Detector detector;
  CHECK_THROWS_AS(detector.begin_context(shared), StateError);
  shared->observe(hidden.view(), w.view());
  detector.begin_context(shared);
  CHECK_THROWS_WITH_AS(shared->observe(hidden.view(), w.view()), "context: it is read already, and grows no more",
                       StateError);
  const std::weak_ptr<SharedContext> watched = shared;
  shared.reset();
  CHECK(std::abs(static_cast<double>(detector.entropy(3)) - reference_entropy(hidden, w, 3, 0, 6)) < 1e-4);
  detector.reset();
  CHECK(watched.expired());
  Detector begun;
  begun.observe_context(hidden.view(), w.view());
  shared = std::make_shared<SharedContext>();
  shared->observe(hidden.view(), w.view());
  CHECK_THROWS_AS(begun.begin_context(shared), StateError);
}
