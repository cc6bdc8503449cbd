// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// Fragments of README.md and of the guide (code_blocks.py), with what the text around them speaks of.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <thread>

#include "activation_trace/activation_trace.hpp"
#include "support/random_matrix.hpp"

namespace at = activation_trace;

namespace {

// clang-format off: each of these is a block of the texts.
#include "no_repeated_pair.inl"
#include "only_sharp.inl"
// clang-format on

/// A model and its tokenizer, of the file that the test's fixture has written.
struct Loaded {
  at::Checkpoint checkpoint = at::load_llama(ACTIVATION_TRACE_TINY_MODEL);
  at::Tokenizer tokenizer = at::load_tokenizer(checkpoint);
  at::Execution<at::Host> execution{2};
  at::Llama<> model{checkpoint.config, checkpoint.weights, {.max_context = 512, .sequences = 2}, execution};
};

std::vector<float> numbers(at::Index count, unsigned seed) {
  std::mt19937 random(seed);
  return at::test::normal_floats(count, random);
}

struct Candidate {
  std::int32_t id;
  float logit, p;
};

/// An engine that has what the guide's page on embedding asks of one: random states, the head of `weights`.
struct Engine {
  const std::vector<float>& weights;
  const std::vector<float>& states;
  at::Index d;
  std::vector<Candidate> row = {};
  at::TokenId accepted = -1;

  [[nodiscard]] static int threads() { return 3; }
  [[nodiscard]] static at::Index blocks() { return 30; }
  void dequantize_row(at::Index v, std::span<float> out) const { std::copy_n(weights.begin() + v * d, d, out.begin()); }
  static void parallel_for(int parts, const std::function<void(int)>& part) {
    std::vector<std::jthread> others;
    for (int w = 1; w < parts; ++w) others.emplace_back([&part, w] { part(w); });
    part(0);
  }
  void prefill(std::span<const at::TokenId> prompt, at::Index layer,
               const std::function<void(const float*, at::Index)>& observe) const {
    REQUIRE(layer == 24);
    const auto positions = static_cast<at::Index>(prompt.size());
    observe(states.data(), 2);
    observe(states.data() + 2 * d, positions - 2);
  }
  std::vector<Candidate>& candidates() { return row; }
  void accept(at::TokenId token) { accepted = token; }
};

}  // namespace

TEST_CASE("guide: scores of given answers, and a prefix") {
  Loaded loaded;
  auto& [checkpoint, tokenizer, execution, model] = loaded;
#include "score_answers.inl"
  REQUIRE(scores.size() == 2);
  CHECK(scores[0].score < 0);
  CHECK(scores[0].log_probs.size() == scores[0].ids.size());

  struct Question {
    std::string prompt;
    std::vector<std::string> answers;
  };
  const std::string demonstrations = "Q: What is red?\nA: A rose.\n\n";
  const std::vector<at::TokenId> ids_of_the_demonstrations = tokenizer.encode_prompt(demonstrations);
  const std::vector<Question> questions{{demonstrations + "Q: What is blue?\nA:", {" The sea.", " Milk."}}};
#include "prefix_cache.inl"
  CHECK(model.position(0) > 0);
}

TEST_CASE("guide: a processor of one's own in a chain") {
  const at::Index vocab = 64;
  std::vector<float> logits(64, 1.0f);
#include "forbid.inl"
  CHECK(chain.order() == "repetition_penalty > forbid");
  CHECK(logits[42] == -INFINITY);
  CHECK(logits[41] == 1.0f);
}

TEST_CASE("guide: a chain in generate()") {
  Loaded loaded;
  auto& [checkpoint, tokenizer, execution, model] = loaded;
#include "own_chain.inl"
  REQUIRE(result.ids.size() > 4);
  for (std::size_t i = 0; i + 1 < result.ids.size(); ++i)
    for (std::size_t k = i + 1; k + 1 < result.ids.size(); ++k)
      CHECK_FALSE((result.ids[i] == result.ids[k] && result.ids[i + 1] == result.ids[k + 1]));
}

TEST_CASE("guide: a processor that reads the context") {
  Loaded loaded;
  auto& [checkpoint, tokenizer, execution, model] = loaded;
#include "fill_context.inl"
  at::Index left = 0;
  for (at::TokenId v = 0; v < std::ssize(scores); ++v) {
    const bool masked = scores[static_cast<std::size_t>(v)] == -INFINITY;
    CHECK(masked == (context.state(v).entropy() > 1.0f));
    left += !masked;
  }
  CHECK(left > 0);
  CHECK(left < std::ssize(scores));

  scores.assign(logits.begin(), logits.end());
  OnlySharp processor(context, 1.0f);
#include "row_and_list.inl"
  CHECK(same);
}

TEST_CASE("guide: embedding in an engine") {
  const at::Index V = 500;
  const at::Index d = 48;
  const std::vector<at::TokenId> prompt(20, 1);
  const std::vector<float> weights = numbers(V * d, 1);
  const std::vector<float> all_states = numbers(std::ssize(prompt) * d, 2);
  std::vector<float> logits = numbers(V, 3);
  Engine engine{weights, all_states, d};
  for (at::Index v = V; v-- > 0;)
    engine.row.push_back({static_cast<std::int32_t>(v), logits[static_cast<std::size_t>(v)], 0});
  at::CandidateBuffer buffer;
#include "engine_head.inl"
  REQUIRE(head.vocab() == V);
#include "engine_context.inl"
  CHECK(processor.context_size() == 20);
#include "engine_step.inl"
  // The same from plain arrays.
  at::EntropySharpnessProcessor plain({.alpha = 0.5f});
  plain.observe_context(at::as_matrix(std::span(all_states), 20, d), at::as_matrix(std::span(weights), V, d));
  CHECK(plain.process(logits).best == engine.accepted);
  CHECK(plain.record().kept.size() == record.kept.size());
}

TEST_CASE("guide: any number of threads gives the same bits") {
  const at::Index V = 5000;
  const std::vector<float> states = numbers(33 * 40, 4);
  const std::vector<float> weights = numbers(V * 40, 5);
  const at::MatrixView<const float> hidden(states.data(), {33, 40});
  const at::MatrixView<const float> lm_head(weights.data(), {V, 40});
#include "same_bits.inl"
  CHECK(same);
  CHECK(one[0] > 0);
}
