// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "activation_trace/processors/context_strategy.hpp"
#include "activation_trace/processors/contrastive.hpp"
#include "activation_trace/processors/dola.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/min_p.hpp"
#include "activation_trace/processors/ngram.hpp"
#include "activation_trace/processors/occurrence_penalty.hpp"
#include "activation_trace/processors/processor_chain.hpp"
#include "activation_trace/processors/repetition_penalty.hpp"
#include "activation_trace/processors/temperature.hpp"
#include "activation_trace/processors/top_k.hpp"
#include "activation_trace/processors/top_p.hpp"
#include "activation_trace/processors/typical.hpp"
#include "processors/reference.hpp"
#include "support/counted_allocations.hpp"

using namespace activation_trace;

TEST_CASE("after the first step no processor allocates") {
  std::mt19937 random(91);
  const Index V = 3000;
  const test::Matrix hidden = test::random_matrix(random, 20, 16, 1);
  const test::Matrix w = test::random_matrix(random, V, 16, 0.5f);
  Execution<Host> execution(2);
  EntropySharpnessProcessor sharpness({.alpha = 0.1f}, execution);
  ContextStrategyProcessor strategy({.strategy = ContextStrategy::ema}, execution);
  sharpness.observe_context(hidden.view(), w.view());
  strategy.observe_context(hidden.view(), w.view());
  DolaProcessor dola({0, 2, 4}, {}, execution);
  ContrastiveProcessor contrastive({}, execution);
  NgramModel amateur(V);
  amateur.reserve(100);
  ProcessorChain chain;
  chain.add("repetition_penalty", RepetitionPenalty(1.2f, V))
      .add("occurrence_penalty", OccurrencePenalty({.presence = 0.1f}, V))
      .add("temperature", Temperature(0.9f))
      .add("top_k", TopK(50))
      .add("typical", Typical(0.9f))
      .add("top_p", TopP(0.9f))
      .add("min_p", MinP(0.05f, 2));

  std::vector<std::vector<float>> logits;
  for (int step = 0; step < 8; ++step) logits.push_back(test::random_logits(random, V));
  std::vector<float> row(static_cast<std::size_t>(V));
  std::vector<float> amateur_row(row);
  const test::Matrix early = test::random_matrix(random, 3, V, 1);
  TokenId id = 0;
  std::span<const float> next;
  const auto step = [&](auto&& run) {
    run("dola", [&] {
      dola.observe_layers(early.view());
      dola.process(row);
    });
    run("sharpness", [&] { sharpness.process(row); });
    run("contrastive", [&] {
      amateur.log_probs(amateur_row);
      contrastive.observe_amateur(amateur_row);
      contrastive.process(row);
    });
    run("strategy", [&] { strategy.process(row); });
    run("chain", [&] { chain.process(row); });
    run("observe", [&] {
      chain.observe(std::span(&id, 1));
      amateur.observe(std::span(&id, 1));
    });
  };
  // The scratch memory of the workers grows to what the kernels need: more for 100 survivors than for a few.
  std::fill(row.begin() + 100, row.end(), -100.0f);
  sharpness.process(row);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    next = logits[i];
    id = static_cast<TokenId>(i % 5);
    step([&](const char* name, auto&& process) {
      std::copy(next.begin(), next.end(), row.begin());
      const long before = test::heap::allocations;
      process();
      const long made = test::heap::allocations - before;
      const std::string processor = name;
      CAPTURE(processor);
      CAPTURE(i);
      if (i > 0) CHECK(made == 0);
    });
  }
}
