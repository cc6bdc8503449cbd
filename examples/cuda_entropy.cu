// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Entropy over context for every vocabulary item, in device memory and on a stream that belong to somebody else:
// views wrap what is there, nothing is copied.
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <vector>

#include "activation_trace/cuda.cuh"

namespace at = activation_trace;

int main() {
  constexpr at::Index positions = 40, d = 64, vocabulary = 1000;
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("skipped: no CUDA device");
    return 77;
  }

  // The engine's own: hidden states [T, d] and an LM head [V, d] in bf16, and a stream.
  std::vector<at::BFloat16> host_hidden, host_head;
  const auto number = [](at::Index i) {
    return at::BFloat16(static_cast<float>((i * 7919 + 104729) % 97) / 97.0f - 0.5f);
  };
  for (at::Index i = 0; i < positions * d; ++i) host_hidden.push_back(number(i));
  for (at::Index i = 0; i < vocabulary * d; ++i) host_head.push_back(number(3 * i + i / d));
  cudaStream_t stream = nullptr;
  at::BFloat16 *hidden = nullptr, *head = nullptr;
  float* entropy = nullptr;
  at::cuda::check(cudaStreamCreate(&stream), "cudaStreamCreate");
  at::cuda::check(cudaMalloc(&hidden, host_hidden.size() * sizeof(at::BFloat16)), "cudaMalloc");
  at::cuda::check(cudaMalloc(&head, host_head.size() * sizeof(at::BFloat16)), "cudaMalloc");
  at::cuda::check(cudaMalloc(&entropy, vocabulary * sizeof(float)), "cudaMalloc");
  const at::MatrixView<at::BFloat16, at::Cuda> hidden_view(hidden, {positions, d}), head_view(head, {vocabulary, d});
  const at::VectorView<float, at::Cuda> entropy_view(entropy, {vocabulary});
  at::cuda::copy(stream, at::as_matrix(std::span<const at::BFloat16>(host_hidden), positions, d), hidden_view);
  at::cuda::copy(stream, at::as_matrix(std::span<const at::BFloat16>(host_head), vocabulary, d), head_view);

  // Ours: one call in the order of that stream, with workspace made once.
  at::Buffer<at::SoftmaxState, at::Cuda> workspace(at::cuda::softmax_workspace_size(positions, vocabulary));
  at::cuda::softmax_entropy(stream, hidden_view, head_view, entropy_view, workspace.view());

  if (at::cuda::automatic_kernel<at::BFloat16>(stream) != at::cuda::SoftmaxKernel::wgmma)
    std::puts("not by wgmma: this is no Hopper, or the program was not built for sm_90a");

  std::vector<float> result(vocabulary);
  at::cuda::copy(stream, entropy_view, at::VectorView<float>(result));
  at::cuda::check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  std::vector<int> order(vocabulary);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + 3, order.end(), [&](int a, int b) {
    return result[static_cast<std::size_t>(a)] < result[static_cast<std::size_t>(b)];
  });
  for (int i = 0; i < 3; ++i)
    std::printf("token %4d: %.5f nats\n", order[static_cast<std::size_t>(i)],
                static_cast<double>(result[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])]));

  cudaFree(hidden);
  cudaFree(head);
  cudaFree(entropy);
  cudaStreamDestroy(stream);
}
