// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/cuda/ops/softmax_thrust.cuh"

#include <thrust/device_vector.h>

#include "activation_trace/tensor/thrust.hpp"
#include "problem.cuh"

using namespace activation_trace;
using namespace activation_trace::test;

TEST_CASE_TEMPLATE("the Thrust version on a device", T, float, Half, BFloat16) {
  Problem<T> problem = normal_problem<T>(130, 72, 300, 3.0f);
  Buffer<SoftmaxState, Cuda> states = to_device(std::vector<SoftmaxState>(300));
  Buffer<SoftmaxState, Cuda> workspace(activation_trace::cuda::thrust_workspace_size(130, 300));
  activation_trace::cuda::softmax_states_thrust(thrust::device, problem.device_hidden.matrix(130, 72),
                                                problem.device_w.matrix(300, 72), states.view(), workspace.view());
  std::vector<float> entropies;
  for (const SoftmaxState& state : to_host(states)) entropies.push_back(state.entropy());
  CHECK(worst_error(problem, entropies, 300) <= 1);
}

TEST_CASE("a thrust::device_vector is a view of the device's memory") {
  Problem<float> problem = normal_problem<float>(40, 24, 60, 3.0f);
  const thrust::device_vector<float> hidden(problem.hidden.begin(), problem.hidden.end());
  const thrust::device_vector<float> w(problem.w.begin(), problem.w.end());
  thrust::device_vector<SoftmaxState> states(60);
  thrust::device_vector<SoftmaxState> workspace(
      static_cast<std::size_t>(activation_trace::cuda::thrust_workspace_size(40, 60)));
  activation_trace::cuda::softmax_states_thrust(thrust::device, as_matrix(hidden, 40, 24), as_matrix(w, 60, 24),
                                                as_view(states), as_view(workspace));
  std::vector<float> entropies;
  for (const SoftmaxState& state : std::vector<SoftmaxState>(states.begin(), states.end()))
    entropies.push_back(state.entropy());
  CHECK(worst_error(problem, entropies, 60) <= 1);
}
