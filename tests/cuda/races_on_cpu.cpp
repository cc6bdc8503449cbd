// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/cuda/device_weights.cuh"
#include "activation_trace/cuda/ops/multiply_blocks.cuh"
#include "activation_trace/cuda/ops/multiply_direct.cuh"
#include "activation_trace/cuda/ops/multiply_halves.cuh"
#include "activation_trace/cuda/ops/multiply_tiles.cuh"
#include "activation_trace/cuda/ops/row_statistics.cuh"
#include "activation_trace/cuda/ops/softmax_candidates.cuh"
#include "activation_trace/cuda/ops/softmax_stored.cuh"
#include "problem.cuh"
#include "support/oracle.hpp"
#include "support/random_matrix.hpp"

// Each kernel once, on the smallest problem that has everything: several blocks, more tiles than stages, the last one
// cut, rounds. Small enough for ThreadSanitizer, and for tests/cuda/mutations.py.
using namespace activation_trace;
using namespace activation_trace::test;
using cuda::detail::RowAccess;
using cuda::detail::SoftmaxOutput;

namespace {

constexpr Index t = 100, d = 264, v = 300;

/// Entropies by `launch(hidden, w, output)`, which splits the positions every `tile`.
template <class Launch>
void check_kernel(Index tile, const Launch& launch, Index positions = t) {
  Problem<BFloat16> problem = normal_problem<BFloat16>(positions, d, v, 3.0f);
  Buffer<float, Cuda> result = to_device(std::vector<float>(static_cast<std::size_t>(v), -7.0f));
  Buffer<SoftmaxState, Cuda> workspace((positions + tile - 1) / tile * v);
  cuda::detail::split_positions(Execution<Cuda>{}, positions, tile, workspace.data(),
                                {nullptr, 0, v, nullptr, result.data()}, [&](const SoftmaxOutput& out) {
                                  launch(std::as_const(problem.device_hidden).matrix(positions, d),
                                         std::as_const(problem.device_w).matrix(v, d), out);
                                });
  CHECK(worst_error(problem, to_host(result), v) <= 1);
}

/// The same of f32 states, which are terms of f16.
template <class Tuning>
void check_terms() {
  const Execution<Cuda> execution;
  Problem<float> problem(t, d, v, normal_vector<float>(t * d, 0.4f, 1), {});
  const std::vector<Half> w = normal_vector<Half>(v * d, 0.4f, 2);
  for (const Half x : w) problem.w.push_back(static_cast<float>(x));
  const Buffer<Half, Cuda> device_w = to_device(w);
  const cuda::detail::StateTerms<Half> terms =
      cuda::detail::split_states<Half>(execution, problem.device_hidden.matrix(t, d));
  Buffer<float, Cuda> result = to_device(std::vector<float>(static_cast<std::size_t>(v), -7.0f));
  Buffer<SoftmaxState, Cuda> workspace((t + Tuning::tile_t - 1) / Tuning::tile_t * v);
  cuda::detail::split_positions(execution, t, Tuning::tile_t, workspace.data(), {nullptr, 0, v, nullptr, result.data()},
                                [&](const SoftmaxOutput& out) {
                                  if constexpr (std::is_base_of_v<cuda::MmaTuning, Tuning>)
                                    cuda::detail::launch_softmax_mma<Half, Tuning>(
                                        execution, terms.rows, device_w.matrix(v, d), out, terms.scales);
                                  else
                                    cuda::detail::launch_softmax_wgmma<Half, Tuning>(
                                        execution, 4, terms.rows, device_w.matrix(v, d), out, terms.scales);
                                });
  CHECK(worst_error(problem, to_host(result), v) <= 1);
}

}  // namespace

TEST_CASE("wgmma: pairs of blocks") {
  using Tuning = cuda::WgmmaTuning<64, 1, 3, 2>;
  check_kernel(Tuning::tile_t, [](const auto& hidden, const auto& w, const SoftmaxOutput& out) {
    cuda::detail::launch_softmax_wgmma<BFloat16, Tuning>(Execution<Cuda>{}, 4, hidden, w, out);
  });
}

TEST_CASE("wgmma: pairs of blocks, states of two terms") {
  using Tuning = cuda::WgmmaTuning<64, 1, 3, 2, 2>;
  check_terms<Tuning>();
}

TEST_CASE("resident: pairs of blocks that change their positions, and consumers an odd number of panels") {
  using Tuning = cuda::ResidentTuning<64>;
  const auto launch = [](const auto& hidden, const auto& w, const SoftmaxOutput& out) {
    cuda::detail::launch_softmax_resident<BFloat16, Tuning>(Execution<Cuda>{}, 2, hidden, w, out);
  };
  check_kernel(Tuning::tile_t, launch, 200);
}

