// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

#include "activation_trace/cuda/device_weights.cuh"
#include "activation_trace/cuda/graph.cuh"
#include "activation_trace/cuda/ops/elements.cuh"
#include "activation_trace/cuda/ops/lm_head_logits.cuh"
#include "activation_trace/cuda/processors/contrastive.cuh"
#include "activation_trace/cuda/processors/dola.cuh"
#include "activation_trace/cuda/processors/entropy_sharpness.cuh"
#include "activation_trace/cuda/shown_states.cuh"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "on_cpu/runtime.hpp"
#include "support.cuh"

// What shows only on a machine that is as late and as strict as CUDA allows, and has several devices: see
// on_cpu/runtime.hpp.
using namespace activation_trace;
using namespace activation_trace::test;
using cuda_on_cpu::devices;

namespace {

void forgets_to_wait() {}
void waits() { cuda::ptx::wait_for_previous(); }

struct CurrentDevice {
  explicit CurrentDevice(int device) { cudaSetDevice(device); }
  ~CurrentDevice() { cudaSetDevice(0); }
};

[[nodiscard]] int current_device() {
  int device = -1;
  cudaGetDevice(&device);
  return device;
}

}  // namespace

TEST_CASE("the work of a stream is done when somebody waits for that stream, and not before") {
  const cuda::Stream stream, other;
  Buffer<int, Cuda> a = to_device(std::vector<int>{1});
  const Buffer<int, Cuda> b = to_device(std::vector<int>{2});
  cuda::copy(stream, b.view(), a.view());
  CHECK(*a.data() == 1);
  other.synchronize();
  Execution<Cuda>{}.synchronize();
  CHECK(*a.data() == 1);
  // What the tests' helper did: a copy on the default stream does not wait for another.
  int seen = 0;
  cuda::copy(Execution<Cuda>{}, std::as_const(a).view(), VectorView<int>(&seen, {1}));
  CHECK(seen == 1);
  stream.synchronize();
  CHECK(*a.data() == 2);

  const std::vector<int> three{3};
  cuda::copy(stream, VectorView<const int>(three), a.view());  // out of pageable memory, and on its way
  CHECK(*a.data() == 2);
  CHECK(to_host(a)[0] == 3);
}

TEST_CASE("recorded work is done when its graph was launched, and what waits cannot be recorded") {
  const cuda::Stream stream;
  Buffer<int, Cuda> a = to_device(std::vector<int>{1});
  const Buffer<int, Cuda> b = to_device(std::vector<int>{2});
  const cuda::Graph graph(stream, [&](Execution<Cuda> queue) { cuda::copy(queue, b.view(), a.view()); });
  stream.synchronize();
  CHECK(to_host(a)[0] == 1);
  graph.launch(stream);
  CHECK(*a.data() == 1);
  stream.synchronize();
  CHECK(*a.data() == 2);
  CHECK_THROWS_AS(cuda::Graph(stream, [](Execution<Cuda> queue) { queue.synchronize(); }), CudaError);
  CHECK_THROWS_AS(cuda::Graph(stream, [](Execution<Cuda>) { const Buffer<int, Cuda> memory(3); }), CudaError);
}

TEST_CASE("scratch memory grows, is shared by copies, and stays for graphs that name it") {
  const cuda::Stream stream;
  const std::size_t before = devices[0].bytes;
  {
    const Execution<Cuda> execution(stream.get());
    const Execution<Cuda> copy = execution;
    const VectorView<int, Cuda> small = execution.scratch<int>(1);
    CHECK(copy.scratch<float>(100).data() == reinterpret_cast<float*>(small.data()));
    const std::vector<int> seven{7};
    cuda::copy(execution, VectorView<const int>(seven), small);
    Buffer<int, Cuda> seen = to_device(std::vector<int>{0});
    const cuda::Graph graph(stream, [&](Execution<Cuda>) { cuda::copy(copy, copy.scratch<int>(1), seen.view()); });
    CHECK_THROWS_AS(cuda::Graph(stream, [&](Execution<Cuda>) { (void)copy.scratch<int>(1 << 20); }), StateError);
    const VectorView<int, Cuda> large = copy.scratch<int>(1 << 20);
    CHECK(large.data() != small.data());
    CHECK(execution.scratch<int>(2).data() == large.data());
    graph.launch(stream);
    CHECK(to_host(seen)[0] == 7);
    CHECK(execution.scratch<int>(0).size() == 0);
  }
  CHECK(devices[0].bytes == before);
}

