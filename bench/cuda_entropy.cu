// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The device kernels beside cublasLt's matrix product alone, of the same operands in the same run, and what a decoding
// step costs beside the model. Google Benchmark with times from events; the table comes last.
//   bench_cuda_entropy [--benchmark_filter=512x4096 ...]
// One measurement after the other would not be fair: a card at its power limit makes what comes later 15 % slower (2720
// and 3190 us for the same product, H100). So 15 repetitions of everything are interleaved at random, and medians
// count. Beside each kernel: its share of the floor, by the operations and bytes that the card reaches in a long
// product and a copy of the same run, and its largest error against float64, over some items.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/cuda.cuh"
#include "cuda/support.cuh"
#include "cuda_gemm.cuh"

using namespace activation_trace;
using bench::fill;
using bench::Gemm;

namespace {

__global__ void touch(float4* data, std::size_t n) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x)
    data[i].x += 1.0f;
}

struct Shape {
  Index t, d, v;

  [[nodiscard]] std::string name() const {
    return std::to_string(t) + "x" + std::to_string(d) + "x" + std::to_string(v);
  }
  [[nodiscard]] double flops() const {
    return 2.0 * static_cast<double>(t) * static_cast<double>(d) * static_cast<double>(v);
  }
  /// Of 16-bit operands, each read once, at what the device reaches elsewhere in the same run.
  [[nodiscard]] double floor_us() const {
    const double bytes = 2.0 * static_cast<double>(d) * static_cast<double>(t + v) + 4.0 * static_cast<double>(v);
    return 1e6 * std::max(flops() / bench::ceilings().flops, bytes / bench::ceilings().bytes);
  }
};

/// For logits of about N(0, 1).
float scale_of(Index d) { return std::sqrt(1.0f / std::sqrt(static_cast<float>(d))); }

/// Some work on a stream, alone or several times in a graph.
class Entry {
 public:
  Entry(Execution<Cuda> stream, int repeats, std::function<void(int)> work)
      : stream_(stream), repeats_(repeats), work_(std::move(work)), start_(stream), stop_(stream) {
    for (int i = 0; i < 3; ++i) work_(i);
    graph_.emplace(stream_, [&](Execution<Cuda>) {
      for (int i = 0; i < repeats_; ++i) work_(i);
    });
    graph_->launch(stream_);
    stream_.synchronize();
  }

  /// The work on the first operands.
  void first() const { work_(0); }
  /// Seconds of one of several in a graph.
  [[nodiscard]] double hot() {
    return time([&] { graph_->launch(stream_); }) / repeats_;
  }
  /// Seconds of one that finds nothing in the L2 cache.
  [[nodiscard]] double cold(Buffer<float4, Cuda>& cache_filler) {
    touch<<<1024, 256, 0, stream_.get()>>>(cache_filler.data(), static_cast<std::size_t>(cache_filler.size()));
    return time([&] { work_(round_++); });
  }

 private:
  template <class Work>
  double time(const Work& work) {
    start_.record(stream_);
    work();
    stop_.record(stream_);
    stop_.synchronize();
    return 1e-3 * static_cast<double>(stop_.milliseconds_since(start_));
  }

  Execution<Cuda> stream_;
  int repeats_;
  std::function<void(int)> work_;
  std::optional<cuda::Graph> graph_;
  cuda::Event start_, stop_;
  int round_ = 0;
};

/// Operands of one shape, and the kernels on them.
class Kernels {
 public:
  explicit Kernels(const Shape& shape)
      : shape_(shape),
        // Several sets of operands in turn, so that none is in the L2 cache from its last use.
        sets_(static_cast<int>(std::clamp<Index>(1500000000 / (2 * shape.v * shape.d), 1, 4))),
        repeats_(std::clamp(static_cast<int>(1.2e12 / shape.flops()), 1, 20)),
        workspace_(cuda::softmax_workspace_size(shape.t, shape.v)),
        entropy_(shape.v),
        ids_(most_),
        states_(most_),
        float_h_(shape.t * shape.d),
        candidate_workspace_(cuda::candidate_workspace_size(shape.t, most_)) {
    for (int i = 0; i < sets_; ++i) {
      fill(stream_, h_.emplace_back(shape.t * shape.d), scale_of(shape.d), 2 * i + 1);
      fill(stream_, w_.emplace_back(shape.v * shape.d), scale_of(shape.d), 2 * i + 2);
    }
    fill(stream_, float_h_, scale_of(shape.d), 1);
    std::vector<TokenId> ids;
    for (Index i = 0; i < most_; ++i) ids.push_back(static_cast<TokenId>((i * 7919 + 13) % shape.v));
    cuda::copy(stream_, VectorView<const TokenId>(ids), ids_.view());
    stream_.synchronize();
  }

