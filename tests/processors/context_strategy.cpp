// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/context_strategy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/processor_chain.hpp"
#include "processors/reference.hpp"

using namespace activation_trace;
using activation_trace::test::kInfinity;
using activation_trace::test::kNaN;

static_assert(LogitsProcessor<ContextStrategyProcessor>);

namespace activation_trace::test {

// processors/README.md 1.6 in double precision.
inline double strategy_value(const Matrix& hidden, const Matrix& w, Index v, const ContextStrategyOptions& options) {
  const std::vector<double> s = test::scores(hidden.view(), w.view(), v);
  double sum = 0;
  for (const double x : s) sum += std::exp(x);
  const auto p = [&](double x) { return std::exp(x) / sum; };
  switch (options.strategy) {
    case ContextStrategy::entropy: return -test::entropy(s);
    case ContextStrategy::single_entropy: return 0;
    case ContextStrategy::subject: return p(s[static_cast<std::size_t>(options.subject_position)]);
    case ContextStrategy::entropy_inverse: return 1 / std::max(test::entropy(s), std::pow(2.0, -23));
    case ContextStrategy::tendency: return s.back() - s.front();
    case ContextStrategy::ema: {
      double e = s[0];
      for (std::size_t i = 1; i < s.size(); ++i) e = 0.9 * e + 0.1 * s[i];
      return e;
    }
    case ContextStrategy::majority_voting: {
      double votes = 0;
      for (const double x : s) votes += p(x) > static_cast<double>(options.vote_threshold);
      return votes;
    }
  }
  return 0;
}

constexpr ContextStrategy kStrategies[] = {ContextStrategy::entropy,        ContextStrategy::single_entropy,
                                           ContextStrategy::subject,        ContextStrategy::entropy_inverse,
                                           ContextStrategy::tendency,       ContextStrategy::ema,
                                           ContextStrategy::majority_voting};

}  // namespace activation_trace::test

TEST_CASE("every strategy adds alpha times what the oracle says, for survivors of the filter or to every logit") {
  std::mt19937 random(81);
  for (const ContextStrategy strategy : test::kStrategies)
    for (const Index T : {1, 2, 3, 30})
      for (const Index V : {1, 5, 77})
        for (const float relative_top : {0.0f, 0.1f, 1.0f})
          for (const float alpha : {0.0f, 0.75f, -0.5f})
            for (const StrategyBase base : {StrategyBase::log_probs, StrategyBase::logits}) {
              CAPTURE(static_cast<int>(strategy));
              CAPTURE(T);
              CAPTURE(V);
              const test::Matrix hidden = test::random_matrix(random, T, 9, 1);
              const test::Matrix w = test::random_matrix(random, V, 9, 0.5f);
              const ContextStrategyOptions options{.strategy = strategy,
                                                   .base = base,
                                                   .alpha = alpha,
                                                   .filter = {.relative_top = relative_top},
                                                   .subject_position = T / 2,
                                                   .vote_threshold = 0.02f};
              ContextStrategyProcessor processor(options);
              for (Index i = 0; i < T; i += 7)  // in pieces
                processor.observe_context(hidden.view(i, std::min(i + 7, T)), w.view());
              std::vector<float> scores = test::random_logits(random, V);
              if (V > 2) scores[1] = -kInfinity;
              std::vector<double> expected = test::reference_scores(scores, std::vector<double>(scores.size()), 0,
                                                                    static_cast<double>(relative_top));
              if (base == StrategyBase::logits) expected.assign(scores.begin(), scores.end());  // nothing filtered
              double bound = 1e-5;
              for (std::size_t v = 0; v < expected.size(); ++v) {
                if (std::isinf(expected[v])) continue;
                const double value = test::strategy_value(hidden, w, static_cast<Index>(v), options);
                CHECK(static_cast<double>(processor.value(static_cast<TokenId>(v))) ==
                      doctest::Approx(value).epsilon(1e-4));
                expected[v] += static_cast<double>(alpha) * value;
                bound = std::max(bound, 1e-4 * std::abs(value));
              }
              const test::ShuffledRow list(random, scores);
              processor.process(scores);
              test::check_close(scores, expected, bound);
              std::vector<float> listed = list.scores;
              processor.process(list.ids, listed);
              const std::vector<float> picked = list.pick(scores);
              test::check_close(listed, std::vector<double>(picked.begin(), picked.end()), bound);
            }
}

