// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Prefill of 512 tokens and decode after them, for the SmolLM2 file and for random weights of its shape.
// bench/compare_llama_cpp.py runs this beside llama.cpp and prints the ratios.
#include "activation_trace/model/llama.hpp"

#include <benchmark/benchmark.h>

#include <cstdio>
#include <set>
#include <string>
#include <thread>

#include "models.hpp"
#include "support/real_model.hpp"

namespace {

using namespace activation_trace;
using bench::Models;

constexpr Index prompt_length = 512;
constexpr Index answer_length = 64;

/// What a token costs: the stored bytes and the elements of every matrix that it is multiplied by.
struct Size {
  double bytes = 0;
  double elements = 0;

  void add(const StoredMatrix<>& m) {
    bytes += static_cast<double>(m.rows()) * static_cast<double>(m.row_bytes());
    elements += static_cast<double>(m.rows()) * static_cast<double>(m.cols());
  }
};

Size blocks_of(const LlamaWeights<>& weights) {
  Size size;
  for (const auto& w : weights.layers)
    for (const StoredMatrix<>* m : {&w.q, &w.k, &w.v, &w.o, &w.gate, &w.up, &w.down}) size.add(*m);
  return size;
}

Size head_of(const LlamaWeights<>& weights) {
  Size size;
  size.add(weights.lm_head);
  return size;
}

/// Products of queries with keys and of probabilities with values, for `queries` tokens ending at position `end`.
double attention_flops(const LlamaConfig& c, Index queries, Index end) {
  const double pairs = static_cast<double>(queries) * static_cast<double>(2 * end - queries + 1) / 2;
  return 4 * pairs * static_cast<double>(c.heads * c.head_dim * c.layers);
}

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
  for (auto _ : state) {
    model.rewind(0);
    benchmark::DoNotOptimize(model.forward(ids).data());
  }
  rate(state, "tokens/s", prompt_length);
  rate(state, "flop/s",
       2 * (blocks_of(m.weights).elements * prompt_length + head_of(m.weights).elements) +
           attention_flops(m.config, prompt_length, prompt_length));
}

void decode(benchmark::State& state, const Models::Model& m) {
  Execution<Host> execution(static_cast<int>(state.range(0)));
  Llama model(m.config, m.weights, {.max_context = prompt_length + answer_length}, execution);
  const std::vector<TokenId> ids = prompt_ids(m.config.vocab);
  model.fill(ids);
  std::size_t next = 0;
  for (auto _ : state) {
    if (model.position() == model.max_context()) model.rewind(prompt_length);
    benchmark::DoNotOptimize(model.forward(std::span(ids).subspan(next, 1)).data());
    next = (next + 1) % ids.size();
  }
  const double cache = 2.0 * sizeof(float) * (prompt_length + answer_length / 2.0) *
                       static_cast<double>(m.config.layers * m.config.kv_heads * m.config.head_dim);
  rate(state, "tokens/s", 1);
  rate(state, "bytes/s", blocks_of(m.weights).bytes + head_of(m.weights).bytes + cache);
  rate(state, "flop/s",
       2 * (blocks_of(m.weights).elements + head_of(m.weights).elements) +
           attention_flops(m.config, 1, prompt_length + answer_length / 2));
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
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