  [[nodiscard]] std::unique_ptr<Entry> gemm(cudaDataType_t out) {
    std::unique_ptr<Gemm>& gemm = out == CUDA_R_32F ? gemm32_ : gemm16_;
    gemm = std::make_unique<Gemm>(stream_, shape_.t, shape_.d, shape_.v, h_[0].data(), w_[0].data(), out);
    return entry([this, &gemm](int i) { gemm->run(h_[set(i)].data(), w_[set(i)].data()); });
  }
  [[nodiscard]] std::unique_ptr<Entry> entropy(cuda::SoftmaxKernel kernel) {
    return entry([this, kernel](int i) {
      cuda::softmax_entropy(stream_, h(i), w(i), entropy_.view(), workspace_.view(), {.kernel = kernel});
    });
  }
  /// Of f32 states, whose LM head is the same.
  [[nodiscard]] std::unique_ptr<Entry> float_states_entropy() {
    return entry([this](int i) {
      cuda::softmax_entropy(stream_, float_h_.matrix(shape_.t, shape_.d), StoredMatrix<Cuda>(w(i)), entropy_.view(),
                            workspace_.view());
    });
  }
  /// Largest |E - float64| of what `entry` leaves of the first operands, over some items, in nats.
  [[nodiscard]] double error(const Entry& entry, bool float_states) {
    cuda::set_bytes(stream_, entropy_.view(), 0xff);  // NaN: what is not written shows
    entry.first();
    const std::vector<float> entropies = test::to_host(entropy_);
    const std::vector<BFloat16> rows = float_states ? std::vector<BFloat16>{} : test::to_host(h_[0]);
    const std::vector<float> float_rows = float_states ? test::to_host(float_h_) : std::vector<float>{};
    double worst = 0;
    for (Index i = 0; i < 16; ++i) {
      const Index item = i * (shape_.v - 1) / 15;
      const std::vector<BFloat16> row =
          test::to_host(std::as_const(w_[0]).view().slice(0, item * shape_.d, (item + 1) * shape_.d));
      std::vector<float> float_row(row.size());
      std::transform(row.begin(), row.end(), float_row.begin(), [](BFloat16 x) { return static_cast<float>(x); });
      const std::vector<double> logits = float_states ? test::logits_oracle(float_rows, float_row, shape_.d, 0)
                                                      : test::logits_oracle(rows, row, shape_.d, 0);
      const double one = std::abs(entropies[static_cast<std::size_t>(item)] - test::entropy_oracle(logits));
      if (std::isnan(one)) return one;
      worst = std::max(worst, one);
    }
    return worst;
  }
  [[nodiscard]] std::unique_ptr<Entry> candidates(Index k) {
    return entry([this, k](int i) {
      cuda::softmax_states(stream_, h(i), w(i), {std::as_const(ids_).view().slice(0, 0, k)},
                           states_.view().slice(0, 0, k), candidate_workspace_.view());
    });
  }

 private:
  static constexpr Index most_ = 1024;

  [[nodiscard]] std::unique_ptr<Entry> entry(std::function<void(int)> work) {
    return std::make_unique<Entry>(stream_, repeats_, std::move(work));
  }
  [[nodiscard]] std::size_t set(int i) const { return static_cast<std::size_t>(i % sets_); }
  [[nodiscard]] MatrixView<BFloat16, Cuda> h(int i) { return h_[set(i)].matrix(shape_.t, shape_.d); }
  [[nodiscard]] MatrixView<const BFloat16, Cuda> w(int i) {
    return std::as_const(w_[set(i)]).matrix(shape_.v, shape_.d);
  }

