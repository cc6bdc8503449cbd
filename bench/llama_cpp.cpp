// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// What a guest costs in llama.cpp: bench_llama_cpp MODEL.gguf [THREADS] [ROUNDS]
//
// A token of plain greedy decoding and of each mode, decoded and sampled by llama.cpp, in turn; medians over the
// rounds. The same tokens are read in all modes. Of one thread the processor's time counts, which is the same beside
// other programs, of several the clock's. `floor` is one reading of the weights, or the multiply-adds of a token and of
// the logits that the mode reads, in floats, at the rates that are measured before.
#include <llama-cpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/embed/llama_cpp.hpp"
#include "floors.hpp"
#include "models.hpp"

namespace at = activation_trace;

namespace {

constexpr int kPrompt = 128;
constexpr int kTokens = 48;

double milliseconds(int threads) {
  if (threads == 1) return 1e3 * static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A context of its own, with a guest or without.
struct Way {
  Way(std::string label, llama_model* model, const char* path, int threads, at::Execution<at::Host>& execution,
      const at::llama_cpp::GuestOptions* options)
      : name(std::move(label)),
        exits(options == nullptr ? 1 : std::ssize(at::detail::exit_layers(options->mode, llama_model_n_layer(model)))),
        threads_(threads) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 512;
    params.n_threads = params.n_threads_batch = threads;
    if (options != nullptr) {
      guest = std::make_unique<at::llama_cpp::Guest>(model, at::llama_cpp::open_lm_head(path), *options, execution);
      guest->attach(params);
    }
    context.reset(llama_init_from_model(model, params));
    chain.reset(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    if (guest != nullptr) llama_sampler_chain_add(chain.get(), guest->sampler(context.get()));
    llama_sampler_chain_add(chain.get(), llama_sampler_init_greedy());
  }

  void run(int vocab) {
    const auto id = [&](int i) { return static_cast<llama_token>((i * 7919 + 13) % vocab); };
    std::vector<llama_token> prompt;
    for (int i = 0; i < kPrompt; ++i) prompt.push_back(id(i));
    llama_memory_clear(llama_get_memory(context.get()), true);
    llama_decode(context.get(), llama_batch_get_one(prompt.data(), kPrompt));
    llama_sampler_sample(chain.get(), context.get(), -1);  // entropies of the first candidates, the head's check
    double decoded = 0;
    double sampled = 0;
    for (int i = 0; i < kTokens; ++i) {
      llama_token token = id(1000 + i);
      const double begin = milliseconds(threads_);
      llama_decode(context.get(), llama_batch_get_one(&token, 1));
      llama_get_logits_ith(context.get(), -1);  // waits
      const double middle = milliseconds(threads_);
      llama_sampler_sample(chain.get(), context.get(), -1);
      const double end = milliseconds(threads_);
      decoded += middle - begin;
      sampled += end - middle;
    }
    if (guest != nullptr) guest->check();
    decode.push_back(decoded / kTokens);
    sample.push_back(sampled / kTokens);
    total.push_back((decoded + sampled) / kTokens);
  }

  std::string name;
  at::Index exits;  // rows of logits that a token takes
  std::unique_ptr<at::llama_cpp::Guest> guest;
  llama_context_ptr context;
  llama_sampler_ptr chain;
  std::vector<double> decode, sample, total;  // ms a token, by round

 private:
  int threads_;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) return std::fputs("usage: bench_llama_cpp MODEL.gguf [THREADS] [ROUNDS]\n", stderr), 2;
  const int threads = argc > 2 ? std::atoi(argv[2]) : 1;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 15;
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  const llama_model_ptr model(llama_model_load_from_file(argv[1], llama_model_default_params()));
  if (!model) return std::fprintf(stderr, "%s: llama.cpp does not load it\n", argv[1]), 1;
  const at::Index blocks = llama_model_n_layer(model.get());
  std::vector<at::Index> early;  // eight layers of the lower half
  for (at::Index i = 0; i < 8; ++i) early.push_back(i * blocks / 16);

  at::Execution<at::Host> execution(threads);
  using Options = at::llama_cpp::GuestOptions;
  const std::vector<std::pair<std::string, Options>> modes = {
      {"activation", {.mode = at::Activation{}}},
      {"detector", {.mode = at::Baseline{}, .record = at::RecordOptions{}, .on_token = [](const auto&) {}}},
      {"dola, 8 layers", {.mode = at::Dola{.candidate_layers = early}}},
      {"activation_dola", {.mode = at::ActivationDola{.candidate_layers = early}}}};
  std::vector<std::unique_ptr<Way>> ways;
  ways.push_back(std::make_unique<Way>("greedy", model.get(), argv[1], threads, execution, nullptr));
  for (const auto& [name, options] : modes)
    ways.push_back(std::make_unique<Way>(name, model.get(), argv[1], threads, execution, &options));
  const int vocab = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));
  for (int round = -1; round < rounds; ++round) {
    for (const auto& way : ways) way->run(vocab);
    if (round >= 0) continue;
    for (const auto& way : ways) way->decode = way->sample = way->total = {};  // the caches are warm
  }
  const at::Checkpoint checkpoint = at::load_llama(argv[1]);
  const at::bench::Work step = at::bench::blocks_of(checkpoint.weights);
  const at::bench::Work head = at::bench::work_of(checkpoint.weights.lm_head);
  std::printf("ms a token, medians of %d rounds, %d threads\n%-16s %8s %8s %8s %6s %8s %9s\n", rounds, threads, "",
              "decode", "sample", "both", "ratio", "floor", "of floor");
  for (const auto& way : ways) {
    std::vector<double> ratios;  // within a round
    for (std::size_t i = 0; i < way->total.size(); ++i) ratios.push_back(way->total[i] / ways.front()->total[i]);
    const double floor = 1e3 * at::bench::floor_of(step.plus(at::bench::shared(head, way->exits)), threads);
    std::printf("%-16s %8.3f %8.3f %8.3f %6.3f %8.3f %8.0f%%\n", way->name.c_str(), median(way->decode),
                median(way->sample), median(way->total), median(ratios), floor, 100 * floor / median(way->total));
  }
  return 0;
} catch (const std::exception& e) {
  return std::fprintf(stderr, "bench_llama_cpp: %s\n", e.what()), 1;
}
