// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What answering the questions of NQ-open, TriviaQA or HotpotQA costs, in questions per second:
//   bench_question_answering MODEL NQ-open.dev.jsonl [QUESTIONS] [AT_ONCE]
// `anew` computes every prompt and answers one question after the other; `shared` has the demonstrations in a prefix
// cache, and `together` answers AT_ONCE questions in one pass besides, as `evaluate nq` does. All three run in turn for
// every AT_ONCE questions, so that ratios hold on a machine that is busy with other work. The tokens are the published
// task's: 20 at most, a penalty of 1.2, an end before the next question.
// `floor` is what `together` needs at the rates that are measured before: multiply-adds of the blocks for each token of
// question and answer, and of logits for what the answer's tokens are predicted by, of all layers that the mode reads;
// and in each step one reading of the weights. Entropies are left out.
// Where there is a llama.cpp it answers `together`, too, and `over it` is ours over that (0: there is none).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "activation_trace/evaluation/data_sets.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/processors/dola.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "activation_trace/tokenizer/stream_decoder.hpp"
#include "floors.hpp"
#include "models.hpp"
#include "peer.hpp"

namespace {

using namespace activation_trace;

/// What `prompts`, each behind `known` positions, and `results` cannot do without.
bench::Work work_of_answers(const Checkpoint& checkpoint, const std::vector<std::vector<TokenId>>& prompts,
                            const std::vector<GenerationResult>& results, Index known, Index layers) {
  bench::Work work;
  const bench::Work blocks = bench::blocks_of(checkpoint.weights);
  const bench::Work head = bench::work_of(checkpoint.weights.lm_head);
  Index steps = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const Index asked = std::ssize(prompts[i]) - known;
    const Index said = std::ssize(results[i].ids);
    const Index computed = asked + std::max<Index>(0, said - 1);  // the last is not continued
    steps = std::max(steps, said);
    work.flops += blocks.flops * static_cast<double>(computed) + head.flops * static_cast<double>(said * layers) +
                  bench::attention_of(checkpoint.config, computed, known + computed).flops;
  }
  work.bytes = (blocks.bytes + head.bytes) * static_cast<double>(steps);
  return work;
}

void run(const std::string& path, const std::string& data, std::size_t count, Index at_once) {
  const Checkpoint checkpoint = load_llama(path);
  const Tokenizer tokenizer = load_tokenizer(path);
  std::vector<QaQuestion> questions = read_nq_open(data);
  questions.resize(std::min(count, questions.size()));
  Execution<Host> execution(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  constexpr Index context = 256;
  Llama model(checkpoint.config, checkpoint.weights, {.max_context = context, .sequences = at_once}, execution);
  bench::Peer peer(path, context, at_once, execution);
  const Index blocks = checkpoint.config.layers;
  const std::vector<Index> layers = dola_layers(DolaBucket::low, blocks, Embeddings::separate);
  const std::vector<Mode> modes{Baseline{}, Activation{}, Dola{.candidate_layers = layers},
                                ActivationDola{.candidate_layers = layers}};
  std::printf("%zu questions, %td at once, %d threads, %s\n", questions.size(), at_once, execution.threads(),
              name(execution.isa()).data());
  std::printf(
      "questions/s           anew    shared  together   ratio     floor  of floor  llama.cpp  over it  tokens each\n");
  for (const Mode& mode : modes) {
    const GenerationOptions options{
        .mode = mode, .repetition_penalty = 1.2f, .max_new_tokens = 20, .stop = {std::string(kNextQuestion)}};
    const auto make_decoder = [&] { return StreamDecoder(tokenizer); };
    const std::vector<TokenId> start = common_prefix(std::vector{tokenizer.encode_prompt(knowledge_qa_prompt("What")),
                                                                 tokenizer.encode_prompt(knowledge_qa_prompt("1"))});
    PrefixCache prefix(start);
    PrefixCache prefix_of_peer(start);
    const Index known = std::ssize(prefix.ids());
    double times[4] = {};
    double floor = 0;
    double tokens = 0;
    for (std::size_t first = 0; first < questions.size(); first += static_cast<std::size_t>(at_once)) {
      std::vector<std::vector<TokenId>> prompts;
      for (std::size_t i = first; i < std::min(questions.size(), first + static_cast<std::size_t>(at_once)); ++i)
        prompts.push_back(tokenizer.encode_prompt(knowledge_qa_prompt(questions[i].question)));
      for (PrefixCache* used : {static_cast<PrefixCache*>(nullptr), &prefix})
        times[used == nullptr ? 0 : 1] += bench::seconds([&] {
          for (const std::vector<TokenId>& prompt : prompts)
            generate(model, make_decoder(), prompt, options, {}, {.prefix = used});
        });
      std::vector<GenerationResult> results;
      times[2] += bench::seconds(
          [&] { results = generate_batch(model, make_decoder, prompts, options, {}, {.prefix = &prefix}); });
      times[3] += peer.seconds(
          [&](auto& other) { generate_batch(other, make_decoder, prompts, options, {}, {.prefix = &prefix_of_peer}); });
      const Index exits = std::ssize(detail::exit_layers(mode, blocks));
      floor += bench::floor_of(work_of_answers(checkpoint, prompts, results, known, exits), execution.threads());
      for (const GenerationResult& result : results) tokens += static_cast<double>(result.ids.size());
    }
    const auto all = static_cast<double>(questions.size());
    std::printf("%-16s %9.2f %9.2f %9.2f %7.1f %9.2f %8.0f%% %10.2f %8.1f %12.1f\n", std::string(name(mode)).c_str(),
                all / times[0], all / times[1], all / times[2], times[0] / times[2], all / floor,
                100 * floor / times[2], times[3] > 0 ? all / times[3] : 0, times[3] / times[2], tokens / all);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3)
    return std::fputs("usage: bench_question_answering MODEL NQ-open.dev.jsonl [QUESTIONS] [AT_ONCE]\n", stderr), 2;
  run(argv[1], argv[2], argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 16,
      argc > 4 ? std::strtol(argv[4], nullptr, 10) : 8);
  return 0;
} catch (const std::exception& e) {
  return std::fprintf(stderr, "bench_question_answering: %s\n", e.what()), 1;
}
