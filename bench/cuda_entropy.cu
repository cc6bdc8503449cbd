// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The device kernels beside cublasLt's matrix product alone, of the same operands in the same run.
//   bench_cuda_entropy [ROUNDS]
// Not Google Benchmark: it measures one thing after the other, and a card at its power limit makes what comes
// later 15 % slower (2720 and 3190 us for the same product, H100). Here every round runs each candidate once.
#include <cublasLt.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/cuda.cuh"

using namespace activation_trace;

namespace {

__device__ std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// Normal random numbers: zeros would run 13 % faster.
__global__ void fill_normal(BFloat16* out, std::size_t n, float scale, std::uint64_t seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const std::uint64_t bits = mix(seed * 0x123456789abcdefull + i);
    const float u = (static_cast<float>(bits >> 40) + 0.5f) * 0x1p-24f;
    const float v = (static_cast<float>(bits & 0xffffffu) + 0.5f) * 0x1p-24f;
    const unsigned word = __float_as_uint(scale * sqrtf(-2.0f * logf(u)) * cosf(6.2831853f * v));
    out[i].bits = static_cast<std::uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
  }
}

__global__ void touch(float4* data, std::size_t n) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x)
    data[i].x += 1.0f;
}

void check_lt(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error("cublasLt: status " + std::to_string(static_cast<int>(status)));
}

/// S [T, V] = H W^T in bf16 with fp32 sums, S stored as bf16 or f32: the fastest of cublasLt's own choices.
class Gemm {
 public:
  Gemm(cuda::StreamView stream, Index t, Index d, Index v, const BFloat16* h, const BFloat16* w, cudaDataType_t out)
      : stream_(stream), workspace_(Index{64} << 20), s_(t * v * (out == CUDA_R_32F ? 4 : 2)) {
    check_lt(cublasLtCreate(&handle_));
    check_lt(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transpose = CUBLAS_OP_T;
    check_lt(cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose)));
    const auto layout = [](cublasLtMatrixLayout_t& l, cudaDataType_t type, Index rows, Index cols) {
      check_lt(cublasLtMatrixLayoutCreate(&l, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols),
                                          rows));
    };
    layout(w_, CUDA_R_16BF, d, v);
    layout(h_, CUDA_R_16BF, d, t);
    layout(out_, out, v, t);
    cublasLtMatmulPreference_t preference = nullptr;
    check_lt(cublasLtMatmulPreferenceCreate(&preference));
    const auto bytes = static_cast<std::size_t>(workspace_.size());
    check_lt(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                                  sizeof(bytes)));
    cublasLtMatmulHeuristicResult_t found[16];
    int count = 0;
    check_lt(cublasLtMatmulAlgoGetHeuristic(handle_, operation_, w_, h_, out_, out_, preference, 16, found, &count));
    cublasLtMatmulPreferenceDestroy(preference);
    float best_time = INFINITY;
    cublasLtMatmulAlgo_t best{};
    for (int i = 0; i < count; ++i) {
      algorithm_ = found[i].algo;
      run(h, w);
      cuda::Event start, stop;
      start.record(stream_);
      for (int k = 0; k < 5; ++k) run(h, w);
      stop.record(stream_);
      stop.synchronize();
      if (stop.milliseconds_since(start) >= best_time) continue;
      best_time = stop.milliseconds_since(start);
      best = algorithm_;
    }
    algorithm_ = best;
  }
  ~Gemm() {
    cublasLtMatrixLayoutDestroy(w_);
    cublasLtMatrixLayoutDestroy(h_);
    cublasLtMatrixLayoutDestroy(out_);
    cublasLtMatmulDescDestroy(operation_);
    cublasLtDestroy(handle_);
  }
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  void run(const BFloat16* h, const BFloat16* w) {
    const float one = 1.0f, zero = 0.0f;
    check_lt(cublasLtMatmul(handle_, operation_, &one, w, w_, h, h_, &zero, s_.data(), out_, s_.data(), out_,
                            &algorithm_, workspace_.data(), static_cast<std::size_t>(workspace_.size()),
                            stream_.get()));
  }

 private:
  cuda::StreamView stream_;
  Buffer<std::byte, Cuda> workspace_, s_;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, h_ = nullptr, out_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
};

struct Entry {
  std::string name;
  std::function<void(Index set)> run;
  cudaGraphExec_t graph = nullptr;
  std::vector<float> hot{}, cold{};
};