  Shape shape_;
  int sets_, repeats_;
  cuda::Stream stream_;
  std::vector<Buffer<BFloat16, Cuda>> h_, w_;
  std::unique_ptr<Gemm> gemm16_, gemm32_;
  Buffer<SoftmaxState, Cuda> workspace_;
  Buffer<float, Cuda> entropy_;
  Buffer<TokenId, Cuda> ids_;
  Buffer<SoftmaxState, Cuda> states_;
  Buffer<float, Cuda> float_h_;
  Buffer<SoftmaxState, Cuda> candidate_workspace_;
};

/// What a decoding step costs beside the model. The row of logits is copied first, because a step leaves scores in its
/// place; that copy alone is measured beside it.
class Steps {
 public:
  explicit Steps(const Shape& shape)
      : shape_(shape),
        h_(shape.t * shape.d),
        w_(shape.v * shape.d),
        layer_states_((layers_ + 1) * shape.d),
        logits_(sequences_ * shape.v),
        rows_(sequences_ * shape.v),
        layer_logits_((layers_ + 1) * shape.v),
        one_(batch(1)),
        many_(batch(sequences_)),
        dola_(stream_, shape.v, {0, 2, 4, 6, 8, 10, 12, 14}) {
    Index seed = 0;
    for (Buffer<BFloat16, Cuda>* x : {&h_, &w_, &layer_states_}) fill(stream_, *x, scale_of(shape.d), ++seed);
    std::vector<float> logits;  // 20 tokens of each row pass the filter
    for (Index i = 0; i < sequences_ * shape.v; ++i)
      logits.push_back(static_cast<float>((i * 7919 + 13) % 1009) / 1009.0f +
                       (i % shape.v % (shape.v / 20) == 7 ? 8.0f : 0.0f));
    cuda::copy(stream_, VectorView<const float>(logits), logits_.view());
    for (EntropySharpnessBatch<Cuda>* b : {&one_, &many_})
      for (Index i = 0; i < b->size(); ++i)
        (*b)[i].observe_context(h_.matrix(shape.t, shape.d), std::as_const(w_).matrix(shape.v, shape.d));
    stream_.synchronize();
  }

  [[nodiscard]] std::unique_ptr<Entry> copy(Index count) {
    return entry([this, count](int) { copy_rows(count); });
  }
  [[nodiscard]] std::unique_ptr<Entry> sharpness(Index count) {
    return entry([this, count](int) {
      copy_rows(count);
      (count == 1 ? one_ : many_).process(rows_.matrix(count, shape_.v));
    });
  }
  [[nodiscard]] std::unique_ptr<Entry> lm_head() {
    return entry([this](int) {
      cuda::lm_head_logits(stream_, layer_states_.matrix(layers_ + 1, shape_.d),
                           std::as_const(w_).matrix(shape_.v, shape_.d), layer_logits_.matrix(layers_ + 1, shape_.v));
    });
  }
  [[nodiscard]] std::unique_ptr<Entry> dola() {
    return entry([this](int) {
      copy_rows(1);
      dola_.observe_layers(std::as_const(layer_logits_).matrix(layers_, shape_.v));
      dola_.process(rows_.view().slice(0, 0, shape_.v));
    });
  }
  static constexpr Index sequences() { return sequences_; }

 private:
  static constexpr Index layers_ = 8, sequences_ = 8;
  static constexpr int repeats_ = 50;

  [[nodiscard]] EntropySharpnessBatch<Cuda> batch(Index count) {
    return {stream_, {.vocab = shape_.v, .hidden = shape_.d, .positions = shape_.t, .sequences = count}};
  }
  [[nodiscard]] std::unique_ptr<Entry> entry(std::function<void(int)> work) {
    return std::make_unique<Entry>(stream_, repeats_, std::move(work));
  }
  void copy_rows(Index count) {
    cuda::copy(stream_, std::as_const(logits_).view().slice(0, 0, count * shape_.v),
               rows_.view().slice(0, 0, count * shape_.v));
  }

  Shape shape_;
  cuda::Stream stream_;
  Buffer<BFloat16, Cuda> h_, w_, layer_states_;
  Buffer<float, Cuda> logits_, rows_, layer_logits_;
  EntropySharpnessBatch<Cuda> one_, many_;
  cuda::DolaProcessor dola_;
};

