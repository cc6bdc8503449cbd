// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// An engine with hidden states and logits on the device lets its best tokens be judged by their sharpness in
// context: only the rows of the LM head that it asks for are read, and the host never waits for the device.
#include <cstdio>
#include <vector>

#include "activation_trace/cuda.cuh"

namespace at = activation_trace;

namespace {

constexpr at::Index positions = 40, d = 64, vocabulary = 1000, most = 16;

/// The engine's own filter: it leaves ids and their number on the device.
__global__ void keep_high_logits(const float* logits, at::TokenId* ids, int* count) {
  for (int v = 0; v < vocabulary; ++v)  // a real engine does this in parallel
    if (logits[v] > 0.9f && *count < most) ids[(*count)++] = v;
}

/// The engine's own use of the entropies: logit - alpha * entropy.
__global__ void penalise(float* logits, const at::TokenId* ids, const int* count, const at::SoftmaxState* states) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < *count) logits[ids[i]] -= 0.5f * states[i].entropy();
}

template <class T>
at::Buffer<T, at::Cuda> numbers(at::cuda::StreamView stream, at::Index n, at::Index step) {
  std::vector<T> host;
  for (at::Index i = 0; i < n; ++i) host.push_back(T(static_cast<float>(i * step % 101) / 100.0f));
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
  at::cuda::Stream stream;
  auto hidden = numbers<at::Half>(stream, positions * d, 37);
  auto head = numbers<at::Half>(stream, vocabulary * d, 53);
  auto logits = numbers<float>(stream, vocabulary, 7);
  at::Buffer<at::TokenId, at::Cuda> ids(most);
  at::Buffer<int, at::Cuda> count(1);
  at::Buffer<at::SoftmaxState, at::Cuda> states(most), workspace(at::cuda::candidate_workspace_size(positions, most));
  const std::vector<at::SoftmaxState> empty(most);

  at::cuda::check(cudaMemsetAsync(count.data(), 0, sizeof(int), stream.get()), "cudaMemsetAsync");
  at::cuda::copy(stream, at::VectorView<const at::SoftmaxState>(empty), states.view());
  keep_high_logits<<<1, 1, 0, stream.get()>>>(logits.data(), ids.data(), count.data());
  at::cuda::softmax_states(stream, hidden.matrix(positions, d), head.matrix(vocabulary, d), {ids.view(), count.data()},
                           states.view(), workspace.view());
  penalise<<<1, most, 0, stream.get()>>>(logits.data(), ids.data(), count.data(), states.data());
  at::cuda::check_launch("penalise");

  std::vector<float> result(vocabulary);
  at::cuda::copy(stream, logits.view(), at::VectorView<float>(result));
  stream.synchronize();
  for (std::size_t v = 0; v < 60; ++v)
    if (static_cast<float>(v * 7 % 101) / 100.0f > 0.9f)
      std::printf("token %3zu: %.3f\n", v, static_cast<double>(result[v]));
}
