// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/contrastive.hpp"

#include "activation_trace/processors/ngram.hpp"
#include "activation_trace/processors/processor_chain.hpp"

using ContrastiveUnderTest = activation_trace::ContrastiveProcessor;

#include "processors/contrastive_cases.hpp"

static_assert(LogitsProcessor<ContrastiveProcessor>);

TEST_CASE("the n-gram model has the probabilities of counting, add 0.1") {
  std::mt19937 random(53);
  const Index V = 11;
  for (const Index order : {1, 2, 3, 4}) {
    NgramModel model(V, {.order = order});
    std::vector<TokenId> ids;
    for (int step = 0; step < 200; ++step) {
      std::vector<float> got(static_cast<std::size_t>(V));
      model.log_probs(got);
      // All n-grams, as pairs of context and follower.
      std::vector<double> counts(static_cast<std::size_t>(V), 0.1);
      double total = 0.1 * static_cast<double>(V);
      const auto n = static_cast<std::size_t>(order);
      for (std::size_t end = n; ids.size() >= n - 1 && end <= ids.size(); ++end) {
        const std::vector<TokenId> gram(ids.begin() + static_cast<std::ptrdiff_t>(end - n),
                                        ids.begin() + static_cast<std::ptrdiff_t>(end));
        const std::vector<TokenId> last(ids.end() - static_cast<std::ptrdiff_t>(n - 1), ids.end());
        if (!std::equal(last.begin(), last.end(), gram.begin())) continue;
        counts[static_cast<std::size_t>(gram.back())] += 1;
        total += 1;
      }
      std::vector<double> expected;
      for (const double c : counts) expected.push_back(std::log(c / total));
      test::check_close(got, expected, 1e-6);
      const auto id = static_cast<TokenId>(random() % 3 + (random() % 8 == 0 ? 5 : 0));
      model.observe(std::span(&id, 1));
      ids.push_back(id);
    }
    model.rewind(7);
    CHECK(model.position() == 7);
    NgramModel fresh(V, {.order = order});
    fresh.observe(std::span(ids).first(7));
    std::vector<float> a(static_cast<std::size_t>(V)), b(a);
    model.log_probs(a);
    fresh.log_probs(b);
    CHECK(a == b);
  }
  CHECK_THROWS_AS(NgramModel(0), ArgumentError);
  CHECK_THROWS_AS(NgramModel(3, {.order = 0}), ArgumentError);
  CHECK_THROWS_AS(NgramModel(3, {.smoothing = 0}), ArgumentError);
  NgramModel model(3);
  CHECK_THROWS_WITH_AS(model.observe(std::vector<TokenId>{1, 3}),
                       "NgramModel: token id 3 is not in the vocabulary of 3", ArgumentError);
  CHECK(model.position() == 0);
  std::vector<float> two(2);
  CHECK_THROWS_AS(model.log_probs(two), ShapeError);
  CHECK_THROWS_AS(model.rewind(1), ArgumentError);
}
