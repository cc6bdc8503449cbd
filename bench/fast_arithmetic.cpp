// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What fast arithmetic changes, beside what it is worth: 64 greedy tokens after each of 20 questions, by exact and by
// fast arithmetic in turns. Arguments: the number of threads (1: times are the processor's, which other work on the
// machine does not lengthen; more: the clock's), and a model other than the SmolLM2 file.
// The last line has shares of floors: of a step, reading all weights; of prompts, the multiply-adds of floats, which
// are no floor for fast arithmetic.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/processors/argmax.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "floors.hpp"
#include "models.hpp"
#include "support/real_model.hpp"

namespace {

using namespace activation_trace;

constexpr Index answer_length = 64;
constexpr const char* questions[] = {
    "What is the capital of France?",
    "Who wrote Hamlet?",
    "Why is the sky blue?",
    "How do vaccines work?",
    "What happens if you swallow a watermelon seed?",
    "Name three primary colours.",
    "When did the Second World War end?",
    "Explain what a prime number is.",
    "How far is the moon from the earth?",
    "Write a short poem about rain.",
    "What is the boiling point of water?",
    "Who painted the Mona Lisa?",
    "What is the largest ocean?",
    "How many legs does a spider have?",
    "Tell me about the history of bread.",
    "What does a compiler do?",
    "Where do penguins live?",
    "What is the difference between weather and climate?",
    "Can you fold a piece of paper more than seven times?",
    "Give an example of a renewable source of energy.",
};

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + std::ssize(values) / 2);
  return values[values.size() / 2];
}

/// A model with a clock.
struct Timed {
  Llama<> model;
  std::vector<double> prompts = {};  ///< seconds a token
  std::vector<double> steps = {};    ///< seconds

  [[nodiscard]] double now() const {
    if (model.execution().threads() == 1) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  std::vector<float> forward(std::span<const TokenId> ids) {
    const double start = now();
    const std::span<const float> logits = model.forward(ids);
    const double seconds = now() - start;
    (ids.size() == 1 ? steps : prompts).push_back(seconds / static_cast<double>(ids.size()));
    return {logits.begin(), logits.end()};
  }
};

/// Greedy tokens after `prompt`.
std::vector<TokenId> generated(Timed& timed, const std::vector<TokenId>& prompt) {
  timed.model.rewind(0);
  std::vector<TokenId> ids{static_cast<TokenId>(argmax(timed.forward(prompt)))};
  while (std::ssize(ids) < answer_length)
    ids.push_back(static_cast<TokenId>(argmax(timed.forward(std::span(ids).last(1)))));
  return ids;
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path path = argc > 2 ? std::filesystem::path(argv[2]) : test::real_model_or_skip();
  const Checkpoint checkpoint = load_llama(path);
  const Tokenizer tokenizer = load_tokenizer(checkpoint);
  Execution execution(argc > 1 ? std::atoi(argv[1]) : 1);
  const LlamaOptions options{.max_context = 64 + answer_length};
  LlamaOptions fast_options = options;
  fast_options.arithmetic = Arithmetic::fast;
  Timed exact{Llama(checkpoint.config, checkpoint.weights, options, execution)};
  Timed fast{Llama(checkpoint.config, checkpoint.weights, fast_options, execution)};

  Index same_choice = 0;
  Index same_text = 0;
  double largest = 0;
  double squares = 0;
  double all = 0;
  for (const char* question : questions) {
    std::vector<TokenId> prompt = tokenizer.encode_prompt(std::string("Q: ") + question + "\nA:");
    const std::vector<TokenId> text = generated(exact, prompt);
    const std::vector<TokenId> other = generated(fast, prompt);
    same_text += std::ranges::mismatch(text, other).in1 - text.begin();
    // Both read the exact text.
    exact.model.rewind(0);
    fast.model.rewind(0);
    std::span<const TokenId> next = prompt;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::vector<float> a = exact.forward(next);
      const std::vector<float> b = fast.forward(next);
      same_choice += argmax(a) == argmax(b);
      for (std::size_t v = 0; v < a.size(); ++v) {
        const double difference = std::abs(static_cast<double>(a[v]) - static_cast<double>(b[v]));
        largest = std::max(largest, difference);
        squares += difference * difference;
        ++all;
      }
      next = std::span(text).subspan(i, 1);
    }
  }
  const Index tokens = answer_length * std::ssize(questions);
  std::printf("%s, %s, %d threads: fast beside exact arithmetic\n", path.filename().c_str(),
              std::string(name(execution.isa())).c_str(), execution.threads());
  std::printf("of %lld greedy tokens after the exact text: %lld the same\n", static_cast<long long>(tokens),
              static_cast<long long>(same_choice));
  std::printf("greedy tokens before the first that differs: %lld of %lld\n", static_cast<long long>(same_text),
              static_cast<long long>(tokens));
  std::printf("logits: largest difference %.3f, root mean square %.4f\n", largest, std::sqrt(squares / all));
  std::printf("decode: exact %.1f tok/s, fast %.1f, %.2f times; prompts: exact %.0f tok/s, fast %.0f, %.2f times\n",
              1 / median(exact.steps), 1 / median(fast.steps), median(exact.steps) / median(fast.steps),
              1 / median(exact.prompts), 1 / median(fast.prompts), median(exact.prompts) / median(fast.prompts));
  const bench::Work blocks = bench::blocks_of(checkpoint.weights);
  const double step = bench::floor_of(blocks.plus(bench::work_of(checkpoint.weights.lm_head)), execution.threads());
  const double row = bench::floor_of({blocks.flops, 0}, execution.threads());
  std::printf("of the floor: decode exact %.0f %%, fast %.0f %%; prompts exact %.0f %%, fast %.0f %%\n",
              100 * step / median(exact.steps), 100 * step / median(fast.steps), 100 * row / median(exact.prompts),
              100 * row / median(fast.prompts));
}