TEST_CASE("weights that a device has no memory for are an error with the sums") {
  const std::vector<float> values(3 << 18);
  LlamaWeights<> weights;
  weights.embedding = as_matrix(std::span<const float>(values), 3, 1 << 18);
  weights.lm_head = weights.embedding;
  cuda_on_cpu::Device& device = devices[0];
  device.total = device.bytes + (5 << 18);
  CHECK_THROWS_WITH_AS(cuda::DeviceWeights(Execution<Cuda>{}, weights),
                       "DeviceWeights: the weights take 3 MiB, and of the 1 MiB of CUDA device 0 only 1 MiB are free",
                       Error);
  device.total += 7 << 18;
  CHECK(cuda::DeviceWeights(Execution<Cuda>{}, weights).bytes() == 3 << 20);
  device.total = std::size_t{1} << 40;
}

TEST_CASE("memory is made and given back while another thread records, whose graph is not lost") {
  // In CUDA's default mode, as PyTorch records: plain calls of another thread are errors, and end it.
  const cuda::Stream stream;
  Buffer<int, Cuda> a = to_device(std::vector<int>{1});
  const Buffer<int, Cuda> b = to_device(std::vector<int>{2});
  for (const bool plain : {false, true}) {
    CAPTURE(plain);
    REQUIRE(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal) == cudaSuccess);
    cuda::copy(stream, b.view(), a.view());
    std::thread([&] {
      if (plain) {
        void* memory = nullptr;
        CHECK(cudaMalloc(&memory, 4) != cudaSuccess);
      } else {
        CHECK_NOTHROW(Buffer<int, Cuda>(3));
      }
    }).join();
    cudaGraph_t graph = nullptr;
    CHECK((cudaStreamEndCapture(stream.get(), &graph) == cudaSuccess) == !plain);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
}

TEST_CASE("a kernel is launched as a dependent one where its code waits, whatever the device could do") {
  using cuda::detail::blocks;
  using cuda::detail::launch_dependent;
  for (const int device : {0, 1}) {
    CAPTURE(device);
    const CurrentDevice current(device);
    const cuda::Stream stream;
    const int before = devices[static_cast<std::size_t>(device)].dependent_launches;
    launch_dependent(stream, "waits", {blocks(1), 1}, &waits);
    CHECK_NOTHROW(stream.synchronize());
    CHECK(devices[static_cast<std::size_t>(device)].dependent_launches - before == (device == 0 ? 1 : 0));
  }
  // And the machine notices: this one would read what the kernel ahead of it has not written yet.
  const cuda::Stream stream;
  launch_dependent(stream, "forgets_to_wait", {blocks(1), 1}, &forgets_to_wait);
  CHECK_THROWS_AS(stream.synchronize(), std::logic_error);
}

TEST_CASE("the kernel for sm_90a is there on a device that is one, and refused on another") {
  using cuda::SoftmaxKernel;
  for (const int device : {0, 1}) {
    const CurrentDevice current(device);
    const Buffer<Half, Cuda> hidden = to_device(normal_vector<Half>(70 * 72, 1, 1));
    const Buffer<Half, Cuda> w = to_device(normal_vector<Half>(9 * 72, 1, 2));
    Buffer<float, Cuda> entropies(9);
    Buffer<SoftmaxState, Cuda> workspace(cuda::softmax_workspace_size(70, 9));
    const auto run = [&] {
      cuda::softmax_entropy(Execution<Cuda>{}, hidden.matrix(70, 72), w.matrix(9, 72), entropies.view(),
                            workspace.view(), {.kernel = SoftmaxKernel::wgmma});
      Execution<Cuda>{}.synchronize();
    };
    if (device == 0)
      CHECK_NOTHROW(run());
    else
      CHECK_THROWS_AS(run(), ArgumentError);
  }
}

TEST_CASE("shared memory beyond 48 KiB is asked for on each device, and no more than it has") {
  const auto launch = [](int device, int kibibytes) {
    const CurrentDevice restored(device);
    const cuda::Stream stream;
    cudaLaunchConfig_t config{};
    config.gridDim = 1;
    config.blockDim = 32;
    config.dynamicSmemBytes = static_cast<std::size_t>(kibibytes) << 10;
    config.stream = stream.get();
    return cudaLaunchKernelEx(&config, waits);
  };
  const auto allow = [](int device, int kibibytes) {
    const CurrentDevice restored(device);
    return cudaFuncSetAttribute(waits, cudaFuncAttributeMaxDynamicSharedMemorySize, kibibytes << 10);
  };
  CHECK(launch(0, 48) == cudaSuccess);
  CHECK(launch(0, 49) == cudaErrorInvalidValue);
  CHECK(allow(0, 227) == cudaSuccess);
  CHECK(launch(0, 227) == cudaSuccess);
  CHECK(launch(2, 49) == cudaErrorInvalidValue);  // another device
  CHECK(allow(0, 228) == cudaErrorInvalidValue);
  CHECK(allow(1, 99) == cudaSuccess);
  CHECK(allow(1, 100) == cudaErrorInvalidValue);
}