TEST_CASE("mma") {
  check_terms<cuda::MmaTermsTuning<2>>();
  check_kernel(cuda::MmaTuning::tile_t, [](const auto& hidden, const auto& w, const SoftmaxOutput& out) {
    cuda::detail::launch_softmax_mma<BFloat16, cuda::MmaTuning>(Execution<Cuda>{}, hidden, w, out);
  });
}

TEST_CASE("simt") {
  check_kernel(cuda::detail::simt_split, [](const auto& hidden, const auto& w, const SoftmaxOutput& out) {
    cuda::detail::launch_softmax_simt<BFloat16>(Execution<Cuda>{}, hidden, w, out);
  });
}

TEST_CASE("candidates: more groups than blocks") {
  const Index positions = 1100, columns = 24, size = 100;
  Problem<BFloat16> problem = normal_problem<BFloat16>(positions, columns, size, 3.0f);
  std::vector<TokenId> ids;
  for (Index i = 0; i < size; ++i) ids.push_back(static_cast<TokenId>(i * 7 % size));
  const Buffer<TokenId, Cuda> device_ids = to_device(ids);
  Buffer<SoftmaxState, Cuda> states = to_device(std::vector<SoftmaxState>(static_cast<std::size_t>(size)));
  Buffer<SoftmaxState, Cuda> workspace(cuda::candidate_workspace_size(positions, size));
  cuda::detail::launch_candidates<BFloat16, RowAccess::chunks, 1, 1, 4>(
      Execution<Cuda>{}, cuda::detail::RowBytes(std::as_const(problem.device_hidden).matrix(positions, columns)),
      cuda::detail::RowBytes(std::as_const(problem.device_w).matrix(size, columns)), {device_ids.data(), nullptr, size},
      {}, 1, workspace.data(), states.data());
  const std::vector<SoftmaxState> result = to_host(states);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const double expected = entropy_oracle(logits_oracle(problem.hidden, problem.w, columns, ids[i]));
    CHECK(std::abs(result[i].entropy() - expected) <= 5e-5);
  }
}

TEST_CASE("candidates of stored weights, and all of them in two panels") {
  const Index positions = 20, columns = 544, size = 140;
  std::mt19937 random(2);
  const RandomMatrix w(DType::q5_1, size, columns, random);
  const cuda::DeviceMatrix device_w(Execution<Cuda>{}, w.view());
  const std::vector<float> hidden = normal_floats(positions * columns, random, 0.2f);
  const Buffer<float, Cuda> device_hidden = to_device(hidden);
  const std::vector<TokenId> ids{7, 139, 0};
  const Buffer<TokenId, Cuda> device_ids = to_device(ids);
  Buffer<SoftmaxState, Cuda> few = to_device(std::vector<SoftmaxState>(ids.size()));
  Buffer<SoftmaxState, Cuda> all = to_device(std::vector<SoftmaxState>(static_cast<std::size_t>(size)));
  Buffer<SoftmaxState, Cuda> workspace(size);
  cuda::softmax_states(Execution<Cuda>{}, device_hidden.matrix(positions, columns), device_w.view(),
                       {device_ids.view()}, few.view(), workspace.view());
  cuda::detail::softmax_stored(Execution<Cuda>{}, device_hidden.matrix(positions, columns), device_w.view(),
                               workspace.view(), {nullptr, 0, size, all.data(), nullptr},
                               cuda::SoftmaxKernel::automatic, 1);
  const std::vector<SoftmaxState> some = to_host(few), every = to_host(all);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::vector<float> row(static_cast<std::size_t>(columns));
    w.view().decode_row(ids[i], row);
    const double expected = entropy_oracle(logits_oracle(hidden, row, columns, 0));
    CHECK(std::abs(some[i].entropy() - expected) <= 5e-5);
    CHECK(std::abs(every[static_cast<std::size_t>(ids[i])].entropy() - expected) <= 5e-5);
  }
}

