// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/lm_head.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/processors/context_strategy.hpp"
#include "activation_trace/processors/detector.hpp"
#include "activation_trace/processors/dola.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "processors/reference.hpp"
#include "support/each_isa.hpp"

// Heads whose logits are scaled or capped products: everything is over the engine's logits, in double precision.
using namespace activation_trace;

namespace lm_head_tests {  // compiled as one with others
namespace {

using test::Matrix;

constexpr Index V = 70;
constexpr Index d = 24;
constexpr LogitOptions kOptions[] = {
    {}, {.scale = 0.125f}, {.scale = 3}, {.soft_cap = 2.0f}, {.scale = 0.5f, .soft_cap = 1.5f}};

/// [states, V] of cap tanh(scale W h / cap).
std::vector<std::vector<double>> engine_logits(const Matrix& states, const Matrix& w, const LogitOptions& options) {
  std::vector<std::vector<double>> logits;
  for (Index i = 0; i < states.rows; ++i) {
    logits.emplace_back();
    for (Index v = 0; v < w.rows; ++v) {
      double x = 0;
      for (Index k = 0; k < w.cols; ++k) x += states.at(i, k) * w.at(v, k);
      x *= static_cast<double>(options.scale);
      if (options.soft_cap) x = double{*options.soft_cap} * std::tanh(x / double{*options.soft_cap});
      logits.back().push_back(x);
    }
  }
  return logits;
}

/// Of every token, the softmax of its logits over the positions.
std::vector<double> engine_entropies(const Matrix& states, const Matrix& w, const LogitOptions& options) {
  const auto logits = engine_logits(states, w, options);
  std::vector<double> entropies;
  for (std::size_t v = 0; v < static_cast<std::size_t>(w.rows); ++v) {
    double sum = 0, mean = 0;
    for (const auto& row : logits) sum += std::exp(row[v]);
    for (const auto& row : logits) mean += std::exp(row[v]) / sum * row[v];
    entropies.push_back(std::log(sum) - mean);
  }
  return entropies;
}

std::vector<double> log_probs(std::vector<double> z) {
  double sum = 0;
  for (const double x : z) sum += std::exp(x);
  for (double& x : z) x -= std::log(sum);
  return z;
}

std::vector<float> to_float(const std::vector<double>& x) { return {x.begin(), x.end()}; }

LmHead<> on_request(const Matrix& w, const LogitOptions& options) {
  return {w.rows, w.cols,
          [&w](Index begin, Index end, MatrixView<float> out) {
            for (Index v = begin; v < end; ++v)
              for (Index k = 0; k < w.cols; ++k) out(v - begin, k) = w.view()(v, k);
          },
          options};
}

const std::vector<TokenId>& some_ids() {
  static const std::vector<TokenId> ids{3, 69, 0, 41, 3};
  return ids;
}

}  // namespace

TEST_CASE("a head's logits are the engine's: of all tokens and of chosen ones, of memory and of rows on request") {
  std::mt19937 random(91);
  for (const Index n : {1, 5, 33}) {
    const Matrix states = test::random_matrix(random, n, d, 1);
    const Matrix w = test::random_matrix(random, V, d, 0.5f);
    for (const LogitOptions& options : kOptions) {
      CAPTURE(n);
      CAPTURE(options.scale);
      const auto expected = engine_logits(states, w, options);
      for (const LmHead<>& head : {LmHead<>(w.view(), options), on_request(w, options)}) {
        CHECK(head.options() == options);
        Execution<Host> execution(2);
        Buffer<float> memory;
        std::vector<float> all(static_cast<std::size_t>(n * V));
        head.logits(execution, states.view(), {all.data(), {n, V}}, memory);
        std::vector<float> chosen(static_cast<std::size_t>(n) * some_ids().size());
        const MatrixView<float> few(chosen.data(), {n, static_cast<Index>(some_ids().size())});
        head.logits(execution, states.view(), some_ids(), few, memory);
        for (Index i = 0; i < n; ++i) {
          const std::vector<double>& row = expected[static_cast<std::size_t>(i)];
          test::check_close(std::span(all).subspan(static_cast<std::size_t>(i * V), static_cast<std::size_t>(V)), row,
                            2e-5);
          for (std::size_t j = 0; j < some_ids().size(); ++j)
            CHECK(std::abs(static_cast<double>(few(i, static_cast<Index>(j))) -
                           row[static_cast<std::size_t>(some_ids()[j])]) <= 2e-5);
        }
      }
    }
  }
}

TEST_CASE("the softmax over a context is of the engine's logits, whoever computes it") {
  std::mt19937 random(92);
  const Matrix states = test::random_matrix(random, 130, d, 1);
  const Matrix w = test::random_matrix(random, V, d, 0.5f);
  for (const LogitOptions& options : kOptions) {
    CAPTURE(options.scale);
    const std::vector<double> expected = engine_entropies(states, w, options);
    for (const LmHead<>& head : {LmHead<>(w.view(), options), on_request(w, options)})
      test::each_isa([&](Isa isa) {
        Execution<Host> execution(2, isa);
        Buffer<float> memory;
        std::vector<SoftmaxState> all(static_cast<std::size_t>(V));
        std::vector<SoftmaxState> few(some_ids().size());
        for (const auto& [begin, end] : {std::pair<Index, Index>{0, 100}, {100, 130}}) {
          head.softmax(execution, states.view(begin, end), all, memory);
          head.softmax(execution, states.view(begin, end), some_ids(), few, memory);
        }
        for (std::size_t v = 0; v < all.size(); ++v)
          CHECK(std::abs(static_cast<double>(all[v].entropy()) - expected[v]) <= 2e-5);
        for (std::size_t j = 0; j < few.size(); ++j)
          CHECK(few[j].entropy() == all[static_cast<std::size_t>(some_ids()[j])].entropy());
        if (head.same_as(LmHead<>(w.view(), options))) {
          std::vector<float> entropies(static_cast<std::size_t>(V));
          softmax_entropy(execution, states.view(), w.view(), entropies, options);
          test::check_close(entropies, expected, 2e-5);
        }
      });
  }
}

TEST_CASE("sharpness, the alert and the strategies read the engine's logits") {
  std::mt19937 random(93);
  const Matrix states = test::random_matrix(random, 40, d, 1);
  const Matrix w = test::random_matrix(random, V, d, 0.5f);
  const std::vector<float> row = test::random_logits(random, V);
  for (const LogitOptions& options : kOptions) {
    CAPTURE(options.scale);
    const LmHead<> head(w.view(), options);
    const std::vector<double> entropies = engine_entropies(states, w, options);
    const auto logits = engine_logits(states, w, options);

    EntropySharpnessProcessor sharpness({.alpha = 0.75f, .filter = {.relative_top = 0}});
    sharpness.observe_context(states.view(), head);
    std::vector<double> expected = log_probs({row.begin(), row.end()});
    for (std::size_t v = 0; v < expected.size(); ++v) expected[v] -= 0.75 * entropies[v];
    std::vector<float> scores = row;
    sharpness.process(scores);
    test::check_close(scores, expected, 5e-5);

    Detector detector({.threshold = 1});
    detector.observe_context(states.view(), head);
    ContextStrategyProcessor tendency({.strategy = ContextStrategy::tendency});
    tendency.observe_context(states.view(), head);
    ContextStrategyProcessor inverse({.strategy = ContextStrategy::entropy_inverse});
    inverse.observe_context(states.view(), head);
    for (const TokenId id : some_ids()) {
      const auto v = static_cast<std::size_t>(id);
      CHECK(static_cast<double>(detector.entropy(id)) == doctest::Approx(entropies[v]).epsilon(2e-5));
      CHECK(static_cast<double>(tendency.value(id)) ==
            doctest::Approx(logits.back()[v] - logits.front()[v]).epsilon(1e-4));
      CHECK(static_cast<double>(inverse.value(id)) == doctest::Approx(1 / entropies[v]).epsilon(1e-4));
    }
  }
}

TEST_CASE("DoLa from states diverges and contrasts by the engine's logits") {
  std::mt19937 random(94);
  const Matrix w = test::random_matrix(random, V, d, 0.5f);
  for (const LogitOptions& options : kOptions) {
    CAPTURE(options.scale);
    const Matrix states = test::random_matrix(random, 3, d, 1);
    const Matrix last = test::random_matrix(random, 1, d, 1);
    const std::vector<double> mature = engine_logits(last, w, options).front();
    const auto early = engine_logits(states, w, options);
    std::vector<double> divergences;
    for (const auto& layer : early)
      divergences.push_back(
          test::layer_divergence(log_probs(mature), log_probs(layer), LayerDivergence::jensen_shannon));
    const auto chosen = std::ranges::max_element(divergences) - divergences.begin();
    std::vector<double> expected = mature;  // of raw logits, where nothing is filtered
    for (std::size_t v = 0; v < expected.size(); ++v) expected[v] -= early[static_cast<std::size_t>(chosen)][v];

    DolaProcessor dola({0, 1, 2}, {.filter = {.relative_top = 0}, .divergence = LayerDivergence::jensen_shannon});
    dola.observe_states(states.view(), LmHead<>(w.view(), options));
    std::vector<float> scores = to_float(mature);
    dola.process(scores);
    CHECK(dola.layer() == chosen);
    test::check_close(scores, expected, 5e-5);
    for (std::size_t j = 0; j < divergences.size(); ++j)
      CHECK(dola.divergences()[j] == doctest::Approx(divergences[j]).epsilon(1e-3));
  }
}

TEST_CASE("a context keeps to a head with the same options") {
  std::mt19937 random(95);
  const Matrix states = test::random_matrix(random, 4, d, 1);
  const Matrix w = test::random_matrix(random, V, d, 0.5f);
  Detector detector;
  detector.observe_context(states.view(), LmHead<>(w.view(), {.scale = 0.5f}));
  CHECK_NOTHROW(detector.observe_context(states.view(), LmHead<>(w.view(), {.scale = 0.5f})));
  CHECK_THROWS_AS(detector.observe_context(states.view(), w.view()), ArgumentError);
  CHECK_THROWS_AS(detector.observe_context(states.view(), LmHead<>(w.view(), {.scale = 0.5f, .soft_cap = 9.0f})),
                  ArgumentError);
}

}  // namespace lm_head_tests
