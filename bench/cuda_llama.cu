// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The forward pass on a device: tokens per second behind 0, 512 and 2048 positions, of batches, and of prompts. Beside
// each its floor, by the bytes that a copy moves and the operations of cublasLt's bf16 product in the same run, and its
// share of it. Random weights of SmolLM2's shape and of Llama-2-7B's, whose layers take turns with two layers' weights:
// more than an L2 cache holds.
//   bench_cuda_llama [--benchmark_filter=7b/q4_k ...]
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/cuda.cuh"
#include "cuda_gemm.cuh"
#include "models.hpp"

extern template class activation_trace::Llama<activation_trace::Cuda>;  // examples/support/llama_cuda.cu

namespace {

using namespace activation_trace;
using bench::ceilings;
using bench::Work;

/// Keeps the weights of one model in the device's memory.
class Models {
 public:
  struct Model {
    LlamaConfig config;
    Work blocks, lm_head;
    std::unique_ptr<cuda::DeviceWeights> memory;
    LlamaWeights<Cuda> weights;
  };

  explicit Models(Execution<Cuda> device) : device_(device) {}

  const Model& get(bool large, DType dtype) {
    const std::string wanted = std::to_string(large) + std::string(name(dtype));
    if (name_ == wanted) return model_;
    model_ = {};
    test::TinyLlamaOptions options;
    options.dtype = dtype;
    options.config = large ? llama_7b() : bench::smollm2();
    if (!large) options.embeddings = Embeddings::tied;
    const Index layers = std::exchange(options.config.layers, 2);
    const test::TinyLlama host(options);
    model_.config = host.config();
    model_.config.layers = layers;
    model_.blocks = bench::blocks_of(host.weights()).times(static_cast<double>(layers) / 2);
    model_.lm_head = bench::work_of(host.weights().lm_head);
    model_.memory = std::make_unique<cuda::DeviceWeights>(device_, host.weights());
    model_.weights = model_.memory->view();
    for (Index i = 2; i < layers; ++i)
      model_.weights.layers.push_back(model_.weights.layers[static_cast<std::size_t>(i % 2)]);
    name_ = wanted;
    return model_;
  }

 private:
  static LlamaConfig llama_7b() {
    LlamaConfig c;
    c.layers = 32;
    c.hidden = 4096;
    c.ffn = 11008;
    c.heads = c.kv_heads = 32;
    c.head_dim = 128;
    c.vocab = 32000;
    c.max_context = 4096;
    c.bos = -1;
    return c;
  }

  Execution<Cuda> device_;
  std::string name_;
  Model model_;
};

/// `sequences` texts of `prefix` positions get `ids` more each.
void forward(benchmark::State& state, const Models::Model& m, Execution<Cuda> device, Index sequences, Index prefix,
             Index ids) {
  Llama model(m.config, m.weights, {.max_context = prefix + ids, .sequences = sequences}, device);
  const std::vector<TokenId> tokens(static_cast<std::size_t>(std::max(prefix, ids)), 17);
  std::vector<SequencePiece<Cuda>> pieces;
  for (Index s = 0; s < sequences; ++s) {
    if (prefix > 0) model.fill(std::span(tokens).first(static_cast<std::size_t>(prefix)), {}, s);
    pieces.push_back({s, std::span(tokens).first(static_cast<std::size_t>(ids)), nullptr});
  }
  const Work work = bench::shared(m.blocks, sequences * ids)
                        .plus(bench::shared(m.lm_head, sequences))
                        .plus(bench::attention_of(m.config, ids, prefix + ids).times(static_cast<double>(sequences)));
  const double floor = std::max(work.flops / ceilings().flops, work.bytes / ceilings().bytes);
  const auto run = [&] {
    for (Index s = 0; s < sequences; ++s) model.rewind(prefix, s);
    return bench::seconds([&] { benchmark::DoNotOptimize(model.forward(pieces).data()); });
  };
  for (int i = 0; i < 2; ++i) run();  // what comes next is a graph, where it may be one
  double taken = 0;
  for (auto _ : state) {
    const double one = run();
    state.SetIterationTime(one);
    taken += one;
  }
  const double each = taken / static_cast<double>(state.iterations());
  state.counters["tokens/s"] = static_cast<double>(sequences * ids) / each;
  state.counters["floor_ms"] = 1e3 * floor;
  state.counters["of_floor"] = floor / each;
}

}  // namespace

int main(int argc, char** argv) {
  if (!bench::has_device()) return 77;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  cudaDeviceProp properties{};
  cuda::check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  std::printf("%s: %.0f GB/s read and written by a copy, %.0f TFLOP/s by a product in bf16\n", properties.name,
              ceilings().bytes * 1e-9, ceilings().flops * 1e-12);

  const cuda::Stream stream;
  const Execution<Cuda> device = stream;
  Models models(device);
  for (const bool large : {false, true})
    for (const DType dtype : {DType::f16, DType::q8_0, DType::q4_1, DType::q4_k}) {
      if (!large && dtype == DType::q4_k) continue;  // its rows are no whole blocks of 256
      const std::string model = (large ? "7b/" : "smollm2/") + std::string(name(dtype));
      const auto add = [&](const std::string& what, Index sequences, Index prefix, Index ids) {
        benchmark::RegisterBenchmark((model + "/" + what).c_str(), [=, &models](benchmark::State& state) {
          forward(state, models.get(large, dtype), device, sequences, prefix, ids);
        })->UseManualTime();
      };
      for (const Index prefix : {0, 512, 2048}) add("decode_behind_" + std::to_string(prefix), 1, prefix, 1);
      for (const Index sequences : {4, 16}) add("batch_of_" + std::to_string(sequences), sequences, 512, 1);
      for (const Index ids : {512, 2048}) add("prefill_" + std::to_string(ids), 1, 0, ids);
    }
  benchmark::RunSpecifiedBenchmarks();
}