TEST_CASE("a device's kernel is named before it runs") {
  using cuda::SoftmaxKernel;
  for (const int device : {0, 1}) {
    const CurrentDevice current(device);
    CHECK(cuda::automatic_kernel<Half>({}) == (device == 0 ? SoftmaxKernel::wgmma : SoftmaxKernel::mma));
    CHECK(cuda::automatic_kernel<BFloat16>({}) == cuda::automatic_kernel<Half>({}));
    CHECK(cuda::automatic_kernel<float>({}) == SoftmaxKernel::mma);
  }
}

TEST_CASE("an event is reached when the work ahead of it is done, and what comes after it need not be") {
  const cuda::Stream stream;
  Buffer<int, Cuda> a = to_device(std::vector<int>{1, 1});
  const Buffer<int, Cuda> b = to_device(std::vector<int>{2});
  cuda::Event event(stream);
  cuda::copy(stream, b.view(), a.view().slice(0, 0, 1));
  event.record(stream);
  cuda::copy(stream, b.view(), a.view().slice(0, 1, 2));
  event.synchronize();
  CHECK(a.data()[0] == 2);
  CHECK(a.data()[1] == 1);
  CHECK(to_host(a)[1] == 2);
}

TEST_CASE("a stream waits for another's event, and for nothing behind it") {
  const cuda::Stream stream, other;
  Buffer<int, Cuda> a = to_device(std::vector<int>{1, 1, 1});
  const Buffer<int, Cuda> b = to_device(std::vector<int>{2});
  cuda::Event event(stream);
  cuda::copy(stream, b.view(), a.view().slice(0, 0, 1));
  event.record(stream);
  cuda::copy(stream, b.view(), a.view().slice(0, 1, 2));
  REQUIRE(cudaStreamWaitEvent(other.get(), event.get(), 0) == cudaSuccess);
  cuda::copy(other, std::as_const(a).view().slice(0, 0, 1), a.view().slice(0, 2, 3));
  CHECK(a.data()[0] == 1);
  other.synchronize();
  CHECK(a.data()[0] == 2);
  CHECK(a.data()[1] == 1);
  CHECK(a.data()[2] == 2);
}

TEST_CASE("states for observers are shown in order, and only when there is no room for more") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  std::vector<float> seen;
  const LayerObserver<> observer{.layers = {1}, .on_states = [&](Index layer, Index first, MatrixView<const float> m) {
                                   CHECK(layer == 1);
                                   CHECK(first == static_cast<Index>(seen.size()));
                                   for (Index i = 0; i < m.extent(0); ++i) seen.push_back(m(i, 0));
                                 }};
  std::vector<float> numbers;
  for (int i = 0; i < 40; ++i) numbers.push_back(static_cast<float>(i));
  const Buffer<float, Cuda> states = to_device(numbers);
  cuda::ShownStates shown;
  shown.reserve(10);
  Index sent = 0;
  for (const Index rows : {4, 4, 3, 1, 6, 10, 11, 1}) {  // around the end, all of it, more than there is
    const std::size_t before = seen.size();
    shown.send(execution, observer, 1, sent, states.matrix(40, 1).slice(0, sent, sent + rows));
    sent += rows;
    if (sent <= 8) CHECK(before == 0);
    CHECK(static_cast<Index>(seen.size()) < sent);
  }
  shown.show_all();
  CHECK(seen == numbers);
  shown.show_all();
  CHECK(seen.size() == 40);
}

TEST_CASE("a kernel does not see the memory of another device") {
  Buffer<float, Cuda> here(4);
  const CurrentDevice restored(1);
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  const pid_t child = fork();  // it is ended
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    std::signal(SIGSEGV, SIG_DFL);
    scale(execution, here.matrix(1, 4), 2.0f);
    execution.synchronize();
    std::_Exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
  here.data()[0] = 1;  // the host does
}

TEST_CASE("a context that grows and its steps copy nothing from pageable memory") {
  const Index vocab = 90, d = 16;
  const cuda::Stream stream;
  const Buffer<float, Cuda> lm_head = to_device(normal_vector<float>(vocab * d, 1, 1));
  const Buffer<float, Cuda> hidden = to_device(normal_vector<float>(20 * d, 1, 2));
  Buffer<float, Cuda> logits = to_device(normal_vector<float>(vocab, 1, 3));
  EntropySharpnessProcessor<Cuda> processor(
      stream, {.vocab = vocab, .hidden = d, .positions = 60, .dtype = DType::f32, .candidates = 20});
  const int before = devices[0].pageable_copies;
  for (int step = 0; step < 3; ++step) {
    processor.observe_context(hidden.matrix(20, d), lm_head.matrix(vocab, d));
    processor.process(logits.view());
    processor.observe_choice();
  }
  CHECK(devices[0].pageable_copies == before);
  CHECK(processor.context_size() == 60);
}