/// Keeps medians, and prints them as a table in the end: share of the faster product's speed beside each.
class Table : public benchmark::BenchmarkReporter {
 public:
  void add(const Shape& shape, const std::string& entry) { rows_.push_back({shape, entry}); }
  void add_error(const std::string& name, double error) { errors_[name] = error; }

  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.error_occurred) std::printf("%s: %s\n", run.benchmark_name().c_str(), run.error_message.c_str());
      if (run.run_type == Run::RT_Aggregate && run.aggregate_name == "median")
        medians_[run.run_name.str()] = run.GetAdjustedRealTime();
    }
  }
  void Finalize() override {
    std::string shape;
    double gemm = 0;
    for (const Row& row : rows_) {
      const double hot = median(row, "hot");
      const double cold = median(row, "cold");
      if (hot == 0) continue;  // filtered out
      if (row.shape.name() != shape) {
        shape = row.shape.name();
        gemm = 0;
        std::printf(
            "T x d x V %s; floor %.1f us, extra memory %.1f MB\n", shape.c_str(), row.shape.floor_us(),
            static_cast<double>(cuda::softmax_workspace_size(row.shape.t, row.shape.v)) * sizeof(SoftmaxState) * 1e-6);
      }
      std::printf("  %-22s %8.1f us", row.entry.c_str(), hot);
      if (cold != 0) std::printf("   cold %8.1f us", cold);
      if (row.entry.starts_with("gemm")) gemm = gemm == 0 ? hot : std::min(gemm, hot);
      if (row.entry.starts_with("gemm") || row.entry.starts_with("softmax"))
        std::printf("   %6.1f TFLOP/s   %5.2f of the floor", row.shape.flops() / hot * 1e-6,
                    row.shape.floor_us() / hot);
      if (gemm != 0 && row.entry.starts_with("softmax")) std::printf("   %5.1f %% of the GEMM", 100 * gemm / hot);
      if (const auto error = errors_.find(row.shape.name() + "/" + row.entry); error != errors_.end())
        std::printf("   max |dE| %.1e", error->second);
      std::printf("\n");
    }
  }

 private:
  struct Row {
    Shape shape;
    std::string entry;
  };
  [[nodiscard]] double median(const Row& row, const char* kind) const {
    // The rest of a run's name says how often and by what clock.
    const std::string name = row.shape.name() + "/" + row.entry + "/" + kind + "/";
    const auto found = medians_.lower_bound(name);
    return found != medians_.end() && found->first.starts_with(name) ? found->second : 0;
  }

  std::vector<Row> rows_;
  std::map<std::string, double> medians_;  // us
  std::map<std::string, double> errors_;   // nats
};

/// What is measured: memory is made when a benchmark first runs, so that a filter saves it. One iteration a repetition.
class Measurements {
 public:
  explicit Measurements(Table& table) : table_(table) {}

  void add_all();

 private:
  enum class Times { hot, hot_and_cold };

  using Error = std::function<double(const Entry&)>;

  void add(const Shape& shape, const std::string& name, Times times, std::function<std::unique_ptr<Entry>()> make,
           const Error& error = {}) {
    const std::string full = shape.name() + "/" + name;
    table_.add(shape, name);
    const auto bench = [&](const char* kind, auto measure) {
      benchmark::RegisterBenchmark((full + "/" + kind).c_str(),
                                   [=, this](benchmark::State& state) {
                                     std::unique_ptr<Entry>& entry = entries_[full];
                                     if (!entry) {
                                       entry = make();
                                       if (error) table_.add_error(full, error(*entry));
                                     }
                                     for (auto _ : state) state.SetIterationTime(measure(*entry));
                                   })
          ->UseManualTime()
          ->Iterations(1)
          ->Unit(benchmark::kMicrosecond);
    };
    bench("hot", [](Entry& entry) { return entry.hot(); });
    if (times == Times::hot_and_cold) bench("cold", [this](Entry& entry) { return entry.cold(cache_filler_); });
  }

