// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// By the host's compiler and on the host: THRUST_DEVICE_SYSTEM is CPP for this program, so thrust::device is the CPU.
#include "activation_trace/cuda/ops/softmax_thrust.cuh"

#include <doctest/doctest.h>
#include <thrust/device_vector.h>
#include <thrust/host_vector.h>

#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "activation_trace/ops/softmax_entropy.hpp"
#include "activation_trace/tensor/thrust.hpp"
#include "support/oracle.hpp"

using namespace activation_trace;

namespace {

static_assert(THRUST_DEVICE_SYSTEM == THRUST_DEVICE_SYSTEM_CPP);

template <class T>
std::vector<T> normal(Index n, double scale, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> distribution(0, scale);
  std::vector<T> x(static_cast<std::size_t>(n));
  for (T& value : x) value = T(static_cast<float>(distribution(random)));
  return x;
}

template <class T>
double product(const std::vector<T>& hidden, const std::vector<T>& w, Index d, Index t, Index v) {
  double sum = 0;
  for (Index k = 0; k < d; ++k)
    sum += static_cast<double>(static_cast<float>(hidden[static_cast<std::size_t>(t * d + k)])) *
           static_cast<double>(static_cast<float>(w[static_cast<std::size_t>(v * d + k)]));
  return sum;
}

}  // namespace

TEST_CASE_TEMPLATE("the Thrust version gives the entropies of the definition, for a context in pieces", T, float, Half,
                   BFloat16) {
  for (const auto [t, d, v] :
       {std::array<Index, 3>{1, 8, 3}, {63, 16, 5}, {64, 16, 5}, {65, 7, 9}, {200, 33, 40}, {5, 0, 2}, {4, 3, 0}}) {
    const std::vector<T> hidden = normal<T>(t * d, 1.0, 1);
    const std::vector<T> w = normal<T>(v * d, 1.0, 2);
    const MatrixView<const T> h_view(hidden.data(), {t, d});
    const MatrixView<const T> w_view(w.data(), {v, d});
    std::vector<SoftmaxState> states(static_cast<std::size_t>(v));
    for (const auto& [begin, end] : {std::pair<Index, Index>{0, t / 3}, {t / 3, t}}) {
      std::vector<SoftmaxState> workspace(
          static_cast<std::size_t>(activation_trace::cuda::thrust_workspace_size(end - begin, v)));
      activation_trace::cuda::softmax_states_thrust(thrust::device, h_view.slice(0, begin, end), w_view,
                                                    VectorView<SoftmaxState>(states),
                                                    VectorView<SoftmaxState>(workspace));
    }
    for (Index i = 0; i < v; ++i) {
      std::vector<double> logits;
      for (Index p = 0; p < t; ++p) logits.push_back(product(hidden, w, d, p, i));
      CAPTURE(t);
      CAPTURE(i);
      CHECK(std::abs(states[static_cast<std::size_t>(i)].entropy() - test::entropy(logits)) <=
            2e-6 + 1e-7 * static_cast<double>(d));
    }
  }
}

TEST_CASE("infinities and NaN do what the states' rules say, and strides are followed") {
  // Columns of a 2 x 3 matrix, read as its transpose.
  const std::vector<float> stored{0.0f, -INFINITY, 1.0f, 0.0f, NAN, 2.0f};
  const MatrixView<const float> hidden(stored.data(), {3, 2}, {1, 3});
  const std::vector<float> w{1.0f, 0.0f, 0.0f, 1.0f};
  std::vector<SoftmaxState> states(2);
  std::vector<SoftmaxState> workspace(2);
  activation_trace::cuda::softmax_states_thrust(thrust::device, hidden.slice(0, 0, 1),
                                                MatrixView<const float>(w.data(), {2, 2}),
                                                VectorView<SoftmaxState>(states), VectorView<SoftmaxState>(workspace));
  CHECK(states[0].entropy() == 0.0f);  // one position
  activation_trace::cuda::softmax_states_thrust(thrust::device, hidden.slice(0, 1, 3),
                                                MatrixView<const float>(w.data(), {2, 2}),
                                                VectorView<SoftmaxState>(states), VectorView<SoftmaxState>(workspace));
  CHECK(std::isnan(states[0].entropy()));  // -inf * 1 + NaN * 0
  CHECK(std::isnan(states[1].entropy()));
}

TEST_CASE("shapes that do not fit are refused") {
  const std::vector<float> numbers(64);
  std::vector<SoftmaxState> states(4);
  std::vector<SoftmaxState> workspace(4);
  const auto run = [&](Index columns_of_w, Index count, Index room) {
    activation_trace::cuda::softmax_states_thrust(thrust::device, MatrixView<const float>(numbers.data(), {2, 4}),
                                                  MatrixView<const float>(numbers.data(), {4, columns_of_w}),
                                                  VectorView<SoftmaxState>(states.data(), {count}),
                                                  VectorView<SoftmaxState>(workspace.data(), {room}));
  };
  CHECK_NOTHROW(run(4, 4, 4));
  CHECK_THROWS_WITH_AS(run(3, 4, 4), doctest::Contains("columns of w: expected 4, got 3"), ShapeError);
  CHECK_THROWS_WITH_AS(run(4, 3, 4), doctest::Contains("size of states: expected 4, got 3"), ShapeError);
  CHECK_THROWS_WITH_AS(run(4, 4, 3), doctest::Contains("size of workspace: expected 4, got 3"), ShapeError);
}

TEST_CASE("a thrust::device_vector as a view of Cuda; a vector of the host is none") {
  thrust::device_vector<float> device(6);
  const VectorView<float, Cuda> all = as_view(device);
  CHECK(all.data() == thrust::raw_pointer_cast(device.data()));
  CHECK(all.extent(0) == 6);
  const thrust::device_vector<float>& constant = device;
  const MatrixView<const float, Cuda> matrix = as_matrix(constant, 2, 3);
  CHECK(matrix.data() == all.data());
  CHECK(matrix.stride(0) == 3);
  CHECK_THROWS_WITH_AS((void)as_matrix(device, 2, 4), "as_matrix: expected 2 x 4 elements, got 6", ShapeError);
  thrust::device_vector<Half> nothing;
  CHECK(as_view(nothing).empty());
  static_assert(!ThrustVector<thrust::host_vector<float>>);
  static_assert(!ThrustVector<std::vector<float>>);
}
