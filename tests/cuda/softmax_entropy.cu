// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/cuda/ops/softmax_entropy.cuh"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <type_traits>

#include "activation_trace/cuda/device_weights.cuh"
#include "activation_trace/cuda/ops/sharded_softmax_entropy.cuh"
#include "activation_trace/cuda/ops/softmax_stored.cuh"
#include "problem.cuh"
#include "support/random_matrix.hpp"

using namespace activation_trace;
using namespace activation_trace::test;
using cuda::SoftmaxKernel;

namespace {

std::string name(SoftmaxKernel kernel) {
  switch (kernel) {
    case SoftmaxKernel::automatic: return "automatic";
    case SoftmaxKernel::simt: return "simt";
    case SoftmaxKernel::mma: return "mma";
    case SoftmaxKernel::wgmma: return "wgmma";
  }
  return "?";
}

constexpr SoftmaxKernel all_kernels[] = {SoftmaxKernel::simt, SoftmaxKernel::mma, SoftmaxKernel::wgmma};

template <class T>
void check_normal(Index t, Index d, Index v, float scale) {
  Problem<T> problem = normal_problem<T>(t, d, v, scale);
  for (const SoftmaxKernel kernel : all_kernels) {
    const auto entropies = problem.entropy(kernel);
    if (!entropies) continue;
    CAPTURE(name(kernel));
    CAPTURE(t);
    CAPTURE(d);
    CAPTURE(v);
    CAPTURE(scale);
    CHECK(worst_error(problem, *entropies, 24) <= 1);
    // Deterministic: the same bits again.
    const auto again = problem.entropy(kernel);
    CHECK(std::memcmp(entropies->data(), again->data(), entropies->size() * sizeof(float)) == 0);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("entropies agree with double precision for every shape", T, float, Half, BFloat16) {
  for (const Index t : {1, 2, 31, 33, 64, 65, 127, 128, 129, 255, 256, 257, 512, 1000})
    check_normal<T>(t, 64, t % 2 == 0 ? 129 : 300, 1.0f);
  for (const Index v : {1, 7, 127, 128, 129, 255, 256, 257, 1000}) check_normal<T>(200, 72, v, 3.0f);
  for (const Index d : {1, 7, 8, 16, 63, 64, 65, 72, 576, 577, 1024}) check_normal<T>(130, d, 200, 3.0f);
  for (const float scale : {0.1f, 10.0f}) check_normal<T>(300, 128, 300, scale);
}

TEST_CASE_TEMPLATE("pairs of blocks that share their positions agree with double precision", T, Half, BFloat16) {
  Problem<T> problem = normal_problem<T>(500, 1024, 260, 3.0f);
  if (const auto entropies = problem.entropy(SoftmaxKernel::wgmma)) CHECK(worst_error(problem, *entropies, 60) <= 1);
}

TEST_CASE("small d: which kernel, and how W is shared out") {
  const auto keeps_positions = [](Index t, Index d) {
    bool keeps = false;
    cuda::detail::visit_tuning(t, d, [&]<class Tuning>(std::type_identity<Tuning>) {
      keeps = std::is_same_v<Tuning, cuda::ResidentTuning<128>>;
    });
    return keeps;
  };
  CHECK(keeps_positions(512, 576));
  for (const Index d : {193, 640}) CHECK(keeps_positions(193, d));
  for (const Index d : {1, 192, 641, 4096, 1 << 30}) CHECK_FALSE(keeps_positions(193, d));
  CHECK_FALSE(keeps_positions(192, 576));
  // What a multiprocessor of an H100 has, for a kernel's barriers and what a launch reserves, too.
  for (int k_tiles = 4; k_tiles <= 10; ++k_tiles)
    CHECK((k_tiles + cuda::ResidentTuning<128>::stages(k_tiles)) * (16 << 10) + 1024 + 256 <= 227 << 10);

  using cuda::detail::count_ranges;
  CHECK(count_ranges(2, 384, 66) == 32);  // 12 panels of 11.6
  CHECK(count_ranges(8, 384, 66) == 8);   // 48 of 46.5
  CHECK(count_ranges(1, 2, 66) == 2);
  CHECK(count_ranges(3, 1, 66) == 1);
  CHECK(count_ranges(70, 384, 66) > 1);  // not twice as long for four more
}

TEST_CASE_TEMPLATE("small d: blocks that keep their positions agree with double precision", T, Half, BFloat16) {
  // A tile that is moved back, a panel of one row, blocks alone, and more tiles of positions than clusters.
  for (const auto& [t, d, v] :
       {std::array<Index, 3>{193, 200, 129}, {256, 576, 385}, {300, 640, 130}, {1000, 264, 130}}) {
    CAPTURE(t);
    Problem<T> problem = normal_problem<T>(t, d, v, 3.0f);
    const auto entropies = problem.entropy(SoftmaxKernel::wgmma);
    if (!entropies) return;
    CHECK(worst_error(problem, *entropies, 60) <= 1);
    if (t == 193) CHECK(*entropies == *problem.entropy(SoftmaxKernel::wgmma));
  }
}

TEST_CASE("a small pair of blocks, with more tiles than stages and more units than clusters") {
  using Tuning = cuda::WgmmaTuning<64, 1, 3, 2>;
  const Index t = 100, d = 264, v = 300;
  Problem<BFloat16> problem = normal_problem<BFloat16>(t, d, v, 3.0f);
  if (!problem.entropy(SoftmaxKernel::wgmma)) return;
  Buffer<float, Cuda> result = to_device(std::vector<float>(static_cast<std::size_t>(v), -7.0f));
  Buffer<SoftmaxState, Cuda> workspace(cuda::softmax_workspace_size(t, v) * 2);
  cuda::detail::split_positions(Execution<Cuda>{}, t, Tuning::tile_t, workspace.data(),
                                {nullptr, 0, v, nullptr, result.data()}, [&](const cuda::detail::SoftmaxOutput& out) {
                                  cuda::detail::launch_softmax_wgmma<BFloat16, Tuning>(
                                      Execution<Cuda>{}, 4, std::as_const(problem.device_hidden).matrix(t, d),
                                      std::as_const(problem.device_w).matrix(v, d), out);
                                });
  CHECK(worst_error(problem, to_host(result), v) <= 1);
}

TEST_CASE("entropies agree with double precision at the sizes of models" * doctest::test_suite("large")) {
  check_normal<BFloat16>(512, 576, 49152, 3.0f);
  check_normal<BFloat16>(64, 4096, 32000, 3.0f);
  check_normal<BFloat16>(512, 4096, 32000, 3.0f);
  check_normal<Half>(2048, 1024, 32001, 3.0f);
  check_normal<BFloat16>(8192, 1024, 1000, 3.0f);
  check_normal<BFloat16>(4096, 8192, 1000, 3.0f);
  check_normal<float>(512, 4096, 1000, 3.0f);
}

TEST_CASE("the error is below 1e-4 nats for logits of N(0, 1)" * doctest::test_suite("large")) {
  for (const auto& [t, d, v] : {std::array<Index, 3>{512, 4096, 32000},
                                {2048, 4096, 8000},
                                {4096, 8192, 4000},
                                {512, 576, 49152},
                                {64, 4096, 32000}}) {
    Problem<BFloat16> problem = normal_problem<BFloat16>(t, d, v, 1.0f);
    for (const SoftmaxKernel kernel : {SoftmaxKernel::mma, SoftmaxKernel::wgmma}) {
      const auto entropies = problem.entropy(kernel);
      if (!entropies) continue;
      double absolute = 0;
      worst_error(problem, *entropies, 32, &absolute);
      MESSAGE(name(kernel) << " T " << t << " d " << d << " V " << v << ": " << absolute);
      CHECK(absolute <= 1e-4);
    }
  }
}

TEST_CASE_TEMPLATE("special values stay with their item", T, float, Half, BFloat16) {
  const Index t = 150, d = 64, v = 140;
  const float infinity = std::numeric_limits<float>::infinity();
  // Column 0 of hidden is 1 everywhere: w[v][0] shifts all logits of an item. Column 1 marks two positions, column 3
  // rises, column 4 marks one.
  std::vector<T> hidden = normal_vector<T>(t * d, 0.5f, 1);
  std::vector<T> w = normal_vector<T>(v * d, 0.5f, 2);
  const auto h = [&](Index i, Index k) -> T& { return hidden[static_cast<std::size_t>(i * d + k)]; };
  const auto weight = [&](Index i, Index k) -> T& { return w[static_cast<std::size_t>(i * d + k)]; };
  for (Index i = 0; i < t; ++i) {
    h(i, 0) = T(1.0f);
    h(i, 1) = T(i == 3 || i == 140 ? 1.0f : 0.0f);
    h(i, 3) = T(static_cast<float>(i) / 64.0f);
    h(i, 4) = T(i == 77 ? 1.0f : 0.0f);
  }
  for (Index i = 0; i < v; ++i) weight(i, 1) = T(0.0f);
  weight(5, 0) = T(100.0f);
  weight(6, 0) = T(-1e4f);
  weight(7, 1) = T(200.0f);                              // two equal spikes, but for the rest of the row
  for (Index k = 0; k < d; ++k) weight(8, k) = T(0.0f);  // all equal
  for (Index k = 2; k < d; ++k) weight(9, k) = T(0.0f);  // two equal spikes: log 2
  weight(9, 1) = T(200.0f);
  weight(10, 0) = T(-infinity);  // nothing but -inf: NaN
  weight(11, 5) = T(std::numeric_limits<float>::quiet_NaN());
  weight(12, 0) = T(infinity);
  for (Index i = 13; i < 19; ++i)
    for (Index k = 0; k < d; ++k) weight(i, k) = T(0.0f);
  weight(13, 3) = T(8.0f);                                        // ascending: each position is the largest so far
  weight(14, 3) = T(-8.0f);                                       // descending
  weight(15, 0) = T(std::is_same_v<T, Half> ? 6e-8f : 1e-40f);    // subnormal, all equal
  weight(16, 0) = T(std::is_same_v<T, Half> ? 65504.0f : 3e38f);  // the largest there is, all equal
  weight(17, 4) = T(100.0f);                                      // one spike
  weight(18, 0) = T(1e4f);                                        // far up
  weight(18, 3) = T(8.0f);
  Problem<T> problem(t, d, v, hidden, w);
  for (const SoftmaxKernel kernel : all_kernels) {
    const auto entropies = problem.entropy(kernel);
    if (!entropies) continue;
    CAPTURE(name(kernel));
    CHECK(worst_error(problem, *entropies, v) <= 1);
    CHECK((*entropies)[8] == doctest::Approx(std::log(150.0)).epsilon(1e-6));
    CHECK((*entropies)[9] == doctest::Approx(std::log(2.0)).epsilon(1e-6));
    for (const std::size_t i : {15u, 16u}) CHECK((*entropies)[i] == doctest::Approx(std::log(150.0)).epsilon(1e-6));
    CHECK((*entropies)[13] == doctest::Approx((*entropies)[14]).epsilon(1e-5));
    CHECK((*entropies)[17] < 1e-6f);
    for (const std::size_t i : {10u, 11u, 12u}) CHECK(std::isnan((*entropies)[i]));
  }

  // Positions whose logits are -inf contribute nothing: w is positive in column 2, where they hold -inf.
  for (Index i = 0; i < v; ++i) weight(i, 2) = T(1.0f);
  weight(10, 0) = weight(11, 5) = weight(12, 0) = T(0.25f);
  for (const Index i : {0, 1, 2, 64, 130, 149}) h(i, 2) = T(-infinity);
  Problem<T> gaps(t, d, v, hidden, w);
  for (const SoftmaxKernel kernel : all_kernels) {
    const auto entropies = gaps.entropy(kernel);
    if (!entropies) continue;
    CAPTURE(name(kernel));
    CHECK(worst_error(gaps, *entropies, v) <= 1);
  }
}

TEST_CASE_TEMPLATE("integers give every kernel the same maximum and entropy", T, float, Half, BFloat16) {
  // Logits are exact in any order of summation: only the folds differ.
  const Index t = 700, d = 96, v = 333;
  Random random(5);
  const auto integers = [&](Index n) {
    std::vector<T> x(static_cast<std::size_t>(n));
    for (T& value : x) value = T(static_cast<float>(static_cast<int>(random.bits() >> 33) % 3 - 1));
    return x;
  };
  Problem<T> problem(t, d, v, integers(t * d), integers(v * d));
  for (const SoftmaxKernel kernel : all_kernels) {
    const auto entropies = problem.entropy(kernel);
    if (!entropies) continue;
    CAPTURE(name(kernel));
    CHECK(worst_error(problem, *entropies, v) <= 0.5);
  }
}

TEST_CASE_TEMPLATE("a context that comes in pieces gives the entropy of the whole", T, float, Half, BFloat16) {
  const Index t = 600, d = 64, v = 260;
  Problem<T> problem = normal_problem<T>(t, d, v, 3.0f);
  Buffer<SoftmaxState, Cuda> workspace(cuda::softmax_workspace_size(t, v));
  for (const SoftmaxKernel kernel : all_kernels) {
    if (!problem.entropy(kernel)) continue;
    CAPTURE(name(kernel));
    Buffer<SoftmaxState, Cuda> states = to_device(std::vector<SoftmaxState>(static_cast<std::size_t>(v)));
    const std::vector<Index> cuts = {0, 1, 1, 70, 199, 520, 600};
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
      cuda::softmax_states(Execution<Cuda>{}, problem.device_hidden.matrix(t, d).slice(0, cuts[i], cuts[i + 1]),
                           problem.device_w.matrix(v, d), states.view(), workspace.view(), {.kernel = kernel});
    Buffer<float, Cuda> result(v);
    cuda::entropy(Execution<Cuda>{}, states.view(), result.view());
    CHECK(worst_error(problem, to_host(result), 40) <= 1);
  }
}

TEST_CASE("f32 states on an LM head in any stored form, neither rounded") {
  std::mt19937 random(7);
  const Index t = 70, v = 150;
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(activation_trace::name(dtype)));
    const Index d = block_elements(dtype) == 1 ? 76 : block_elements(dtype);
    const RandomMatrix w(dtype, v, d, random);
    const cuda::DeviceMatrix device(Execution<Cuda>{}, w.view());
    std::vector<float> decoded(static_cast<std::size_t>(v * d));
    for (Index i = 0; i < v; ++i)
      w.view().decode_row(
          i, std::span<float>(decoded).subspan(static_cast<std::size_t>(i * d), static_cast<std::size_t>(d)));
    Problem<float> problem(t, d, v, normal_floats(t * d, random, 0.2f), decoded);
    Buffer<SoftmaxState, Cuda> workspace(cuda::softmax_workspace_size(t, v));
    for (const SoftmaxKernel kernel : {SoftmaxKernel::automatic, SoftmaxKernel::simt}) {
      if (kernel == SoftmaxKernel::simt && dtype != DType::f16) continue;
      CAPTURE(name(kernel));
      Buffer<float, Cuda> result = to_device(std::vector<float>(static_cast<std::size_t>(v), -7.0f));
      cuda::softmax_entropy(Execution<Cuda>{}, problem.device_hidden.matrix(t, d), device.view(), result.view(),
                            workspace.view(), {.kernel = kernel});
      CHECK(worst_error(problem, to_host(result), v) <= 1);
    }
    // In two calls, and in panels of 128 rows of W.
    Buffer<SoftmaxState, Cuda> states = to_device(std::vector<SoftmaxState>(static_cast<std::size_t>(v)));
    cuda::softmax_states(Execution<Cuda>{}, problem.device_hidden.matrix(t, d).slice(0, 0, 31), device.view(),
                         states.view(), workspace.view());
    cuda::detail::softmax_stored(Execution<Cuda>{}, std::as_const(problem.device_hidden).matrix(t, d).slice(0, 31, t),
                                 device.view(), workspace.view(), {nullptr, 0, v, states.data(), nullptr},
                                 SoftmaxKernel::automatic, 1);
    Buffer<float, Cuda> result(v);
    cuda::entropy(Execution<Cuda>{}, states.view(), result.view());
    CHECK(worst_error(problem, to_host(result), v) <= 1);
  }
}

namespace {

/// f32 states of an LM head of T, by all kernels.
template <class T>
void check_terms(Index t, Index d, Index v, const std::vector<float>& hidden, const std::vector<T>& w) {
  Problem<float> problem(t, d, v, hidden, {});
  for (const T x : w) problem.w.push_back(static_cast<float>(x));
  const Buffer<T, Cuda> device_w = to_device(w);
  const StoredMatrix<Cuda> head(device_w.matrix(v, d));
  Buffer<SoftmaxState, Cuda> workspace(cuda::softmax_workspace_size(t, v));
  CAPTURE(t);
  CAPTURE(d);
  for (const SoftmaxKernel kernel : {SoftmaxKernel::automatic, SoftmaxKernel::mma}) {
    CAPTURE(name(kernel));
    Buffer<float, Cuda> result = to_device(std::vector<float>(static_cast<std::size_t>(v), -7.0f));
    cuda::softmax_entropy(Execution<Cuda>{}, problem.device_hidden.matrix(t, d), head, result.view(), workspace.view(),
                          {.kernel = kernel});
    CHECK(worst_error(problem, to_host(result), v) <= 1);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("f32 states keep all their bits beside a 16-bit LM head", T, Half, BFloat16) {
  for (const auto& [t, d, v] : {std::array<Index, 3>{1, 8, 130}, {64, 72, 40}, {65, 136, 140}, {300, 64, 129}})
    for (const float scale : {3.0f, 40.0f}) {
      const float width = std::sqrt(scale / std::sqrt(static_cast<float>(d)));
      check_terms<T>(t, d, v, normal_vector<float>(t * d, width, 1), normal_vector<T>(v * d, width, 2));
    }
}

TEST_CASE_TEMPLATE("f32 states of very different sizes beside a 16-bit LM head", T, Half, BFloat16) {
  const Index t = 140, d = 64, v = 20;
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> hidden = normal_vector<float>(t * d, 0.5f, 1);
  std::vector<T> w = normal_vector<T>(v * d, 0.5f, 2);
  for (Index i = 0; i < v; ++i) w[static_cast<std::size_t>(i * d + 1)] = T(1.0f);
  const auto row = [&](Index i, float factor) {
    for (Index k = 0; k < d; ++k) hidden[static_cast<std::size_t>(i * d + k)] *= factor;
  };
  row(3, 1e-3f);
  row(4, 1e-30f);
  row(5, 0.0f);
  row(6, 1e-42f);
  hidden[static_cast<std::size_t>(7 * d + 1)] = -1e5f;  // beyond f16, as outliers are
  hidden[static_cast<std::size_t>(8 * d + 1)] = -3.4e38f;
  hidden[static_cast<std::size_t>(9 * d + 1)] = -infinity;  // no weight
  hidden[static_cast<std::size_t>(139 * d + 1)] = -infinity;
  check_terms<T>(t, d, v, hidden, w);
  w[0] = T(-infinity);
  w[static_cast<std::size_t>(d)] = T(std::numeric_limits<float>::quiet_NaN());
  check_terms<T>(t, d, v, hidden, w);
  hidden[static_cast<std::size_t>(77 * d + 5)] = std::numeric_limits<float>::quiet_NaN();
  check_terms<T>(t, d, v, hidden, w);
}

TEST_CASE("rows may be strided, and what cannot be used says so") {
  const Index t = 40, d = 60, v = 70;
  Problem<BFloat16> wide = normal_problem<BFloat16>(t, 64, v, 1.0f);
  Problem<BFloat16> narrow(t, d, v, {}, {});
  for (Index i = 0; i < t; ++i)
    narrow.hidden.insert(narrow.hidden.end(), &wide.hidden[static_cast<std::size_t>(i * 64)],
                         &wide.hidden[static_cast<std::size_t>(i * 64)] + d);
  for (Index i = 0; i < v; ++i)
    narrow.w.insert(narrow.w.end(), &wide.w[static_cast<std::size_t>(i * 64)],
                    &wide.w[static_cast<std::size_t>(i * 64)] + d);
  Buffer<float, Cuda> result(v);
  Buffer<SoftmaxState, Cuda> workspace(cuda::softmax_workspace_size(t, v));
  const auto hidden = wide.device_hidden.matrix(t, 64).slice(1, 0, d);
  const auto w = wide.device_w.matrix(v, 64).slice(1, 0, d);
  for (const SoftmaxKernel kernel : {SoftmaxKernel::automatic, SoftmaxKernel::simt, SoftmaxKernel::mma}) {
    CAPTURE(name(kernel));
    cuda::softmax_entropy(Execution<Cuda>{}, hidden, w, result.view(), workspace.view(), {.kernel = kernel});
    CHECK(worst_error(narrow, to_host(result), v) <= 1);
  }
  // A matrix stored by columns is for the plain kernel only.
  Problem<BFloat16> square = normal_problem<BFloat16>(64, 64, 64, 1.0f);
  const auto by_columns = square.device_hidden.matrix(64, 64).transposed();
  CHECK_THROWS_AS(
      cuda::softmax_entropy(Execution<Cuda>{}, by_columns, square.device_w.matrix(64, 64),
                            result.view().slice(0, 0, 64), workspace.view(), {.kernel = SoftmaxKernel::mma}),
      ArgumentError);
  std::vector<BFloat16> transposed(64 * 64);
  for (std::size_t i = 0; i < 64; ++i)
    for (std::size_t k = 0; k < 64; ++k) transposed[i * 64 + k] = square.hidden[k * 64 + i];
  cuda::softmax_entropy(Execution<Cuda>{}, by_columns, square.device_w.matrix(64, 64), result.view().slice(0, 0, 64),
                        workspace.view());
  square.hidden = transposed;
  std::vector<float> first = to_host(result);
  first.resize(64);
  CHECK(worst_error(square, first, 64) <= 1);

  CHECK_THROWS_AS(
      cuda::softmax_entropy(Execution<Cuda>{}, hidden, wide.device_w.matrix(v, 64), result.view(), workspace.view()),
      ShapeError);
  CHECK_THROWS_AS(cuda::softmax_entropy(Execution<Cuda>{}, hidden, w, result.view(), workspace.view().slice(0, 0, 1)),
                  ShapeError);
  CHECK_THROWS_AS(cuda::softmax_entropy(Execution<Cuda>{}, hidden, w, result.view().slice(0, 0, 3), workspace.view()),
                  ShapeError);
}

TEST_CASE("more blocks than a grid has are refused by name") {
  float number = 0;  // nothing is read
  SoftmaxState state;
  const auto refused = [&](Index positions, Index vocabulary) {
    const MatrixView<const float, Cuda> hidden(&number, {positions, 1}), w(&number, {vocabulary, 1});
    CHECK_THROWS_WITH_AS(
        cuda::softmax_entropy(Execution<Cuda>{}, hidden, w, VectorView<float, Cuda>(&number, {vocabulary}),
                              VectorView<SoftmaxState, Cuda>(&state, {Index{1} << 50})),
        doctest::Contains("are more than a grid of blocks"), ShapeError);
  };
  refused(Index{1} << 26, 1);
  refused(Index{1} << 25, Index{1} << 18);
}

TEST_CASE("no positions, no items") {
  Buffer<BFloat16, Cuda> w(3 * 8);
  Buffer<float, Cuda> result(3);
  cuda::softmax_entropy(Execution<Cuda>{}, MatrixView<BFloat16, Cuda>(nullptr, {0, 8}), w.matrix(3, 8), result.view(),
                        VectorView<SoftmaxState, Cuda>());
  for (const float e : to_host(result)) CHECK(std::isnan(e));
  Buffer<SoftmaxState, Cuda> workspace(8);
  CHECK_NOTHROW(cuda::softmax_entropy(Execution<Cuda>{}, w.matrix(3, 8), MatrixView<BFloat16, Cuda>(nullptr, {0, 8}),
                                      VectorView<float, Cuda>(), workspace.view()));
}

TEST_CASE("a failed call is a CudaError that names it") {
  try {
    cuda::check(cudaErrorInvalidValue, "cudaSomething");
    FAIL("no exception");
  } catch (const CudaError& error) {
    const std::string text = error.what();
    CHECK(error.code() == cudaErrorInvalidValue);
    CHECK(text.find("cudaSomething: cudaErrorInvalidValue") != std::string::npos);
    CHECK(text.find("softmax_entropy.cu") != std::string::npos);
  }
}

namespace {

/// Streams of the devices that are there, more than one of each where they are few.
std::vector<cuda::Stream> streams_of_devices(int count) {
  int devices = 0;
  cuda::check(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  std::vector<cuda::Stream> streams;
  for (int i = 0; i < count; ++i) {
    const cuda::DeviceGuard guard(i % devices);
    streams.emplace_back();
  }
  return streams;
}

/// A copy of rows [begin, end) of w, by the stream that has them.
template <class T>
Buffer<T, Cuda> rows_on(const cuda::Stream& stream, const std::vector<T>& w, Index d, Index begin, Index end) {
  const Execution<Cuda> execution = stream;
  const cuda::DeviceGuard guard(execution.device());
  Buffer<T, Cuda> rows((end - begin) * d);
  cuda::copy(execution, VectorView<const T>(w.data() + begin * d, {(end - begin) * d}), rows.view());
  stream.synchronize();
  return rows;
}

}  // namespace

TEST_CASE_TEMPLATE("an LM head that is shared out over devices: every token is what it is on one", T, float, Half) {
  const Index t = 130, d = 72, v = 200;
  Problem<T> problem = normal_problem<T>(t, d, v, 3.0f);
  const std::vector<cuda::Stream> streams = streams_of_devices(4);
  const std::vector<Index> ends{90, 90, 131, v};  // one has none; the last may be on the device of the first
  std::vector<Buffer<T, Cuda>> rows;
  std::vector<cuda::LmHeadShard<MatrixView<const T, Cuda>>> shards;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const Index begin = i == 0 ? 0 : ends[i - 1];
    rows.push_back(rows_on(streams[i], problem.w, d, begin, ends[i]));
    shards.push_back({streams[i], std::as_const(rows.back()).matrix(ends[i] - begin, d)});
  }
  const cuda::Stream stream;
  cuda::ShardedSoftmaxEntropy<T> entropy(stream, shards, t + 5);
  CHECK(entropy.vocabulary() == v);
  const cuda::SoftmaxOptions options{.kernel = SoftmaxKernel::mma};  // which all of the devices have
  Buffer<float, Cuda> found(v), other(v);
  Buffer<T, Cuda> states(t * d);
  cuda::copy(stream, problem.device_hidden.view(), states.view());  // which are not there yet
  const auto hidden = std::as_const(states).matrix(t, d);
  for (int round = 0; round < 2; ++round) {  // with nothing in between that waits
    entropy(hidden.slice(0, 0, 40), other.view(), options);
    entropy(hidden, found.view(), options);
  }
  stream.synchronize();
  const std::vector<float> result = to_host(found);
  CHECK(worst_error(problem, result, v) <= 1);
  CHECK(result == problem.entropy(SoftmaxKernel::mma));
  const auto wrong = [&](Index positions, Index columns, Index size) {
    CHECK_THROWS_AS(entropy({problem.device_hidden.data(), {positions, columns}}, other.view().slice(0, 0, size)),
                    ShapeError);
  };
  wrong(t + 6, d, v);
  wrong(3, d - 1, v);
  wrong(3, d, v - 1);
  CHECK_THROWS_AS(entropy(hidden.slice(1, 0, d).slice(0, 0, 1).slice(1, 0, d - 1), other.view()), ShapeError);
  CHECK_THROWS_AS(cuda::ShardedSoftmaxEntropy<T>(stream, {}, t), ArgumentError);
}

TEST_CASE("an LM head of halves that is shared out, and states of floats") {
  const Index t = 70, d = 40, v = 90;
  const std::vector<float> hidden = normal_vector<float>(t * d, 0.6f, 1);
  const std::vector<Half> w = normal_vector<Half>(v * d, 0.6f, 2);
  const std::vector<cuda::Stream> streams = streams_of_devices(3);
  std::vector<Buffer<Half, Cuda>> rows;
  std::vector<cuda::LmHeadShard<StoredMatrix<Cuda>>> shards;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    const Index begin = 30 * static_cast<Index>(i);
    rows.push_back(rows_on(streams[i], w, d, begin, begin + 30));
    shards.push_back({streams[i], StoredMatrix<Cuda>(std::as_const(rows.back()).matrix(30, d))});
  }
  const cuda::Stream stream;
  cuda::ShardedSoftmaxEntropy<float, StoredMatrix<Cuda>> entropy(stream, shards, t);
  const Buffer<float, Cuda> states = to_device(hidden);
  Buffer<float, Cuda> found(v);
  entropy(states.matrix(t, d), found.view());
  stream.synchronize();
  const std::vector<float> result = to_host(found);
  for (Index i = 0; i < v; ++i) {
    std::vector<double> logits;
    for (Index p = 0; p < t; ++p) {
      double sum = 0;
      for (Index k = 0; k < d; ++k)
        sum += static_cast<double>(hidden[static_cast<std::size_t>(p * d + k)]) *
               static_cast<double>(static_cast<float>(w[static_cast<std::size_t>(i * d + k)]));
      logits.push_back(sum);
    }
    CHECK(std::abs(static_cast<double>(result[static_cast<std::size_t>(i)]) - entropy_oracle(logits)) <= 2e-5);
  }
}
