// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What computing shared beginnings once saves on TruthfulQA's multiple choice, in seconds per question:
//   bench_multiple_choice MODEL TruthfulQA.csv [QUESTIONS]
// `every answer` computes prompt and answer anew for each answer, `every question` the prompt once per question, and
// `once` the few-shot preamble once in all, as `evaluate` does. Each question runs all three in turn, so that the ratio
// holds on a machine that is busy with other work. The first question, which computes the preamble, counts.
// `floor` is what the multiply-adds of `once` take at the rate that is measured before: the blocks for each token of
// the question and of the answers as far as they differ, and logits for what predicts the answers' tokens, of all
// layers that the mode reads; the preamble is attended to, and entropies are left out.
// Where there is a llama.cpp it answers the questions, too, sharing what `once` shares: `over it` is how many times as
// fast `once` is (0: there is none).
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/data_sets.hpp"
#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/score.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "floors.hpp"
#include "models.hpp"
#include "peer.hpp"

namespace {

using namespace activation_trace;

struct Measured {
  const char* name;
  ScoreOptions options;
};

std::vector<Measured> measured_modes(Index blocks) {
  const std::vector<Index> layers = dola_layers(DolaBucket::low, blocks, Embeddings::separate);
  return {{"baseline", {.mode = Baseline{}}},
          {"dola", {.mode = Dola{.candidate_layers = layers}}},
          {"activation", {}},
          {"activation_dola", {.mode = ActivationDola{.candidate_layers = layers}}}};
}

/// What a question cannot do without, behind the first `known` positions.
bench::Work work_of_question(const Checkpoint& checkpoint, const detail::DividedText& text, Index known, Index layers) {
  std::set<std::vector<TokenId>> computed;  // an answer's beginnings that have something behind them
  for (const std::vector<TokenId>& sequence : text.sequences)
    for (Index end = text.prompt_length; end < std::ssize(sequence); ++end)
      computed.emplace(sequence.begin() + text.prompt_length, sequence.begin() + end);
  const auto predictions = static_cast<double>(computed.size());
  const Index queries = text.prompt_length - known + static_cast<Index>(computed.size()) - 1;
  const double blocks = bench::blocks_of(checkpoint.weights).flops * static_cast<double>(queries);
  const double head = bench::work_of(checkpoint.weights.lm_head).flops * predictions * static_cast<double>(layers);
  const double attention = bench::attention_of(checkpoint.config, queries, known + queries).flops;
  return {blocks + head + attention, 0};
}

void run(const std::string& path, const std::string& data, std::size_t count) {
  const Checkpoint checkpoint = load_llama(path);
  const Tokenizer tokenizer = load_tokenizer(path);
  std::vector<TruthfulQuestion> questions = read_truthfulqa(data);
  questions.resize(std::min(count, questions.size()));
  Execution<Host> execution(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  constexpr Index context = 512;
  constexpr Index sequences = 8;
  Llama model(checkpoint.config, checkpoint.weights, {.max_context = context, .sequences = sequences}, execution);
  bench::Peer peer(path, context, sequences, execution);
  const Index blocks = checkpoint.config.layers;
  std::printf("%zu questions, %d threads, %s\n", questions.size(), execution.threads(), name(execution.isa()).data());
  std::printf(
      "seconds each     every answer  every question      once  questions/s   ratio     floor  of floor  llama.cpp"
      "  over it  largest difference\n");
  const std::vector<std::vector<TokenId>> ends{tokenizer.encode_prompt(truthfulqa_prompt("What")),
                                               tokenizer.encode_prompt(truthfulqa_prompt("1"))};
  for (const Measured& mode : measured_modes(blocks)) {
    const auto exits = std::ssize(detail::exit_layers(mode.options.mode, blocks));
    bench::Work work;
    PrefixCache prefix(common_prefix(ends));
    PrefixCache prefix_of_peer(common_prefix(ends));
    double times[4] = {};
    double difference = 0;
    for (const TruthfulQuestion& q : questions) {
      const std::vector<std::string> answers = truthfulqa_continuations(q.correct, q.incorrect);
      const std::string prompt = truthfulqa_prompt(q.question);
      work = work.plus(work_of_question(checkpoint,
                                        detail::divide_text(tokenizer, checkpoint.config.vocab, prompt, answers),
                                        std::ssize(prefix.ids()), exits));
      std::vector<ContinuationScore> anew;
      std::vector<ContinuationScore> once;
      times[0] += bench::seconds([&] {
        for (const std::string& answer : answers)
          anew.push_back(score_text(model, tokenizer, prompt, std::span(&answer, 1), mode.options).front());
      });
      times[1] += bench::seconds([&] { score_text(model, tokenizer, prompt, answers, mode.options); });
      // The two before have overwritten what the sequences began with: brought back, as nobody does in between there.
      if (&q != &questions.front())
        for (Index s = 0; s < sequences; ++s) prefix.enter(model, s, {}, context);
      times[2] += bench::seconds(
          [&] { once = score_text(model, tokenizer, prompt, answers, mode.options, {}, {.prefix = &prefix}); });
      times[3] += peer.seconds([&](auto& other) {
        score_text(other, tokenizer, prompt, answers, mode.options, {}, {.prefix = &prefix_of_peer});
      });
      for (std::size_t i = 0; i < answers.size(); ++i)
        difference = std::max(difference, std::abs(anew[i].score - once[i].score));
    }
    for (double& time : times) time /= static_cast<double>(questions.size());
    const double floor = bench::floor_of(work, execution.threads()) / static_cast<double>(questions.size());
    std::printf("%-16s %12.3f %15.3f %9.3f %12.2f %7.1f %9.3f %8.0f%% %10.3f %8.1f %19.1e\n", mode.name, times[0],
                times[1], times[2], 1 / times[2], times[0] / times[2], floor, 100 * floor / times[2], times[3],
                times[3] / times[2], difference);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) return std::fputs("usage: bench_multiple_choice MODEL TruthfulQA.csv [QUESTIONS]\n", stderr), 2;
  run(argv[1], argv[2], argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 20);
  return 0;
} catch (const std::exception& e) {
  return std::fprintf(stderr, "bench_multiple_choice: %s\n", e.what()), 1;
}