float median(std::vector<float> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

struct Shape {
  Index t, d, v;
};

void measure(const Shape& shape, int rounds, Buffer<float4, Cuda>& cache_filler) {
  const auto [t, d, v] = shape;
  cuda::Stream stream;
  // Several sets of operands in turn, so that none is in the L2 cache from its last use.
  const Index sets = std::max<Index>(1, std::min<Index>(4, 1500000000 / (2 * v * d)));
  std::vector<Buffer<BFloat16, Cuda>> h, w;
  const float scale = std::sqrt(1.0f / std::sqrt(static_cast<float>(d)));  // logits are about N(0, 1)
  for (Index i = 0; i < sets; ++i) {
    const auto fill = [&](Buffer<BFloat16, Cuda>& x, std::uint64_t seed) {
      fill_normal<<<1024, 256, 0, stream.get()>>>(x.data(), static_cast<std::size_t>(x.size()), scale, seed);
    };
    fill(h.emplace_back(t * d), static_cast<std::uint64_t>(2 * i + 1));
    fill(w.emplace_back(v * d), static_cast<std::uint64_t>(2 * i + 2));
  }
  const auto at = [](auto& buffers, Index i) -> auto& { return buffers[static_cast<std::size_t>(i)]; };
  Buffer<SoftmaxState, Cuda> workspace(cuda::softmax_workspace_size(t, v));
  Buffer<float, Cuda> entropy(v);

  std::vector<Entry> entries;
  Gemm gemm16(stream, t, d, v, h[0].data(), w[0].data(), CUDA_R_16BF);
  Gemm gemm32(stream, t, d, v, h[0].data(), w[0].data(), CUDA_R_32F);
  entries.push_back({"cublasLt GEMM, bf16 out", [&](Index i) { gemm16.run(at(h, i).data(), at(w, i).data()); }});
  entries.push_back({"cublasLt GEMM, f32 out", [&](Index i) { gemm32.run(at(h, i).data(), at(w, i).data()); }});
  const auto add = [&](const char* name, cuda::SoftmaxKernel kernel) {
    entries.push_back({name, [&, kernel](Index i) {
                         cuda::softmax_entropy(stream, at(h, i).matrix(t, d), at(w, i).matrix(v, d), entropy.view(),
                                               workspace.view(), {.kernel = kernel});
                       }});
  };
  add("softmax_entropy", cuda::SoftmaxKernel::automatic);
  add("softmax_entropy, mma", cuda::SoftmaxKernel::mma);

  constexpr Index most = 1024;
  std::vector<TokenId> host_ids;
  for (Index i = 0; i < most; ++i) host_ids.push_back(static_cast<TokenId>((i * 7919 + 13) % v));
  Buffer<TokenId, Cuda> ids(most);
  cuda::copy(stream, VectorView<const TokenId>(host_ids), ids.view());
  Buffer<SoftmaxState, Cuda> states(most), candidate_workspace(cuda::candidate_workspace_size(t, most));
  if (t == 512)
    for (const Index k : {1, 4, 16, 64, 256, 1024})
      entries.push_back({std::to_string(k) + " candidates", [&, k](Index i) {
                           cuda::softmax_states(stream, at(h, i).matrix(t, d), at(w, i).matrix(v, d),
                                                {ids.view().slice(0, 0, k)}, states.view().slice(0, 0, k),
                                                candidate_workspace.view());
                         }});

  const double flops = 2.0 * static_cast<double>(t) * static_cast<double>(d) * static_cast<double>(v);
  const int repeats = std::clamp(static_cast<int>(1.2e12 / flops), 1, 20);
  for (Entry& entry : entries) {
    entry.run(0);
    cudaGraph_t graph = nullptr;
    cuda::check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    for (int i = 0; i < repeats; ++i) entry.run(i % sets);
    cuda::check(cudaStreamEndCapture(stream.get(), &graph), "cudaStreamEndCapture");
    cuda::check(cudaGraphInstantiate(&entry.graph, graph, 0), "cudaGraphInstantiate");
    cudaGraphDestroy(graph);
  }
  cuda::Event start, stop;
  const auto time = [&](auto&& work) {
    start.record(stream);
    work();
    stop.record(stream);
    stop.synchronize();
    return 1e3f * stop.milliseconds_since(start);
  };
  for (int round = -2; round < rounds; ++round)  // two to warm up
    for (Entry& entry : entries) {
      const float hot = time([&] { cuda::check(cudaGraphLaunch(entry.graph, stream.get()), "cudaGraphLaunch"); });
      touch<<<1024, 256, 0, stream.get()>>>(cache_filler.data(), static_cast<std::size_t>(cache_filler.size()));
      const float cold = time([&] { entry.run((round + 2) % sets); });
      if (round < 0) continue;
      entry.hot.push_back(hot / static_cast<float>(repeats));
      entry.cold.push_back(cold);
    }
  cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");

  const float gemm = std::min(median(entries[0].hot), median(entries[1].hot));
  std::printf("T %td, d %td, V %td; extra memory %.1f MB\n", t, d, v,
              static_cast<double>(cuda::softmax_workspace_size(t, v)) * sizeof(SoftmaxState) * 1e-6);
  for (Entry& entry : entries) {
    const float hot = median(entry.hot);
    std::printf("  %-24s %8.1f us   cold %8.1f us", entry.name.c_str(), static_cast<double>(hot),
                static_cast<double>(median(entry.cold)));
    if (entry.name.find("candidates") == std::string::npos)
      std::printf("   %6.1f TFLOP/s   %5.1f %% of the GEMM", flops / static_cast<double>(hot) * 1e-6,
                  100.0 * static_cast<double>(gemm / hot));
    std::printf("\n");
    cudaGraphExecDestroy(entry.graph);
  }
  std::fflush(stdout);
}

/// What a decoding step costs beside the model, in a graph. The row of logits is copied first, because a step leaves
/// scores in its place; that copy alone is measured beside it.
void measure_steps(Index t, Index d, Index v, int rounds) {
  constexpr Index layers = 8, sequences = 8;
  constexpr int repeats = 50;
  cuda::Stream stream;
  const float scale = std::sqrt(1.0f / std::sqrt(static_cast<float>(d)));
  Buffer<BFloat16, Cuda> h(t * d), w(v * d), states((layers + 1) * d);
  std::uint64_t seed = 1;
  for (Buffer<BFloat16, Cuda>* x : {&h, &w, &states})
    fill_normal<<<1024, 256, 0, stream.get()>>>(x->data(), static_cast<std::size_t>(x->size()), scale, ++seed);
  std::vector<float> host;  // about 20 tokens pass the filter
  for (Index i = 0; i < sequences * v; ++i)
    host.push_back(static_cast<float>((i * 7919 + 13) % 1009) / 1009.0f * 4.0f + (i % v % (v / 20) == 7 ? 8.0f : 0.0f));
  Buffer<float, Cuda> logits(sequences * v), row(sequences * v), layer_logits((layers + 1) * v);
  cuda::copy(stream, VectorView<const float>(host), logits.view());

  const auto make = [&](Index count) {
    EntropySharpnessBatch<Cuda> batch(stream, {.vocab = v, .hidden = d, .positions = t, .sequences = count});
    for (Index b = 0; b < count; ++b) batch.observe_context(b, h.matrix(t, d), std::as_const(w).matrix(v, d));
    return batch;
  };
  EntropySharpnessBatch<Cuda> one = make(1), many = make(sequences);
  std::vector<Index> numbers;
  for (Index j = 0; j < layers; ++j) numbers.push_back(2 * j);
  cuda::DolaProcessor dola(stream, v, numbers);
  const auto copy_row = [&](Index count) {
    cuda::copy(stream, std::as_const(logits).view().slice(0, 0, count * v), row.view().slice(0, 0, count * v));
  };
  const auto early = layer_logits.matrix(layers + 1, v);
  struct Step {
    const char* name;
    std::function<void()> run;
    std::vector<float> times{};
  };
  std::vector<Step> steps{
      {"copy of a row", [&] { copy_row(1); }},
      {"copy + step, memo warm", [&] { copy_row(1), one.process(row.matrix(1, v)); }},
      {"copy of 8 rows", [&] { copy_row(sequences); }},
      {"copy + step of 8 sequences", [&] { copy_row(sequences), many.process(row.matrix(sequences, v)); }},
      {"LM head of 9 states",
       [&] { cuda::lm_head_logits(stream, states.matrix(layers + 1, d), w.matrix(v, d), early); }},
      {"copy + DoLa of 8 layers",
       [&] { copy_row(1), dola.observe_layers(early.slice(0, 0, layers)), dola.process(row.view().slice(0, 0, v)); }}};
  for (Step& step : steps) step.run();  // fills the memo
  std::vector<cuda::Graph> graphs;
  for (Step& step : steps)
    graphs.emplace_back(stream, [&](cuda::StreamView) {
      for (int i = 0; i < repeats; ++i) step.run();
    });
  cuda::Event start, stop;
  for (int round = -2; round < rounds; ++round)
    for (std::size_t i = 0; i < steps.size(); ++i) {
      start.record(stream);
      graphs[i].launch(stream);
      stop.record(stream);
      stop.synchronize();
      if (round >= 0) steps[i].times.push_back(1e3f * stop.milliseconds_since(start) / repeats);
    }
  std::printf("steps in a graph, T %td, d %td, V %td; %zu survivors\n", t, d, v, one.record(0).kept.size());
  for (const Step& step : steps) std::printf("  %-27s %8.1f us\n", step.name, static_cast<double>(median(step.times)));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 15;
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 77;
  }
  cudaDeviceProp device{};
  cuda::check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  std::printf("%s, %d multiprocessors, %d MB of L2; medians of %d rounds, hot: in a graph\n", device.name,
              device.multiProcessorCount, device.l2CacheSize >> 20, rounds);
  Buffer<float4, Cuda> cache_filler(Index{10} << 20);  // 160 MB, three times the L2 of an H100
  cuda::check(cudaMemset(cache_filler.data(), 0, static_cast<std::size_t>(cache_filler.size()) * sizeof(float4)),
              "cudaMemset");
  for (const Shape& shape :
       {Shape{512, 4096, 32000}, Shape{2048, 4096, 128256}, Shape{4096, 8192, 32000}, Shape{512, 576, 49152},
        Shape{64, 4096, 32000}, Shape{128, 4096, 128256}, Shape{300, 4096, 32000}, Shape{2048, 576, 49152}})
    measure(shape, rounds, cache_filler);
  measure_steps(512, 4096, 32000, rounds);
  measure_steps(512, 576, 49152, rounds);
  measure_steps(512, 4096, 128256, rounds);
}
