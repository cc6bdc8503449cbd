// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The ops on SmolLM2's shapes beside the ceilings of the machine, measured by the same program: multiply-adds on
// registers, reading of memory, and OpenBLAS's product where it is installed; by the first two, each one's floor.
// A matrix that stays in a cache from one iteration to the next may be below its floor. Random normal data throughout.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "activation_trace/ops/attention.hpp"
#include "activation_trace/ops/gated_multiply.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/softmax_entropy.hpp"
#include "floors.hpp"
#include "support/random_matrix.hpp"

#if defined(ACTIVATION_TRACE_BENCH_OPENBLAS)
#include <cblas.h>
#endif

namespace {

using namespace activation_trace;

constexpr Index context = 512;       // T
constexpr Index hidden_size = 576;   // d
constexpr Index ffn_size = 1536;     // rows of gate and up
constexpr Index vocabulary = 49152;  // V

void rate(benchmark::State& state, const char* counter, double per_iteration) {
  state.counters[counter] = benchmark::Counter(per_iteration, benchmark::Counter::kIsIterationInvariantRate,
                                               benchmark::Counter::OneK::kIs1000);
}

double flops_of_product(Index n, Index d, Index m) {
  return 2.0 * static_cast<double>(n) * static_cast<double>(d) * static_cast<double>(m);
}

int threads_of(const benchmark::State& state) { return static_cast<int>(state.range(0)); }

// --- ceilings ---------------------------------------------------------------------------------------------------

void peak_multiply_add(benchmark::State& state) {
  Execution<Host> execution(threads_of(state));
  double flops = 0;
  for (auto _ : state) flops = bench::multiply_add(execution);
  rate(state, "flop/s", flops);
}

void peak_read(benchmark::State& state) {
  Execution<Host> execution(threads_of(state));
  const std::vector<float> data(std::size_t{64} << 20, 1.0f);
  double bytes = 0;
  for (auto _ : state) bytes = bench::read(execution, data);
  rate(state, "bytes/s", bytes);
}

// --- products ---------------------------------------------------------------------------------------------------

enum class Rows { together, by_row };

void matmul_benchmark(benchmark::State& state, DType dtype, Index n, Index d, Index m, Rows rows = Rows::together) {
  std::mt19937 random(1);
  Execution<Host> execution(threads_of(state));
  const test::RandomMatrix w(dtype, m, d, random, test::Placed::as_in_files);
  const std::vector<float> x = test::normal_floats(n * d, random);
  std::vector<float> y(static_cast<std::size_t>(n * m));
  const MatmulTarget<> target{w.view(), {y.data(), {n, m}}};
  const double bytes = static_cast<double>(StoredMatrix<>::row_bytes_of(dtype, d)) * static_cast<double>(m);
  const bench::Reported reported(state, {flops_of_product(n, d, m), bytes}, execution.threads());
  for (auto _ : state) {
    if (rows == Rows::together)
      matmul(execution, test::matrix(x, n, d), std::span(&target, 1));
    else
      matmul_by_row(execution, test::matrix(x, n, d), std::span(&target, 1));
    benchmark::ClobberMemory();
  }
}

/// As prefill, cut in another way: a sweep over MatmulTuning.
void matmul_tuning(benchmark::State& state, const MatmulTuning& tuning) {
  std::mt19937 random(1);
  Execution<Host> execution(threads_of(state));
  const test::RandomMatrix w(DType::q8_0, ffn_size, hidden_size, random, test::Placed::as_in_files);
  const std::vector<float> x = test::normal_floats(context * hidden_size, random);
  std::vector<float> y(static_cast<std::size_t>(context * ffn_size));
  const bench::Reported reported(state, {flops_of_product(context, hidden_size, ffn_size)}, threads_of(state));
  for (auto _ : state) {
    matmul(execution, test::matrix(x, context, hidden_size), w.view(), {y.data(), {context, ffn_size}}, tuning);
    benchmark::ClobberMemory();
  }
}

#if defined(ACTIVATION_TRACE_BENCH_OPENBLAS)
void openblas(benchmark::State& state, Index n, Index d, Index m) {
  std::mt19937 random(1);
  const std::vector<float> x = test::normal_floats(n * d, random);
  const std::vector<float> w = test::normal_floats(m * d, random);
  std::vector<float> y(static_cast<std::size_t>(n * m));
  openblas_set_num_threads(threads_of(state));
  state.SetLabel(openblas_get_corename());
  const auto as_int = [](Index i) { return static_cast<blasint>(i); };
  const bench::Reported reported(state, {flops_of_product(n, d, m)}, threads_of(state));
  for (auto _ : state) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, as_int(n), as_int(m), as_int(d), 1.0f, x.data(), as_int(d),
                w.data(), as_int(d), 0.0f, y.data(), as_int(m));
    benchmark::ClobberMemory();
  }
}
#endif

// --- entropies --------------------------------------------------------------------------------------------------

void entropy_full(benchmark::State& state, DType dtype, Index d) {
  std::mt19937 random(1);
  Execution<Host> execution(threads_of(state));
  const test::RandomMatrix w(dtype, vocabulary, d, random, test::Placed::as_in_files);
  const std::vector<float> hidden = test::normal_floats(context * d, random, 0.1f);
  std::vector<float> entropy(static_cast<std::size_t>(vocabulary));
  const bench::Reported reported(state, {flops_of_product(context, d, vocabulary)}, threads_of(state));
  for (auto _ : state) {
    softmax_entropy(execution, test::matrix(hidden, context, d), w.view(), entropy);
    benchmark::ClobberMemory();
  }
  rate(state, "exp/s", static_cast<double>(context) * static_cast<double>(vocabulary));
}