  Kernels& kernels_of(const Shape& shape) {
    std::unique_ptr<Kernels>& found = kernels_[shape.name()];
    if (!found) found = std::make_unique<Kernels>(shape);
    return *found;
  }
  Steps& steps_of(const Shape& shape) {
    std::unique_ptr<Steps>& found = steps_[shape.name()];
    if (!found) found = std::make_unique<Steps>(shape);
    return *found;
  }

  static Buffer<float4, Cuda> make_cache_filler() {
    Buffer<float4, Cuda> filler(Index{10} << 20);  // 160 MB, three times the L2 of an H100
    cuda::check(cudaMemset(filler.data(), 0, static_cast<std::size_t>(filler.size()) * sizeof(float4)), "cudaMemset");
    Execution<Cuda>{}.synchronize();  // the streams of the measurements have no order with the default one
    return filler;
  }

  Table& table_;
  Buffer<float4, Cuda> cache_filler_ = make_cache_filler();
  std::map<std::string, std::unique_ptr<Kernels>> kernels_;
  std::map<std::string, std::unique_ptr<Steps>> steps_;
  std::map<std::string, std::unique_ptr<Entry>> entries_;
};

void Measurements::add_all() {
  using cuda::SoftmaxKernel;
  for (const Shape& shape :
       {Shape{512, 4096, 32000}, Shape{2048, 4096, 128256}, Shape{4096, 8192, 32000}, Shape{512, 576, 49152},
        Shape{64, 4096, 32000}, Shape{128, 4096, 128256}, Shape{300, 4096, 32000}, Shape{2048, 576, 49152}}) {
    constexpr Times both = Times::hot_and_cold;
    add(shape, "gemm_bf16_out", both, [=, this] { return kernels_of(shape).gemm(CUDA_R_16BF); });
    add(shape, "gemm_f32_out", both, [=, this] { return kernels_of(shape).gemm(CUDA_R_32F); });
    const Error error = [=, this](const Entry& entry) { return kernels_of(shape).error(entry, false); };
    add(
        shape, "softmax_entropy", both, [=, this] { return kernels_of(shape).entropy(SoftmaxKernel::automatic); },
        error);
    add(
        shape, "softmax_entropy_mma", both, [=, this] { return kernels_of(shape).entropy(SoftmaxKernel::mma); }, error);
    add(
        shape, "softmax_entropy_of_f32", both, [=, this] { return kernels_of(shape).float_states_entropy(); },
        [=, this](const Entry& entry) { return kernels_of(shape).error(entry, true); });
    if (shape.t == 512)
      for (const Index k : {1, 4, 16, 64, 256, 1024})
        add(shape, std::to_string(k) + "_candidates", both, [=, this] { return kernels_of(shape).candidates(k); });
  }
  for (const Shape& shape : {Shape{512, 4096, 32000}, Shape{512, 576, 49152}, Shape{512, 4096, 128256}}) {
    add(shape, "copy_1_row", Times::hot, [=, this] { return steps_of(shape).copy(1); });
    add(shape, "copy_and_step", Times::hot, [=, this] { return steps_of(shape).sharpness(1); });
    add(shape, "copy_8_rows", Times::hot, [=, this] { return steps_of(shape).copy(Steps::sequences()); });
    add(shape, "copy_and_step_of_8", Times::hot, [=, this] { return steps_of(shape).sharpness(Steps::sequences()); });
    add(shape, "lm_head_of_9_states", Times::hot, [=, this] { return steps_of(shape).lm_head(); });
    add(shape, "copy_and_dola_of_8", Times::hot, [=, this] { return steps_of(shape).dola(); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (!bench::has_device()) return 77;
  cudaDeviceProp device{};
  cuda::check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  std::printf("%s, %d multiprocessors, %d MB of L2; medians, hot: in a graph\n", device.name,
              device.multiProcessorCount, device.l2CacheSize >> 20);

  std::vector<std::string> words{argv[0], "--benchmark_repetitions=15", "--benchmark_enable_random_interleaving=true"};
  words.insert(words.end(), argv + 1, argv + argc);  // what is given counts, it comes last
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;

  Table table;
  Measurements measurements(table);
  measurements.add_all();
  benchmark::RunSpecifiedBenchmarks(&table);
}
