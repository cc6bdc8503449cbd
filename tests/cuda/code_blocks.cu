// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// The CUDA fragments of README.md and of the guide (tests/consumers/code_blocks/code_blocks.py), with what is the
// reader's own.
#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "activation_trace/cuda.cuh"

namespace at = activation_trace;

namespace {

constexpr at::Index V = 600, d = 64, B = 2;

template <class T>
at::Buffer<T, at::Cuda> numbers(at::Execution<at::Cuda> stream, at::Index n, at::Index step) {
  std::vector<T> host;
  for (at::Index i = 0; i < n; ++i) host.push_back(T(static_cast<float>(i * step % 101) / 50.0f - 1.0f));
  at::Buffer<T, at::Cuda> device(n);
  at::cuda::copy(stream, at::VectorView<const T>(host), device.view());
  stream.synchronize();
  return device;
}

}  // namespace

TEST_CASE("guide: a step that is recorded") {
  at::cuda::Stream stream;
  const auto states = numbers<at::BFloat16>(stream, 20 * d, 37);
  const auto weights = numbers<at::BFloat16>(stream, V * d, 53);
  auto row = numbers<float>(stream, V, 29);
  const auto hidden = states.matrix(20, d);
  const auto lm_head = weights.matrix(V, d);
  const auto logits = row.view();
#include "device_step.inl"
  const at::SharpnessRecord record = processor.record();
  CHECK(record.best >= 0);
  CHECK(record.kept.size() > 1);
}

TEST_CASE("guide: a batch") {
  at::cuda::Stream stream;
  const auto states = numbers<at::BFloat16>(stream, B * 20 * d, 37);
  const auto weights = numbers<at::BFloat16>(stream, V * d, 53);
  auto rows = numbers<float>(stream, B * V, 29);
  const at::MatrixView<const at::BFloat16, at::Cuda> hidden[] = {{states.data(), {20, d}},
                                                                 {states.data() + 20 * d, {20, d}}};
  const auto lm_head = weights.matrix(V, d);
  const auto logits = rows.matrix(B, V);
#include "device_batch.inl"
  CHECK(next.size() == B);
  CHECK(batch[0].record().best >= 0);
  CHECK(batch[1].context_size() == 20);
}

TEST_CASE("guide: DoLa") {
  at::cuda::Stream stream;
  const auto layers = numbers<at::BFloat16>(stream, 3 * d, 37);
  const auto weights = numbers<at::BFloat16>(stream, V * d, 53);
  auto row = numbers<float>(stream, V, 29);
  at::Buffer<float, at::Cuda> early_rows(3 * V);
  const auto states = layers.matrix(3, d);
  const auto lm_head = weights.matrix(V, d);
  const auto early = early_rows.matrix(3, V);
  const auto logits = row.view();
#include "device_dola.inl"
  CHECK(dola.layer() >= 0);
}

TEST_CASE("guide: entropies on several GPUs") {
  int devices = 0;
  at::cuda::check(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  const at::cuda::Stream stream;
  const at::Execution<at::Cuda> first = stream;
  const auto states = numbers<at::BFloat16>(stream, 20 * d, 37);
  const auto upper = numbers<at::BFloat16>(stream, V / 2 * d, 53);
  at::Buffer<float, at::Cuda> entropies(V);
  at::cuda::set_bytes(first, entropies.view(), 0xff);
  const at::cuda::DeviceGuard guard(devices - 1);
  const at::cuda::Stream other;
  const at::Execution<at::Cuda> second = other;
  const auto lower = numbers<at::BFloat16>(second, V / 2 * d, 59);
  const auto hidden = states.matrix(20, d);
  const auto upper_rows = upper.matrix(V / 2, d);
  const auto lower_rows = lower.matrix(V / 2, d);
#include "device_shards.inl"
  std::vector<float> result(V);
  at::cuda::copy(first, std::as_const(entropies).view(), at::VectorView<float>(result));
  first.synchronize();
  for (const float e : result) CHECK((e >= 0 && e <= 3));  // ln 20
}
