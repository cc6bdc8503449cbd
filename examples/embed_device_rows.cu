// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// An engine that has hidden states and logits on the device, and a stream of its own, decodes by in-context sharpness:
// each step is one graph, and the token goes on to the next step without the host having seen it.
#include <cstdio>
#include <utility>
#include <vector>

#include "activation_trace/cuda.cuh"

namespace at = activation_trace;

namespace {

constexpr at::Index positions = 40, d = 64, vocabulary = 1000;

/// The engine's forward pass, or what stands for it here: the next logits from the token that was chosen before.
__global__ void forward(const at::cuda::SharpnessChoice* last, float* logits) {
  const int v = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (v < vocabulary) logits[v] = 6.0f * __sinf(static_cast<float>(v * 37 % 1009 + 11 * (last->best + 1)));
}

template <class T>
at::Buffer<T, at::Cuda> numbers(at::Execution<at::Cuda> stream, at::Index n, at::Index step) {
  std::vector<T> host;
  for (at::Index i = 0; i < n; ++i) host.push_back(T(static_cast<float>(i * step % 101) / 100.0f - 0.5f));
  at::Buffer<T, at::Cuda> device(n);
  at::cuda::copy(stream, at::VectorView<const T>(host), device.view());
  return device;
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("skipped: no CUDA device");
    return 77;
  }
  // The engine's own.
  at::cuda::Stream stream;
  const auto hidden = numbers<at::Half>(stream, positions * d, 37);
  const auto head = numbers<at::Half>(stream, vocabulary * d, 53);
  at::Buffer<float, at::Cuda> logits(vocabulary);

  at::EntropySharpnessProcessor<at::Cuda> processor(
      stream,
      {.vocab = vocabulary, .hidden = d, .positions = positions, .dtype = at::DType::f16, .repetition_penalty = 1.2f});
  processor.observe_context(hidden.matrix(positions, d), head.matrix(vocabulary, d));
  const at::cuda::Graph step(stream, [&](at::Execution<at::Cuda> queue) {
    forward<<<(vocabulary + 255) / 256, 256, 0, queue.get()>>>(processor.choice().data(), logits.data());
    processor.process(logits.view());
    processor.observe_choice();
  });

  for (int i = 0; i < 5; ++i) {
    step.launch(stream);
    const at::SharpnessRecord record = processor.record();  // only to print: this waits for the device
    std::printf("token %3d, by probability %3d, of %zu that passed the filter\n", record.best, record.most_probable,
                record.kept.size());
  }
}
