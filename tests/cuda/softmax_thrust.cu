// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/cuda/ops/softmax_thrust.cuh"

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