TEST_CASE("strategies: a context that grows, a reset, rows on request, and nothing above -inf") {
  std::mt19937 random(82);
  const test::Matrix hidden = test::random_matrix(random, 20, 9, 1);
  const test::Matrix w = test::random_matrix(random, 40, 9, 0.5f);
  const LmHead<> on_request(40, 9, [&](Index begin, Index end, MatrixView<float> out) {
    for (Index r = begin; r < end; ++r)
      for (Index k = 0; k < 9; ++k) out(r - begin, k) = w.view()(r, k);
  });
  for (const ContextStrategy strategy : test::kStrategies) {
    const ContextStrategyOptions options{.strategy = strategy};
    ContextStrategyProcessor processor(options);
    processor.observe_context(hidden.view(0, 12), w.view());
    (void)processor.value(7);
    processor.observe_context(hidden.view(12, 20), w.view());
    CHECK(processor.context_size() == 20);
    CHECK(static_cast<double>(processor.value(7)) ==
          doctest::Approx(test::strategy_value(hidden, w, 7, options)).epsilon(1e-4));
    const float before = processor.value(7);
    processor.reset();
    CHECK_THROWS_AS((void)processor.value(7), StateError);
    processor.observe_context(hidden.view(), on_request);
    CHECK(processor.value(7) == doctest::Approx(before).epsilon(1e-5));
    std::vector<float> none(40, -kInfinity);
    processor.process(none);
    CHECK(none == std::vector<float>(40, -kInfinity));
  }
}

TEST_CASE("strategy entropy keeps and scores as EntropySharpnessProcessor does, which is quicker") {
  std::mt19937 random(83);
  for (const Index T : {1, 5, 40})
    for (const float relative_top : {0.0f, 0.05f}) {
      const test::Matrix hidden = test::random_matrix(random, T, 9, 1);
      const test::Matrix w = test::random_matrix(random, 60, 9, 0.5f);
      const ContextSpan span = T > 1 ? ContextSpan::without_bos() : ContextSpan{};
      ContextStrategyProcessor plain({.strategy = ContextStrategy::entropy,
                                      .alpha = 0.8f,
                                      .filter = {.relative_top = relative_top, .min_tokens_to_keep = 2},
                                      .context = span});
      EntropySharpnessProcessor<> quick(
          {.alpha = 0.8f, .filter = {.relative_top = relative_top, .min_tokens_to_keep = 2}, .context = span});
      plain.observe_context(hidden.view(), w.view());
      quick.observe_context(hidden.view(), w.view());
      for (int step = 0; step < 20; ++step) {
        std::vector<float> scores = test::random_logits(random, 60);
        std::vector<float> expected = scores;
        plain.process(scores);
        quick.process(expected);
        test::check_close(scores, std::vector<double>(expected.begin(), expected.end()), 1e-5);
        CHECK(std::max_element(scores.begin(), scores.end()) - scores.begin() ==
              std::max_element(expected.begin(), expected.end()) - expected.begin());
        CHECK(std::count_if(scores.begin(), scores.end(), [](float x) { return x > -kInfinity; }) ==
              std::ssize(quick.record().kept));
      }
    }
}

TEST_CASE("strategies refuse by name what cannot be") {
  CHECK_THROWS_AS(ContextStrategyProcessor({.alpha = kNaN}), ArgumentError);
  CHECK_THROWS_AS(ContextStrategyProcessor({.filter = {.relative_top = 2}}), ArgumentError);
  CHECK_THROWS_AS(ContextStrategyProcessor({.subject_position = -1}), ArgumentError);
  CHECK_THROWS_AS(ContextStrategyProcessor({.vote_threshold = 1.5f}), ArgumentError);
  const test::Matrix two{2, 1, {1, 2}};
  ContextStrategyProcessor processor({.subject_position = 2});
  std::vector<float> scores{1, 2};
  CHECK_THROWS_AS(processor.process(scores), StateError);
  processor.observe_context(two.view(), two.view());
  CHECK_THROWS_WITH_AS(processor.process(scores), "subject_position: 2 is not among the 2 positions of the context",
                       StateError);
  processor.observe_context(two.view(), two.view());
  processor.process(scores);
  std::vector<float> three(3);
  CHECK_THROWS_AS(processor.process(three), ShapeError);
  CHECK_THROWS_AS(processor.process(std::vector<TokenId>{1}, scores), ShapeError);
  CHECK_THROWS_AS(processor.process(std::vector<TokenId>{1, 2}, scores), ArgumentError);
  scores = {1, kNaN};
  CHECK_THROWS_AS(processor.process(scores), ArgumentError);
  const test::Matrix huge{2, 1, {3e38f, -3e38f}};
  ContextStrategyProcessor overflowing({.strategy = ContextStrategy::tendency});
  overflowing.observe_context(huge.view(), huge.view());
  scores = {1, 1};
  CHECK_THROWS_AS(overflowing.process(scores), ArgumentError);
}