TEST_CASE("what is on a stream is on its device, whichever device is current") {
  const Index vocab = 90, d = 16, positions = 20;
  const std::vector<float> host_hidden = normal_vector<float>(positions * d, 1, 1);
  const std::vector<float> host_head = normal_vector<float>(vocab * d, 1, 2);
  const std::vector<float> host_logits = normal_vector<float>(3 * vocab, 2, 3);
  for (const int device : {0, 1})
    for (const bool default_stream : {false, true}) {
      CAPTURE(device);
      CAPTURE(default_stream);
      const CurrentDevice restored(device);
      const cuda::Stream own;
      const Execution<Cuda> stream = default_stream ? Execution<Cuda>{} : Execution<Cuda>(own);
      const Buffer<float, Cuda> hidden = to_device(host_hidden);
      const Buffer<float, Cuda> head = to_device(host_head);
      Buffer<float, Cuda> rows = to_device(host_logits);
      Buffer<float, Cuda> entropies(vocab), layers(2 * vocab);
      Buffer<SoftmaxState, Cuda> workspace(cuda::softmax_workspace_size(positions, vocab));
      Buffer<SoftmaxState, Cuda> states = to_device(std::vector<SoftmaxState>(2));
      Buffer<SoftmaxState, Cuda> candidate_workspace(cuda::candidate_workspace_size(positions, 2));
      const Buffer<TokenId, Cuda> ids = to_device(std::vector<TokenId>{5, 7});
      std::vector<float> row = {host_logits.begin(), host_logits.begin() + vocab};
      EntropySharpnessProcessor<> host;
      host.observe_context(as_matrix(std::span<const float>(host_hidden), positions, d),
                           as_matrix(std::span<const float>(host_head), vocab, d));
      host.process(row);

      const int other = 1 - device;
      cudaSetDevice(other);
      const std::size_t memory_of_other = devices[static_cast<std::size_t>(other)].bytes;
      EntropySharpnessProcessor<Cuda> processor(
          stream, {.vocab = vocab, .hidden = d, .positions = 40, .dtype = DType::f32, .candidates = 20});
      processor.observe_context(hidden.matrix(positions, d), head.matrix(vocab, d));
      processor.process(rows.view().slice(0, 0, vocab));
      CHECK(processor.record().best == host.record().best);
      std::vector<float> scores(static_cast<std::size_t>(vocab));
      cuda::copy(stream, rows.view().slice(0, 0, vocab), VectorView<float>(scores));
      stream.synchronize();
      for (std::size_t v = 0; v < row.size(); ++v)
        CHECK((scores[v] == row[v] || std::abs(scores[v] - row[v]) <= 2e-5f * (1 + std::abs(row[v]))));
      CHECK(std::abs(processor.state(3).entropy() - host.state(3).entropy()) <= 2e-5f);
      (void)processor.entropy();
      if (!default_stream) {
        const cuda::Graph graph(stream, [&](Execution<Cuda>) {
          CHECK(current_device() == device);
          processor.process(rows.view().slice(0, 0, vocab));
        });
        graph.launch(stream);
      }
      processor.reset();

      cuda::softmax_entropy(stream, hidden.matrix(positions, d), head.matrix(vocab, d), entropies.view(),
                            workspace.view());
      cuda::softmax_states(stream, hidden.matrix(positions, d), head.matrix(vocab, d),
                           cuda::Candidates{ids.view(), nullptr}, states.view(), candidate_workspace.view());
      cuda::lm_head_logits(stream, hidden.matrix(2, d), head.matrix(vocab, d), layers.matrix(2, vocab));
      cuda::DolaProcessor dola(stream, vocab, {1, 2}, {.output = DolaOutput::log_probs});
      dola.observe_layers(std::as_const(layers).matrix(2, vocab));
      dola.process(rows.view().slice(0, vocab, 2 * vocab));
      CHECK(dola.layer() >= 1);
      dola.reset();
      cuda::ContrastiveProcessor contrastive(stream, vocab);
      contrastive.observe_amateur(std::as_const(layers).view().slice(0, 0, vocab));
      contrastive.process(rows.view().slice(0, 2 * vocab, 3 * vocab));
      CHECK_NOTHROW(contrastive.check_step());
      cuda::Event event(stream);
      event.record(stream);
      event.synchronize();
      SoftmaxState state;
      cuda::copy(stream, std::as_const(states).view().slice(0, 1, 2), VectorView<SoftmaxState>(&state, {1}));
      stream.synchronize();
      CHECK(std::abs(state.entropy() - host.state(7).entropy()) <= 5e-5f);

      CHECK(devices[static_cast<std::size_t>(other)].bytes == memory_of_other);
      CHECK(current_device() == other);
    }
}