TEST_CASE("statistics of rows, by several blocks each, twice") {
  const Index rows = 2;
  for (const Index n : {5000, 2999}) {  // rows that are aligned, and not
    std::vector<float> logits = normal_vector<float>(rows * n, 2.0f, 1);
    const Buffer<float, Cuda> device = to_device(logits);
    cuda::detail::RowStatisticsMemory memory(Execution<Cuda>{}, rows, n);
    for (int round = 0; round < 2; ++round) {
      Buffer<int, Cuda> counters = to_device(std::vector<int>{7, 7, 7, 7});
      cuda::detail::row_statistics(Execution<Cuda>{}, cuda::detail::Rows(device.matrix(rows, n)), rows,
                                   {.relative_top = 0.1f}, memory, 0, counters.data(), 2);
      CHECK(to_host(counters) == std::vector<int>{0, 0, 0, 0});
      const std::vector<cuda::detail::RowStatistics> statistics = to_host(memory.statistics);
      for (Index r = 0; r < rows; ++r) {
        const auto begin = logits.begin() + r * n;
        const float largest = *std::max_element(begin, begin + n);
        double sum = 0;
        for (auto x = begin; x != begin + n; ++x)
          sum += std::exp(static_cast<double>(*x) - static_cast<double>(largest));
        const cuda::detail::RowStatistics& row = statistics[static_cast<std::size_t>(r)];
        CHECK(row.max == largest);
        CHECK(row.log_sum == doctest::Approx(std::log(sum)).epsilon(1e-6));
        CHECK(row.lowest == doctest::Approx(static_cast<double>(largest) + std::log(0.1)).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("products of few rows and of many, two to a launch") {
  using cuda::detail::StoredRows;
  const Index columns = 196, rows = 70;
  const Index distance = 200;  // of rows of w, which begin at 16 bytes; what lies between them is NaN
  const std::vector<Index> sizes{130, 5};
  const std::vector<float> x = normal_vector<float>(rows * columns, 1.0f, 1);
  const Buffer<float, Cuda> device_x = to_device(x);
  std::vector<std::vector<Half>> w;
  std::vector<Buffer<Half, Cuda>> device_w;
  std::vector<Buffer<float, Cuda>> y;
  cuda::detail::Products products;
  for (const Index size : sizes) {
    w.push_back(normal_vector<Half>(size * columns, 1.0f, 2));
    std::vector<Half> apart(static_cast<std::size_t>(size * distance), Half(NAN));
    for (Index r = 0; r < size; ++r) std::copy_n(w.back().begin() + r * columns, columns, apart.begin() + r * distance);
    device_w.push_back(to_device(apart));
    y.push_back(to_device(std::vector<float>(static_cast<std::size_t>(rows * size), -7.0f)));
    products.product[products.count++] = {
        StoredRows(StoredMatrix<Cuda>(std::as_const(device_w.back()).matrix(size, distance).slice(1, 0, columns))),
        y.back().data(), size};
  }
  const auto check = [&](Index used) {
    for (std::size_t p = 0; p < sizes.size(); ++p) {
      const std::vector<DotProduct> expected =
          activation_trace::test::products(as_matrix(std::span<const float>(x), rows, columns).slice(0, 0, used),
                                           as_matrix(std::span<const Half>(w[p]), sizes[p], columns));
      const std::vector<float> result = to_host(y[p]);
      CHECK(std::equal(expected.begin(), expected.end(), result.begin(), [](const DotProduct& dot, float sum) {
        return std::abs(static_cast<double>(sum) - dot.value) <= 1e-4;  // NaN is not
      }));
    }
  };
  const auto rows_of_x = [&](Index used) { return StoredRows(StoredMatrix<Cuda>(device_x.matrix(used, columns))); };
  cuda::detail::multiply_rows<Half>(Execution<Cuda>{}, products, rows_of_x(9));
  check(9);
  for (Buffer<float, Cuda>& of_before : y) cuda::set_bytes(Execution<Cuda>{}, of_before.view(), 0xff);
  cuda::detail::multiply_direct<Half, float>(Execution<Cuda>{}, products, rows_of_x(17));
  check(17);
  cuda::detail::multiply_tiles<Half>(Execution<Cuda>{}, products, rows_of_x(rows));
  check(rows);
  for (Buffer<float, Cuda>& of_before : y) cuda::set_bytes(Execution<Cuda>{}, of_before.view(), 0xff);
  cuda::detail::multiply_halves<Half, 2>(Execution<Cuda>{}, products, rows_of_x(rows));
  check(rows);
}

TEST_CASE("products of few rows and blocks: in two panels, and of more rows than there are blocks for") {
  using cuda::detail::StoredRows;
  std::mt19937 random(3);
  const Index n = 5;
  const auto check = [&]<class Block>(std::type_identity<Block>, Index d, Index m) {
    const RandomMatrix w(dtype_of<Block>, m, d, random);
    const cuda::DeviceMatrix device_w(Execution<Cuda>{}, w.view());
    const std::vector<float> x = normal_floats(n * d, random);
    const Buffer<float, Cuda> device_x = to_device(x);
    Buffer<float, Cuda> y = to_device(std::vector<float>(static_cast<std::size_t>(n * m), NAN));
    cuda::detail::Products products;
    products.product[products.count++] = {StoredRows(device_w.view()), y.data(), m};
    cuda::detail::multiply_blocks<Block>(Execution<Cuda>{}, products,
                                         StoredRows(StoredMatrix<Cuda>(device_x.matrix(n, d))));
    const std::vector<DotProduct> expected = activation_trace::test::products(matrix(x, n, d), w.view());
    const std::vector<float> result = to_host(y);
    CHECK(std::equal(expected.begin(), expected.end(), result.begin(), [](const DotProduct& dot, float sum) {
      return std::abs(static_cast<double>(sum) - dot.value) <= 1e-6 * dot.magnitude;  // NaN is not
    }));
  };
  check(std::type_identity<Q5_1Block>{}, 2112, 33);
  check(std::type_identity<Q4_1Block>{}, 1184, 140);  // two tiles of a warp at a time
}
