// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Prefill of 512 tokens and decode after them, for the SmolLM2 file and for random weights of its shape and
// TinyLlama-1.1B's.
// Beside each, its floor by the multiply-adds and the reading that the machine reaches in the same run.
// bench/compare_llama_cpp.py runs this beside llama.cpp and prints the ratios.
#include "activation_trace/model/llama.hpp"

#include <benchmark/benchmark.h>

#include <cstdio>
#include <set>
#include <string>
#include <thread>

#include "floors.hpp"
#include "models.hpp"
#include "support/real_model.hpp"

namespace {

using namespace activation_trace;
using bench::Models;

constexpr Index prompt_length = 512;
constexpr Index answer_length = 64;

std::vector<TokenId> prompt_ids(Index vocab) {
  std::vector<TokenId> ids;
  for (Index i = 0; i < prompt_length; ++i) ids.push_back(static_cast<TokenId>((i * 7919 + 13) % vocab));
  return ids;
}

void rate(benchmark::State& state, const char* counter, double per_iteration) {
  state.counters[counter] = benchmark::Counter(per_iteration, benchmark::Counter::kIsIterationInvariantRate,
                                               benchmark::Counter::OneK::kIs1000);
}

void prefill(benchmark::State& state, const Models::Model& m) {
  Execution<Host> execution(static_cast<int>(state.range(0)));
  Llama model(m.config, m.weights, {.max_context = prompt_length}, execution);
  const std::vector<TokenId> ids = prompt_ids(m.config.vocab);
  rate(state, "tokens/s", prompt_length);
  const bench::Reported reported(state,
                                 bench::shared(bench::blocks_of(m.weights), prompt_length)
                                     .plus(bench::work_of(m.weights.lm_head))
                                     .plus(bench::attention_of(m.config, prompt_length, prompt_length)),
                                 execution.threads());
  for (auto _ : state) {
    model.rewind(0);
    benchmark::DoNotOptimize(model.forward(ids).data());
  }
}

void decode(benchmark::State& state, const Models::Model& m) {
  Execution<Host> execution(static_cast<int>(state.range(0)));
  Llama model(m.config, m.weights, {.max_context = prompt_length + answer_length}, execution);
  const std::vector<TokenId> ids = prompt_ids(m.config.vocab);
  model.fill(ids);
  std::size_t next = 0;
  rate(state, "tokens/s", 1);
  const bench::Reported reported(state,
                                 bench::blocks_of(m.weights)
                                     .plus(bench::work_of(m.weights.lm_head))
                                     .plus(bench::attention_of(m.config, 1, prompt_length + answer_length / 2)),
                                 execution.threads());
  for (auto _ : state) {
    if (model.position() == model.max_context()) model.rewind(prompt_length);
    benchmark::DoNotOptimize(model.forward(std::span(ids).subspan(next, 1)).data());
    next = (next + 1) % ids.size();
  }
}

}  // namespace

int main(int argc, char** argv) {
  Models models;
  const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const auto add = [&](const std::string& label, auto get) {
    const auto run = [&](const char* what, auto benchmark) {
      auto* registered = benchmark::RegisterBenchmark((std::string(what) + "/" + label).c_str(),
                                                      [=](benchmark::State& state) { benchmark(state, get()); });
      registered->ArgName("threads")->Unit(benchmark::kMillisecond)->UseRealTime();
      for (const int count : std::set<int>{1, threads}) registered->Arg(count);
    };
    run("prefill_512", prefill);
    run("decode", decode);
  };
  const std::filesystem::path path = test::real_model_path();
  if (std::filesystem::exists(path))
    add(path.stem().string(), [&models, path]() -> const Models::Model& { return models.file(path); });
  else
    std::fprintf(stderr, "no model file at %s: its benchmarks are left out\n", path.c_str());
  for (const DType dtype :
       {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0, DType::iq4_nl})
    add("random_SmolLM2_shape_" + std::string(name(dtype)),
        [&models, dtype]() -> const Models::Model& { return models.random(dtype); });
  for (const DType dtype : {DType::q8_0, DType::q4_1, DType::q4_k})
    add("random_TinyLlama_shape_" + std::string(name(dtype)),
        [&models, dtype]() -> const Models::Model& { return models.random(dtype, bench::tinyllama()); });
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
