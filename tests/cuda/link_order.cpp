// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstring>
#include <vector>

#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/tensor/buffer.hpp"

// Defined in link_order.cu, compiled by nvcc: the same inline functions from the same headers.
activation_trace::SoftmaxState state_by_nvcc(const std::vector<float>& logits);
const char* space_by_nvcc();

namespace {

activation_trace::SoftmaxState state_by_host_compiler(const std::vector<float>& logits) {
  activation_trace::SoftmaxState state;
  for (const float x : logits) state.push(x);
  return state;
}

}  // namespace

int main() {
  std::vector<float> logits;
  for (int i = 0; i < 1000; ++i) logits.push_back(static_cast<float>((i * 37) % 101) * 0.25f - 9.0f);
  const activation_trace::SoftmaxState here = state_by_host_compiler(logits);
  const activation_trace::SoftmaxState there = state_by_nvcc(logits);
  const activation_trace::Buffer<float> buffer(3);
  const bool same = std::memcmp(&here, &there, sizeof(here)) == 0 && here.entropy() == there.entropy();
  const bool spaces = buffer.data()[0] == 0.0f && std::strcmp(space_by_nvcc(), "device") == 0;
  std::printf("%s: %.9g and %.9g\n", same && spaces ? "same" : "DIFFERENT", static_cast<double>(here.entropy()),
              static_cast<double>(there.entropy()));
  return same && spaces ? 0 : 1;
}
