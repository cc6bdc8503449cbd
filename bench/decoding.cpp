// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What the ways of decoding and scoring cost beside each other, for the SmolLM2 file or random weights of its shape.
// Every iteration also runs what it is compared with, so that `ratio` holds on a machine that is busy with other work.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/score.hpp"
#include "activation_trace/model/llama.hpp"
#include "floors.hpp"
#include "models.hpp"
#include "support/no_text.hpp"
#include "support/real_model.hpp"

namespace {

using namespace activation_trace;

constexpr Index new_tokens = 32;
const std::vector<Index> candidate_layers{2, 4, 6, 8, 10, 12, 14, 16};

const bench::Models::Model& weights() {
  static bench::Models models;
  const std::filesystem::path path = test::real_model_path();
  return std::filesystem::exists(path) ? models.file(path) : models.random(DType::q4_1);
}

std::vector<TokenId> some_ids(Index count, Index seed) {
  std::vector<TokenId> ids;
  for (Index i = 0; i < count; ++i)
    ids.push_back(static_cast<TokenId>(((i + seed) * 7919 + 13) % weights().config.vocab));
  return ids;
}

int threads() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

/// Times `measured` and reports it over `baseline`, both in seconds, run in turn, and over the floor of its work.
template <class Measured, class Baseline>
void compare(benchmark::State& state, const bench::Work& work, const Measured& measured, const Baseline& baseline) {
  double sum = 0;
  double baseline_sum = 0;
  for (auto _ : state) {
    baseline_sum += baseline();
    const double time = measured();
    state.SetIterationTime(time);
    sum += time;
  }
  state.counters["ratio"] = sum / baseline_sum;
  bench::report(state, work, threads(), sum / static_cast<double>(state.iterations()));
}

/// A position of each of `rows` sequences, the last of them at `position`, and `exits` rows of logits for each.
bench::Work step_of(Index rows, Index position, Index exits) {
  const bench::Models::Model& m = weights();
  return bench::shared(bench::blocks_of(m.weights), rows)
      .plus(bench::shared(bench::work_of(m.weights.lm_head), rows * exits))
      .plus(bench::attention_of(m.config, 1, position).times(static_cast<double>(rows)));
}

Index exits_of(const Mode& mode) {
  const bool contrasts = std::holds_alternative<Dola>(mode) || std::holds_alternative<ActivationDola>(mode);
  return contrasts ? 1 + static_cast<Index>(candidate_layers.size()) : 1;
}

std::vector<Mode> measured_modes() {
  return {Baseline{}, Activation{}, Dola{.candidate_layers = candidate_layers},
          ActivationDola{.candidate_layers = candidate_layers}};
}

/// One token after a prompt of 128, without the prompt, against greedy decoding.
void per_token(benchmark::State& state, const Mode& mode) {
  Execution<Host> execution(threads());
  Llama model(weights().config, weights().weights, {.max_context = 128 + new_tokens}, execution);
  const std::vector<TokenId> prompt = some_ids(128, 0);
  const auto time = [&](const Mode& m) {
    const GenerationResult result = generate(model, test::NoText{}, prompt, {.mode = m, .max_new_tokens = new_tokens});
    return result.decode_seconds / static_cast<double>(result.ids.size() - 1);  // the first costs no forward pass
  };
  compare(
      state, step_of(1, 128 + new_tokens / 2, exits_of(mode)), [&] { return time(mode); },
      [&] { return time(Baseline{}); });
}

/// Six answers of 10 tokens to a prompt of 400, against one.
void six_answers(benchmark::State& state, const Mode& mode) {
  Execution<Host> execution(threads());
  Llama model(weights().config, weights().weights, {.max_context = 416, .sequences = 6}, execution);
  const std::vector<TokenId> prompt = some_ids(400, 0);
  std::vector<std::vector<TokenId>> answers;
  for (Index i = 0; i < 6; ++i) answers.push_back(some_ids(10, 1000 * (i + 1)));
  const ScoreOptions options{.mode = mode};
  const auto time = [&](std::size_t count) {
    return bench::seconds(
        [&] { benchmark::DoNotOptimize(score(model, prompt, std::span(answers).first(count), options)); });
  };
  // The prompt once, then ten rows of each answer, all of which have logits.
  const bench::Work prompt_work =
      bench::shared(bench::blocks_of(weights().weights), 400).plus(bench::attention_of(weights().config, 400, 400));
  const bench::Work answers_work = step_of(60, 405, exits_of(mode));
  compare(
      state, prompt_work.plus({answers_work.flops, 0}), [&] { return time(6); }, [&] { return time(1); });
}

/// A token for each of several sequences that hold 256, against one for one.
void batch(benchmark::State& state) {
  const Index count = state.range(0);
  Execution<Host> execution(threads());
  Llama model(weights().config, weights().weights, {.max_context = 257, .sequences = count}, execution);
  const std::vector<TokenId> ids = some_ids(256, 0);
  model.fill(ids);
  std::vector<SequencePiece<>> pieces;
  for (Index s = 0; s < count; ++s) {
    if (s > 0) model.copy_sequence(0, s);
    pieces.push_back({.sequence = s, .ids = std::span(ids).subspan(static_cast<std::size_t>(s), 1)});
  }
  const auto time = [&](std::size_t n) {
    const double result = bench::seconds([&] { benchmark::DoNotOptimize(model.forward(std::span(pieces).first(n))); });
    for (Index s = 0; s < static_cast<Index>(n); ++s) model.rewind(256, s);
    return result;
  };
  compare(
      state, step_of(count, 257, 1), [&] { return time(static_cast<std::size_t>(count)); }, [&] { return time(1); });
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(count), benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

int main(int argc, char** argv) {
  const auto add = [](const std::string& name, auto f) {
    benchmark::RegisterBenchmark(name.c_str(), f)->Unit(benchmark::kMillisecond)->UseManualTime();
  };
  for (const Mode& mode : measured_modes())
    add("token/" + std::string(name(mode)), [mode](benchmark::State& state) { per_token(state, mode); });
  for (const Mode& mode : measured_modes())
    add("six_answers/" + std::string(name(mode)), [mode](benchmark::State& state) { six_answers(state, mode); });
  benchmark::RegisterBenchmark("batch", batch)
      ->ArgName("sequences")
      ->RangeMultiplier(2)
      ->Range(1, 32)
      ->Unit(benchmark::kMillisecond)
      ->UseManualTime();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
