// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/cuda/ops/softmax_candidates.cuh"

#include <array>
#include <cmath>
#include <random>
#include <string>

#include "activation_trace/cuda/device_weights.cuh"
#include "activation_trace/cuda/ops/softmax_stored.cuh"
#include "problem.cuh"
#include "support/random_matrix.hpp"

using namespace activation_trace;
using namespace activation_trace::test;

namespace {

template <class T>
void check_candidates(std::initializer_list<std::array<Index, 3>> problems) {
  for (const auto [t, d, size] : problems) {
    const Index v = 400;
    Problem<T> problem = normal_problem<T>(t, d, v, 3.0f);
    std::vector<TokenId> ids;
    Random random(static_cast<std::uint64_t>(size));
    for (Index i = 0; i < size; ++i) ids.push_back(static_cast<TokenId>(random.bits() % static_cast<std::uint64_t>(v)));
    if (size > 4) ids[3] = -1;  // passed over
    if (size > 4) ids[4] = static_cast<TokenId>(v);
    const Index used = size - size / 3;  // fewer than there is room for
    const auto device_ids = to_device(ids);
    const auto count = to_device(std::vector<int>{static_cast<int>(used)});
    Buffer<SoftmaxState, Cuda> states = to_device(std::vector<SoftmaxState>(static_cast<std::size_t>(size)));
    Buffer<SoftmaxState, Cuda> workspace(cuda::candidate_workspace_size(t, size));
    for (const auto& [begin, end] : {std::pair<Index, Index>{0, t / 3}, {t / 3, t}})
      cuda::softmax_states(Execution<Cuda>{}, problem.device_hidden.matrix(t, d).slice(0, begin, end),
                           problem.device_w.matrix(v, d), {device_ids.view(), count.data()}, states.view(),
                           workspace.view());
    const std::vector<SoftmaxState> result = to_host(states);
    CAPTURE(t);
    CAPTURE(d);
    CAPTURE(size);
    for (Index i = 0; i < size; ++i) {
      CAPTURE(i);
      const SoftmaxState& state = result[static_cast<std::size_t>(i)];
      const TokenId id = ids[static_cast<std::size_t>(i)];
      if (i >= used || id < 0 || id >= v) {
        CHECK(state.empty());
        continue;
      }
      const double expected = entropy_oracle(logits_oracle(problem.hidden, problem.w, d, id));
      CHECK(std::abs(state.entropy() - expected) <= 5e-5);
    }
  }
}

}  // namespace

TEST_CASE_TEMPLATE("a few candidates get the entropy of their rows", T, float, Half, BFloat16) {
  check_candidates<T>({{1, 64, 1}, {9, 72, 16}, {64, 1024, 64}, {77, 577, 5}});
}

TEST_CASE_TEMPLATE("many candidates get the entropy of their rows", T, float, Half, BFloat16) {
  // The last has more groups than the grid has blocks for.
  check_candidates<T>({{300, 576, 17}, {130, 200, 65}, {500, 64, 300}, {2050, 24, 400}});
}

TEST_CASE("candidates of an LM head in any stored form, f32 states") {
  std::mt19937 random(3);
  const Index v = 60;
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    for (const auto& [t, size, blocks] : {std::array<Index, 3>{1, 3, 1}, {77, 21, 3}, {1100, 40, 1}}) {
      if (t == 1100 && dtype != DType::q4_k) continue;  // more groups than blocks
      const Index d = block_elements(dtype) == 1 ? 19 * blocks : blocks * block_elements(dtype);
      const RandomMatrix w(dtype, v, d, random);
      const cuda::DeviceMatrix device(Execution<Cuda>{}, w.view());
      const std::vector<float> hidden = normal_floats(t * d, random, 0.2f);
      const Buffer<float, Cuda> device_hidden = to_device(hidden);
      std::vector<TokenId> ids;
      for (Index i = 0; i < size; ++i) ids.push_back(static_cast<TokenId>(i * 37 % v));
      ids.back() = static_cast<TokenId>(v);  // passed over
      const Buffer<TokenId, Cuda> device_ids = to_device(ids);
      Buffer<SoftmaxState, Cuda> states = to_device(std::vector<SoftmaxState>(ids.size()));
      Buffer<SoftmaxState, Cuda> workspace(cuda::candidate_workspace_size(t, size));
      for (const auto& [begin, end] : {std::pair<Index, Index>{0, t / 3}, {t / 3, t}})
        cuda::softmax_states(Execution<Cuda>{}, device_hidden.matrix(t, d).slice(0, begin, end), device.view(),
                             {device_ids.view()}, states.view(), workspace.view());
      const std::vector<SoftmaxState> result = to_host(states);
      CHECK(result.back().empty());
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        std::vector<float> row(static_cast<std::size_t>(d));
        w.view().decode_row(ids[i], row);
        CHECK(std::abs(result[i].entropy() - entropy_oracle(logits_oracle(hidden, row, d, 0))) <= 5e-5);
      }
    }
  }
}