void entropy_candidates(benchmark::State& state, DType dtype, Index count) {
  std::mt19937 random(1);
  Execution<Host> execution(threads_of(state));
  const test::RandomMatrix w(dtype, vocabulary, hidden_size, random, test::Placed::as_in_files);
  const std::vector<float> hidden = test::normal_floats(context * hidden_size, random, 0.1f);
  std::vector<TokenId> ids;
  for (Index i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>(random() % static_cast<unsigned>(vocabulary)));
  std::vector<SoftmaxState> states(ids.size());
  const bench::Reported reported(state, {flops_of_product(context, hidden_size, count)}, threads_of(state));
  for (auto _ : state) {
    softmax_states(execution, test::matrix(hidden, context, hidden_size), w.view(), ids, states);
    benchmark::ClobberMemory();
  }
}

// --- the rest of a decoder --------------------------------------------------------------------------------------

void attention_benchmark(benchmark::State& state, Index n) {
  constexpr Index heads = 9;
  constexpr Index groups = 3;
  constexpr Index head_dim = 64;
  std::mt19937 random(1);
  Execution<Host> execution(threads_of(state));
  const std::vector<float> q = test::normal_floats(n * heads * head_dim, random);
  const std::vector<float> k = test::normal_floats(context * groups * head_dim, random);
  const std::vector<float> v = test::normal_floats(context * groups * head_dim, random);
  std::vector<float> out(q.size());
  using Heads = TensorView<const float, 3>;
  const auto cache = [](const std::vector<float>& memory) {  // [G, positions, D] seen as [positions, G, D]
    return Heads(memory.data(), {context, groups, head_dim}, {head_dim, context * head_dim, 1});
  };
  const double pairs = static_cast<double>(n) * static_cast<double>(2 * context - n + 1) / 2;
  const bench::Reported reported(state, {4 * pairs * heads * head_dim}, threads_of(state));
  for (auto _ : state) {
    attention(execution, Heads(q.data(), {n, heads, head_dim}), cache(k), cache(v), {out.data(), {n, heads, head_dim}});
    benchmark::ClobberMemory();
  }
}

void silu_benchmark(benchmark::State& state) {
  std::mt19937 random(1);
  const std::vector<float> gate = test::normal_floats(ffn_size * 16, random);
  std::vector<float> y(gate.size());
  Execution<Host> execution;
  const MatrixView<const float> gates = test::matrix(gate, 16, ffn_size);
  // The ten multiply-adds and products of an exponential.
  const bench::Reported reported(state, {20 * static_cast<double>(gate.size())}, 1);
  for (auto _ : state) {
    gated_multiply(execution, FfnActivation::silu, gates, gates, {y.data(), {16, ffn_size}});
    benchmark::ClobberMemory();
  }
  rate(state, "exp/s", static_cast<double>(gate.size()));
}

}  // namespace

int main(int argc, char** argv) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const auto add = [&](const std::string& label, auto function) {
    auto* registered = benchmark::RegisterBenchmark(label.c_str(), function);
    registered->ArgName("threads")->UseRealTime()->Unit(benchmark::kMicrosecond);
    for (const int threads : std::set<int>{1, std::min(cores, 2), cores}) registered->Arg(threads);
  };
  add("ceiling/multiply_add", peak_multiply_add);
  add("ceiling/read", peak_read);
  for (const DType dtype : all_dtypes) {
    const Index d = block_elements(dtype) == 256 ? 768 : hidden_size;  // a multiple of the block
    const std::string type(name(dtype));
    add("prefill/" + type, [=](benchmark::State& s) { matmul_benchmark(s, dtype, context, d, ffn_size); });
    add("decode/" + type, [=](benchmark::State& s) { matmul_benchmark(s, dtype, 1, d, vocabulary); });
    add("decode_ffn/" + type, [=](benchmark::State& s) { matmul_benchmark(s, dtype, 1, d, ffn_size); });
    for (const Index rows : {2, 4, 8, 9, 16, 32})  // DoLa has nine
      add("few/" + type + "/rows:" + std::to_string(rows),
          [=](benchmark::State& s) { matmul_benchmark(s, dtype, rows, d, ffn_size, Rows::by_row); });
  }
  for (const Index row_block : {48, 96, 192})
    for (const Index depth : {160, 320, 576})
      add("tuning/row_block:" + std::to_string(row_block) + "/depth:" + std::to_string(depth),
          [=](benchmark::State& s) { matmul_tuning(s, {.row_block = row_block, .depth = depth}); });
#if defined(ACTIVATION_TRACE_BENCH_OPENBLAS)
  add("prefill/openblas", [](benchmark::State& s) { openblas(s, context, hidden_size, ffn_size); });
#endif
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::q8_0})
    add("entropy/" + std::string(name(dtype)), [=](benchmark::State& s) { entropy_full(s, dtype, hidden_size); });
  add("entropy_gemm/own",
      [](benchmark::State& s) { matmul_benchmark(s, DType::f32, context, hidden_size, vocabulary); });
#if defined(ACTIVATION_TRACE_BENCH_OPENBLAS)
  add("entropy_gemm/openblas", [](benchmark::State& s) { openblas(s, context, hidden_size, vocabulary); });
#endif
  for (const Index count : {1, 4, 8, 16, 32, 64})
    add("candidates/" + std::to_string(count), [=](benchmark::State& s) { entropy_candidates(s, DType::q8_0, count); });
  add("attention/prefill", [](benchmark::State& s) { attention_benchmark(s, context); });
  add("attention/decode", [](benchmark::State& s) { attention_benchmark(s, 1); });
  benchmark::RegisterBenchmark("silu_multiply", silu_benchmark);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("isa", std::string(name(best_isa())));
  benchmark::RunSpecifiedBenchmarks();
}
